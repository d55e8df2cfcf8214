# SPDX-License-Identifier: Apache-2.0
"""Splat PLY: what is written is read back, here and by others, and what cannot be used is named."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from some_splats import COUNT, some

from avatar3d.errors import InputError
from avatar3d.geometry import matrix_from_quat
from avatar3d.records import Gaussians
from avatar3d.splat_files._plain import SH_0
from avatar3d.splat_files.ply import Ply

COLUMNS = (("scale", 3), ("rot", 4), ("f_dc", 3))


def test_round_trip(tmp_path: Path) -> None:
    for part in (Ply(), Ply(y_down=False)):
        part.write(tmp_path / "a.ply", some())
        back = part.read(tmp_path / "a.ply")
        for field in fields(Gaussians):
            here, there = getattr(some(), field.name), getattr(back, field.name)
            if field.name == "quats" and part.y_down:
                there = there * (there * here).sum(1, keepdim=True).sign()  # half a turn twice is -1
            torch.testing.assert_close(there, here, atol=1e-6, rtol=1e-6)


def test_header_is_the_one_other_tools_read(tmp_path: Path) -> None:
    Ply().write(tmp_path / "a.ply", some(), "a head\nin u")
    header = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")[0].decode().splitlines()
    assert header[:2] == ["ply", "format binary_little_endian 1.0"]
    assert header[2:6] == ["comment a head", "comment in u", "comment axes: x right, y down, z forward",
                           f"element vertex {COUNT}"]  # fmt: skip
    names = [line.split()[2] for line in header[6:]]
    expected = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    assert names == expected.split()


def test_another_program_reads_the_same(tmp_path: Path) -> None:
    gsply = pytest.importorskip("gsply", reason="gsply is not installed")
    Ply().write(tmp_path / "a.ply", some(), "a head")
    theirs = gsply.plyread(str(tmp_path / "a.ply"))
    down = np.array([1, -1, -1])
    np.testing.assert_allclose(theirs.means * down, some().means, atol=1e-6)
    np.testing.assert_allclose(theirs.scales, some().log_scales, atol=1e-6)
    np.testing.assert_allclose(theirs.opacities.ravel(), some().opacity_logits, atol=1e-6)
    np.testing.assert_allclose(0.5 + SH_0 * theirs.sh0.reshape(-1, 3), some().colours, atol=1e-6)
    # a turned splat is the same splat: its axes in their space are ours, turned over
    assert np.abs(axes(theirs.quats) - down[:, None] * axes(some().quats.numpy())).max() < 1e-5


def axes(wxyz: np.ndarray) -> np.ndarray:
    return np.asarray(matrix_from_quat(torch.from_numpy(np.asarray(wxyz, np.float32))))


def test_a_file_of_another_program_is_read(tmp_path: Path) -> None:
    plyfile = pytest.importorskip("plyfile", reason="plyfile is not installed")
    names = [*"xyz", *(f"{kind}_{at}" for kind, count in COLUMNS for at in range(count)), "opacity", "f_rest_0"]
    rows = np.zeros(2, [(name, "f4") for name in names])
    rows["rot_0"], rows["y"], rows["f_dc_1"] = 1, [1, 2], 1
    faces = np.zeros(1, [("a", "u1")])
    elements = [plyfile.PlyElement.describe(rows, "vertex"), plyfile.PlyElement.describe(faces, "other")]
    plyfile.PlyData(elements).write(tmp_path / "b.ply")
    back = Ply().read(tmp_path / "b.ply")
    assert back.means[:, 1].tolist() == [-1, -2]
    assert back.colours[0].tolist() == pytest.approx([0.5, 0.5 + SH_0, 0.5])
    rows["f_rest_0"] = 0.1
    plyfile.PlyData([plyfile.PlyElement.describe(rows, "vertex")]).write(tmp_path / "c.ply")
    with pytest.raises(InputError, match="spherical harmonics"):
        Ply().read(tmp_path / "c.ply")


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        (b"binary_little_endian", b"ascii", "not a little-endian"),
        (b"property float x", b"property double x", "not a float"),
        (b"property float x", b"property float q", "'x'"),
        (b"element vertex", b"element chunk", "no vertices"),
        (f"vertex {COUNT}".encode(), b"vertex -1", "no vertices"),
        (f"vertex {COUNT}".encode(), f"vertex {COUNT + 1}".encode(), "cut short"),
    ],
)
def test_other_files_are_told_apart(was: bytes, becomes: bytes, told: str, tmp_path: Path) -> None:
    Ply().write(tmp_path / "a.ply", some())
    (tmp_path / "b.ply").write_bytes((tmp_path / "a.ply").read_bytes().replace(was, becomes, 1))
    with pytest.raises(InputError, match=rf"b\.ply.*{told}"):
        Ply().read(tmp_path / "b.ply")


@pytest.mark.parametrize("name", ["means", "quats", "log_scales", "opacity_logits", "colours"])
def test_numbers_that_are_none_are_named(name: str, tmp_path: Path) -> None:
    values = getattr(some(), name).clone()
    values[7] = float("nan")
    Ply().write(tmp_path / "a.ply", replace(some(), **{name: values}))
    with pytest.raises(InputError, match=f"{name} that are not finite"):
        Ply().read(tmp_path / "a.ply")
    values[7] = 0
    if name == "quats":
        Ply().write(tmp_path / "a.ply", replace(some(), quats=values))
        with pytest.raises(InputError, match=name):
            Ply().read(tmp_path / "a.ply")
