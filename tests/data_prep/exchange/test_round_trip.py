# SPDX-License-Identifier: Apache-2.0
"""Every format: what is written and read again sees the same, to 1e-4 px."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exchanged import LOST, Scene, seen_by

from avatar3d.data_prep import exchange
from avatar3d.errors import InputError
from avatar3d.records import unwatched

UNITS_PER_U = {"nerfstudio": 1.0, "ad-nerf": 0.1, "vhap": 0.1, "colmap": 1.0}


def test_every_format_has_a_reader_and_a_writer() -> None:
    assert set(exchange.READERS) == set(UNITS_PER_U)
    assert set(exchange.WRITERS) == {*UNITS_PER_U, "live-link"}  # whose files hold a motion and no pictures


@pytest.mark.parametrize("tool", UNITS_PER_U)
def test_what_is_written_is_read_again(tool: str, scene: Scene, tmp_path: Path) -> None:
    count = exchange.WRITERS[tool](tmp_path, scene.capture, scene.track, unwatched)
    foreign = exchange.read(tmp_path)
    views = foreign.views
    assert foreign.tool == tool
    assert count == len(views) == len(foreign.pictures) == len(scene.frames)
    assert np.array_equal(views.frame, scene.frames) and not set(LOST) & set(views.frame.tolist())
    assert np.abs(seen_by(views, scene.vertices * UNITS_PER_U[tool]) - scene.seen).max() < 1e-4
    if tool != "colmap":  # which knows no split
        assert np.array_equal(views.held_out, scene.frames >= scene.track.fitted_frames)
    assert foreign.masks is not None and all(path.is_file() for path in foreign.masks)
    assert (foreign.sound is not None) == (tool == "ad-nerf")


@pytest.mark.parametrize("tool", UNITS_PER_U)
def test_a_missing_picture_is_named(tool: str, scene: Scene, tmp_path: Path) -> None:
    exchange.WRITERS[tool](tmp_path, scene.capture, scene.track, unwatched)
    lost = exchange.read(tmp_path).pictures[5]
    lost.unlink()
    with pytest.raises(InputError, match=f"{lost.name}: this picture is missing"):
        exchange.read(tmp_path)


def test_a_capture_without_masks_is_refused(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no masks"):
        exchange.WRITERS["colmap"](tmp_path, replace(scene.capture, masks=None), scene.track, unwatched)


def test_an_unknown_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        exchange.read(tmp_path / "missing")
    with pytest.raises(InputError, match=r"no transforms\.json"):
        exchange.read(tmp_path)
    with pytest.raises(InputError, match="no format named 'blender'"):
        exchange.read(tmp_path, "blender")
