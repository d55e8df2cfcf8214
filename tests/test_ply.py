# SPDX-License-Identifier: Apache-2.0
"""Splat PLY: what is written is read back, and damage is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avatar3d.errors import InputError
from avatar3d.ply import read_splats, write_splats


@pytest.fixture
def splats() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"means": (9, 3), "quats": (9, 4), "log_scales": (9, 3), "opacity_logits": (9,), "colours": (9, 3)}
    return {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}


def test_round_trip(tmp_path: Path, splats: dict[str, torch.Tensor]) -> None:
    write_splats(tmp_path / "a.ply", splats)
    back = read_splats(tmp_path / "a.ply")
    assert back.keys() == splats.keys()
    for name, tensor in splats.items():
        torch.testing.assert_close(back[name], tensor, atol=1e-6, rtol=1e-6)


def test_header_is_the_one_other_tools_read(tmp_path: Path, splats: dict[str, torch.Tensor]) -> None:
    write_splats(tmp_path / "a.ply", splats)
    header = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")[0].decode().splitlines()
    assert header[:3] == ["ply", "format binary_little_endian 1.0", "element vertex 9"]
    names = [line.split()[2] for line in header[3:]]
    expected = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    assert names == expected.split()


@pytest.mark.parametrize("keep", [0, 3, 100, 600])
def test_a_truncated_file_is_refused(tmp_path: Path, splats: dict[str, torch.Tensor], keep: int) -> None:
    write_splats(tmp_path / "a.ply", splats)
    (tmp_path / "b.ply").write_bytes((tmp_path / "a.ply").read_bytes()[:keep])
    with pytest.raises(InputError, match=r"b\.ply"):
        read_splats(tmp_path / "b.ply")
