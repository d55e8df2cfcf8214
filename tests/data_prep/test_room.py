# SPDX-License-Identifier: Apache-2.0
"""How large long captures become, and that a full disk is told before the wait."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from avatar3d.data_prep import _room
from avatar3d.data_prep._room import check_room, disk_bytes, usual_size
from avatar3d.errors import InputError


@pytest.mark.parametrize(
    ("minutes", "size"), [(1, 512), (13, 512), (15, 384), (23, 384), (30, 256), (50, 256), (600, 256)]
)
def test_the_longer_the_smaller_but_never_tiny(minutes: int, size: int) -> None:
    assert usual_size(minutes * 60 * 25) == size


def test_fifty_minutes_take_a_sane_folder() -> None:
    frames = 50 * 60 * 25
    assert frames * 4 * 256**2 < disk_bytes(frames, usual_size(frames)) < 25e9
    assert disk_bytes(frames, 256, written=True) < 0.35 * disk_bytes(frames, 256)


def test_too_little_room_is_told_with_both_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_room.shutil, "disk_usage", lambda _: SimpleNamespace(free=3_000_000_000))
    check_room(tmp_path / "not" / "yet", 2.9e9)
    with pytest.raises(InputError, match=r"3\.1 GB of disk are needed, 3\.0 GB are free; .*smaller --size"):
        check_room(tmp_path / "not" / "yet", 3.1e9)
