# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from avatar3d.errors import InputError
from avatar3d.ops import _native
from avatar3d.ops.splat import splat
from avatar3d.recipes import bench
from avatar3d.recipes._scene import head
from avatar3d.recipes._versus import versus
from avatar3d.render.native import Native

if _native.why_not():
    pytest.skip(f"no kernels here: {_native.why_not()}", allow_module_level=True)


def test_scene_is_the_one_described() -> None:
    scene = head(256, 8_000)
    shape = (scene.means, scene.quats, scene.scales, scene.opacities, scene.colours)
    _, alpha, _ = splat(*shape, scene.cam_from_world, scene.K, 256, 256)
    assert float((alpha > 0.5).float().mean()) == pytest.approx(0.59, abs=0.03)
    assert float((scene.opacities >= 0.7).float().mean()) == pytest.approx(0.6, abs=0.03)
    assert torch.equal(scene.means, head(256, 8_000).means)
    # the flat side of a Gaussian lies in the surface: its third axis is the normal
    axes = torch.nn.functional.normalize(scene.means / torch.tensor([0.80, 1.0, 0.85]) ** 2, dim=-1)
    w, x, y, z = torch.nn.functional.normalize(scene.quats, dim=-1).unbind(-1)
    third = torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], -1)
    assert float((third * axes).sum(-1).median()) > 0.98


def test_rows_say_what_was_measured() -> None:
    before, torch_before = _native.threads(), torch.get_num_threads()
    isas = tuple(_native.available()[:2])
    figures = bench.bench_splat(((64, 500),), 3, (1, 2), isas, ("reference",), ((48, 300),))
    expected = [(64, 500, threads, isa) for isa in isas for threads in (1, 2)]
    assert [(row["size"], row["n"], row["threads"], row["isa"]) for row in figures["rows"]] == expected
    for row in figures["rows"]:
        assert 0 < row["forward_ms_min"] <= row["forward_ms_median"]
        assert row["forward_ms_min"] < row["step_ms_min"] <= row["step_ms_median"]
    assert [(row["name"], row["size"], row["n"], row["threads"]) for row in figures["against"]] == [
        ("reference", 48, 300, 1),
        ("reference", 48, 300, 2),
    ]
    for row in figures["against"]:
        assert row["times_forward"] == pytest.approx(row["forward_ms_min"] / row["ours_forward_ms_min"], rel=1e-3)
        assert row["times_step"] == pytest.approx(row["step_ms_min"] / row["ours_step_ms_min"], rel=1e-3)
    assert (_native.threads(), torch.get_num_threads()) == (before, torch_before)
    assert {"500", isas[-1], "reference"} <= set(bench.report(figures).split())


def test_a_renderer_of_ones_own_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "someones").mkdir()
    (tmp_path / "someones" / "__init__.py").touch()
    mine = "import time\nfrom avatar3d.render.native import Native\n__all__ = ['Slow']\nclass Slow(Native):\n"
    mine += "    def __call__(self, *scene):\n        time.sleep(0.05)\n        return super().__call__(*scene)\n"
    (tmp_path / "someones" / "slow.py").write_text(mine)
    monkeypatch.syspath_prepend(tmp_path)
    row = versus("someones.slow", 32, 50, 1, repetitions=2)
    assert min(row.forward_ms_min, row.step_ms_min) >= 50
    assert row.times_forward > 1
    sys.modules.pop("someones.slow")


def test_what_is_not_here_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no part named 'fastest'"):
        bench.bench_splat(((16, 5),), 1, (1,), (_native.isa(),), ("fastest",))
    with pytest.raises(InputError, match="no mmx kernels here; choose one of"):
        bench.bench_splat(((16, 5),), 1, (1,), ("mmx",), ())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="torch sees no CUDA device"):
        bench.bench_splat(((16, 5),), 1, device="cuda")


def test_a_batch_is_the_picture_as_many_times() -> None:
    scene = head(48, 300)
    assert torch.equal(scene.batch(3).draw("native"), scene.draw("native").expand(3, 3, 48, 48))


def test_records_draw_the_same_picture() -> None:
    scene = head(48, 300)
    picture = Native()(scene.gaussians(), scene.camera()).rgb.permute(2, 0, 1)
    assert (picture - scene.draw("native")).abs().max() < 1e-4


@pytest.mark.gpu
def test_batches_are_timed_on_a_gpu() -> None:
    figures = bench.bench_splat(((64, 500),), 3, against=(), device="cuda")
    assert {(row["images"], row["isa"]) for row in figures["rows"]} >= {(1, "cuda"), (8, "cuda")}
    assert figures["rows"][0]["device"] == torch.cuda.get_device_name()
