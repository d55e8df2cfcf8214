# SPDX-License-Identifier: Apache-2.0
"""SPZ: read and written by another program alike, no larger than it must be, and not fooled by what a header claims."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from some_splats import COUNT, apart_db, some

from avatar3d.errors import InputError
from avatar3d.splat_files._plain import SH_0
from avatar3d.splat_files.ply import Ply
from avatar3d.splat_files.spz import Spz


def changed(path: Path, offset: int, kind: str, value: int) -> Path:
    """The same SPZ with another number in its header."""
    inside = bytearray(zlib.decompress(path.read_bytes(), 31))
    struct.pack_into(f"<{kind}", inside, offset, value)
    path.write_bytes(zlib.compress(bytes(inside), wbits=31))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Spz().write(tmp_path / "a.spz", some())
    return tmp_path / "a.spz"


def test_another_program_reads_the_same(file: Path) -> None:
    gsply = pytest.importorskip("gsply", reason="gsply is not installed")
    theirs, ours = gsply.read_spz(str(file)), Spz().read(file)
    np.testing.assert_allclose(theirs.means, ours.means, atol=1e-6)
    np.testing.assert_allclose(theirs.scales, ours.log_scales, atol=1e-6)
    assert np.abs((theirs.quats * ours.quats.numpy()).sum(1)).min() > 1 - 1e-6
    np.testing.assert_allclose(0.5 + SH_0 * theirs.sh0.reshape(-1, 3), ours.colours, atol=1e-6)
    inner = np.abs(ours.opacity_logits.numpy()) < 5  # 0 and 255 stand for more than one number
    np.testing.assert_allclose(theirs.opacities.ravel()[inner], ours.opacity_logits[inner], atol=1e-4)


def test_another_programs_file_is_read(tmp_path: Path) -> None:
    gsply = pytest.importorskip("gsply", reason="gsply is not installed")
    Ply(y_down=False).write(tmp_path / "a.ply", some())
    gsply.write_spz(str(tmp_path / "a.spz"), gsply.plyread(str(tmp_path / "a.ply")))
    back = Spz().read(tmp_path / "a.spz")
    torch.testing.assert_close(back.means, some().means, atol=2e-4, rtol=0)
    assert apart_db(back, some()) > 45


def test_rounding_is_what_the_format_says(file: Path) -> None:
    back, plain = Spz().read(file), some()
    assert float((back.means - plain.means).abs().max()) <= 2**-15 + 1e-7
    assert float((back.log_scales - plain.log_scales).abs().max()) <= 1 / 32 + 1e-6
    assert float((back.colours - plain.colours).abs().max()) <= SH_0 / 0.15 / 510 + 1e-6
    unit = plain.quats / plain.quats.norm(dim=1, keepdim=True)
    assert float((back.quats * unit).sum(1).abs().min()) > 1 - 5e-6
    assert file.stat().st_size < 21 * COUNT


def test_far_splats_have_coarser_places(tmp_path: Path) -> None:
    far = replace(some(), means=1000 * some().means)
    Spz().write(tmp_path / "a.spz", far)
    step = 2.0 ** (float(far.means.abs().max().log2().ceil()) - 23)
    assert float((Spz().read(tmp_path / "a.spz").means - far.means).abs().max()) <= step
    with pytest.raises(InputError, match="u away"):
        Spz().write(tmp_path / "b.spz", replace(far, means=1e7 * far.means))


def test_version_2_turns_are_read(file: Path) -> None:
    inside = bytearray(zlib.decompress(file.read_bytes(), 31))
    struct.pack_into("<I", inside, 4, 2)
    unit = some().quats / some().quats.norm(dim=1, keepdim=True)
    xyz = (unit * unit[:, :1].sign())[:, 1:].numpy()
    turns = np.round(xyz * 127.5 + 127.5).clip(0, 255).astype(np.uint8).tobytes()
    file.write_bytes(zlib.compress(bytes(inside[: 16 + 16 * COUNT]) + turns, wbits=31))
    alike = (Spz().read(file).quats * unit).sum(1).abs()
    assert float(alike.median()) > 0.9999 and float(alike.min()) > 0.995  # w, of a difference, is coarse near 0


@pytest.mark.parametrize(
    ("offset", "kind", "value", "told"),
    [
        (0, "I", 7, "no SPZ inside"),
        (4, "I", 1, "version 1"),
        (4, "I", 9, "version 9"),
        (8, "I", COUNT + 1, "cut short"),
        (8, "I", 2**32 - 1, "4294967295 splats"),
        (12, "B", 7, "degree 7"),
        (12, "B", 1, "cut short"),
    ],
)
def test_what_a_header_claims_is_checked(offset: int, kind: str, value: int, told: str, file: Path) -> None:
    with pytest.raises(InputError, match=told):
        Spz().read(changed(file, offset, kind, value))


def test_harmonics_are_refused_unless_they_are_nothing(file: Path) -> None:
    inside = zlib.decompress(changed(file, 12, "B", 1).read_bytes(), 31)
    file.write_bytes(zlib.compress(inside + b"\x80" * 9 * COUNT, wbits=31))
    assert apart_db(Spz().read(file), some()) > 45
    file.write_bytes(zlib.compress(inside + b"\x90" * 9 * COUNT, wbits=31))
    with pytest.raises(InputError, match="spherical harmonics"):
        Spz().read(file)


def test_version_4_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.spz").write_bytes(b"NGSP\x04\0\0\0" + bytes(24))
    with pytest.raises(InputError, match=r"version 4.*version 3"):
        Spz().read(tmp_path / "a.spz")
