# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from avatar3d.ops import _native
from avatar3d.ops.splat import splat
from avatar3d.recipes import bench
from avatar3d.recipes._scene import head

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
    before = _native.threads()
    figures = bench.bench_splat(cases=((64, 500),), repetitions=3, threads=(1, 2))
    ours = figures["rows"][:2]
    assert [(row["size"], row["n"], row["threads"]) for row in ours] == [(64, 500, 1), (64, 500, 2)]
    for row in figures["rows"]:
        assert 0 < row["forward_ms_min"] <= row["forward_ms_median"]
        assert row["forward_ms_min"] < row["step_ms_min"] <= row["step_ms_median"]
    assert figures["rows"][-1]["isa"] == "torch"
    assert figures["times_faster_than_torch"]["step"] > 5
    assert _native.threads() == before
    assert str(ours[0]["n"]) in bench.report(figures)
