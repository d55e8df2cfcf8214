# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np

from avatar3d.data_prep._cuts import find_cuts, picture_changes

FACE_PX = 150.0


def scene(frames: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Changes [T] and points [T,478,3] of a head that moves smoothly, as measured on real clips."""
    random = np.random.default_rng(seed)
    sway = np.cumsum(np.convolve(random.normal(0, 0.5, (frames + 14)), np.hanning(15), "valid"))
    face = random.uniform(0, FACE_PX, (478, 3)) * [0.8, 1, 0.3]
    face[10, 1], face[152, 1] = 0, FACE_PX
    points = face + np.stack([sway, sway / 2, 0 * sway], 1)[:, None]
    points += random.normal(0, 0.15, points.shape)
    speed = np.abs(np.gradient(sway))
    changes = 0.7 + speed + random.uniform(0, 0.2, frames)
    changes[0] = 0
    return changes.astype(np.float32), points.astype(np.float32)


def test_movement_is_no_cut() -> None:
    for seed in range(20):
        assert find_cuts(*scene(seed=seed)) == ()


def test_jump_of_picture_and_head_is_a_cut() -> None:
    changes, points = scene()
    changes[[75, 150]] = 12.0
    points[75:, :, 0] += 8
    points[150:, :, 1] -= 8
    assert find_cuts(changes, points) == (75, 150)


def test_neither_jump_alone_is_a_cut() -> None:
    changes, points = scene()
    changes[60] = 2.2 * changes[55:66].max()
    assert find_cuts(changes, points) == ()
    changes, points = scene()
    points[60:] += 8
    assert find_cuts(changes, points) == ()


def test_flash_is_no_cut() -> None:
    changes, points = scene()
    changes[[90, 91]] = 60.0
    assert find_cuts(changes, points) == ()


def test_weak_cut_beside_a_strong_one_is_found() -> None:
    changes, points = scene()
    changes[100], changes[103] = 60.0, 9.0
    points[100:] += 10
    points[103:] += 9
    assert find_cuts(changes, points) == (100, 103)


def test_cut_to_a_picture_without_a_face_is_found() -> None:
    changes, points = scene()
    points[120:140] = np.nan
    changes[[120, 140]] = 40.0
    assert find_cuts(changes, points) == (120, 140)


def test_changes_are_mean_grey_levels() -> None:
    frames = np.zeros((4, 128, 128, 3), np.uint8)
    frames[2:, :64, :, 1] = 30
    np.testing.assert_allclose(picture_changes(frames), [0, 0, 15, 0])
