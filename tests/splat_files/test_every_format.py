# SPDX-License-Identifier: Apache-2.0
"""What every format of the room keeps: its contract, order and look; wrong files end in one clear complaint."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from some_splats import COUNT, apart_db, some

from avatar3d.choose import choose, names
from avatar3d.contracts import ReadSplats, WriteSplats
from avatar3d.errors import InputError
from avatar3d.records import Gaussians

ROOM = "avatar3d.splat_files"
NEEDS = {"usd": "pxr"}
READ = [name for name in names(ROOM) if isinstance(choose(ROOM, name)(), ReadSplats)]


def written(name: str, folder: Path, gaussians: Gaussians) -> Path:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason="usd-core is not installed")
    part = choose(ROOM, name)()
    path = folder / f"a{part.suffixes[0]}"
    part.write(path, gaussians, "some splats")
    return path


@pytest.mark.parametrize("name", names(ROOM))
def test_a_format_keeps_the_contract(name: str, tmp_path: Path) -> None:
    part = choose(ROOM, name)()
    assert isinstance(part, WriteSplats)
    assert part.suffixes and all(suffix.startswith(".") for suffix in part.suffixes)
    assert written(name, tmp_path, some()).stat().st_size > 10 * COUNT


@pytest.mark.parametrize("name", names(ROOM))
def test_colours_that_change_with_the_view_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="change with the view"):
        written(name, tmp_path, replace(some(), colours=torch.zeros(COUNT, 4, 3)))


def test_suffixes_tell_formats_apart() -> None:
    suffixes = [suffix for name in names(ROOM) for suffix in choose(ROOM, name).suffixes]
    assert len(set(suffixes)) == len(suffixes)


def test_some_can_be_read() -> None:
    assert READ == ["ply", "spz"]


@pytest.mark.parametrize("name", READ)
def test_what_comes_back_looks_the_same_in_the_same_order(name: str, tmp_path: Path) -> None:
    back = choose(ROOM, name)().read(written(name, tmp_path, some()))
    torch.testing.assert_close(back.means, some().means, atol=1e-4, rtol=0)
    assert apart_db(back, some()) > 45
    assert apart_db(replace(back, means=back.means.flip(1)), some()) < 30  # so this can fail


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("keep", [0, 3, 20, 100, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(name: str, keep: float, tmp_path: Path) -> None:
    path = written(name, tmp_path, some())
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
    with pytest.raises(InputError, match=path.name):
        choose(ROOM, name)().read(path)


@pytest.mark.parametrize("name", READ)
def test_no_file_and_no_splats_are_refused(name: str, tmp_path: Path) -> None:
    part = choose(ROOM, name)()
    with pytest.raises(InputError, match="cannot be read"):
        part.read(tmp_path / f"missing{part.suffixes[0]}")
    with pytest.raises(InputError, match="cannot be read"):
        part.read(tmp_path)
    nothing = Gaussians(*(getattr(some(), field)[:0] for field in Gaussians.__dataclass_fields__))
    with pytest.raises(InputError, match="no splats"):
        part.read(written(name, tmp_path, nothing))


@pytest.mark.parametrize("name", READ)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_no_damage_ends_in_another_error(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bytes overwritten inside the gzip too, where an SPZ's numbers are, and any bytes at all."""
    folder = tmp_path_factory.getbasetemp()
    path = written(name, folder, Gaussians(*(getattr(some(), field)[:3] for field in Gaussians.__dataclass_fields__)))
    whole = path.read_bytes()
    inside = zlib.decompress(whole, 31) if name == "spz" else whole
    at = data.draw(st.integers(0, len(inside)))
    noise = data.draw(st.binary(max_size=24))
    hurt = inside[:at] + noise + inside[at + data.draw(st.sampled_from([0, len(noise)])) :]
    path.write_bytes(zlib.compress(hurt, wbits=31) if name == "spz" else hurt)
    readable(name, path)


@pytest.mark.parametrize("name", READ)
@settings(max_examples=60, deadline=None)
@given(noise=st.binary(max_size=200))
@example(noise=b"ply\nformat binary_little_endian 1.0\nelement vertex 99999999999999999999\nend_header\n")
@example(
    noise=b"ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty float x\nproperty float x\nend_header\n"
)
@example(noise=b"ply\nformat binary_little_endian 1.0\nend_header\n")
@example(noise=b"ply\nformat binary_little_endian 1.0\nelement\nend_header\n")
@example(noise=b"NGSP\x04\x00\x00\x00")
def test_no_bytes_end_in_another_error(name: str, noise: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(noise)
    readable(name, path)


def readable(name: str, path: Path) -> None:
    """Reads a damaged file: it may still be one, else it is the user's to mend."""
    try:
        back = choose(ROOM, name)().read(path)
    except InputError as error:
        assert path.name in str(error) and "; " in str(error)
    else:
        assert all(bool(torch.isfinite(getattr(back, field)).all()) for field in ("means", "quats", "log_scales"))
