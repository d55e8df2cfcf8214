# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import Delaunay

from avatar3d.metrics.baselines import _covering, bend, bent, mean_image, nearest_frame, nearest_frames, warp


def landmarks(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(12, 52, (frames, 478, 3)).astype(np.float32)


def ramp() -> np.ndarray:
    y, x = np.mgrid[0:64, 0:64]
    return np.stack([3 * x, 3 * y, 0 * x + 90], -1).astype(np.uint8)


def test_the_mean_image_is_the_mean() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (70, 4, 5, 3), dtype=np.uint8)
    drawn = list(mean_image(frames, 3))
    assert len(drawn) == 3
    np.testing.assert_array_equal(drawn[2], np.rint(frames.mean(0)))


def test_the_nearest_frame_is_found_in_the_plane_and_only_among_known_ones() -> None:
    points = landmarks(5)
    wanted = points[[3, 1]] + np.float32([0.4, -0.3, 50])  # depth does not count
    known = np.ones(5, bool)
    assert nearest_frames(points, known, wanted)[:, 0].tolist() == [3, 1]
    known[3] = False
    points[3] = np.nan
    rows = nearest_frames(points, known, wanted, 9)
    assert rows.shape == (2, 4) and 3 not in rows
    frames = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    assert [int(frame[0, 0, 0]) for frame in nearest_frame(frames, points, known, wanted)][1] == 1


def test_a_similarity_is_no_bend_and_lips_count_five_times() -> None:
    source = landmarks(1)[0]
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    target = source.copy()
    target[:, :2] = 1.3 * source[:, :2] @ turn.T + (4, -9)
    assert bend(source, target) == pytest.approx(0, abs=1e-6)
    lip, brow = source.copy(), source.copy()
    lip[13, 1] += 3
    brow[70, 1] += 3
    assert bend(source, lip) == pytest.approx(5 * bend(source, brow), rel=0.05)


def test_bending_moves_the_picture_with_its_landmarks() -> None:
    source = landmarks(1)[0]
    np.testing.assert_array_equal(bent(ramp(), source, source), ramp())
    target = source + np.float32([2, -1, 0])
    drawn = bent(ramp(), source, target)
    # the ramp's value says where a pixel came from; within the landmarks all have moved by (2, -1)
    middle = slice(24, 40)
    np.testing.assert_allclose(drawn[middle, middle, 0] / 3.0, ramp()[middle, middle, 0] / 3.0 - 2, atol=0.35)
    np.testing.assert_allclose(drawn[middle, middle, 1] / 3.0, ramp()[middle, middle, 1] / 3.0 + 1, atol=0.35)
    np.testing.assert_allclose(drawn[:2, :2].astype(int), ramp()[:2, :2], atol=3)


def test_landmarks_outside_the_picture_or_on_one_another_do_no_harm() -> None:
    source = landmarks(1)[0]
    source[10], source[20] = source[11], source[21]
    source[30, :2] = -5, 30
    target = source.copy()
    target[40, :2] = 70, 20
    np.testing.assert_allclose(bent(ramp(), source, target).astype(int), ramp(), atol=1)


def test_the_warp_takes_the_candidate_that_bends_least() -> None:
    wanted = landmarks(1)
    near, similar = wanted[0].copy(), wanted[0].copy()
    near[::2, 0] += 1.0  # nearer in the plane, but bent
    similar[:, :2] += 2.0
    points = np.stack([near, similar])
    frames = np.stack([ramp(), ramp()])
    frames[1, :, :, 2] = 200
    assert nearest_frames(points, np.ones(2, bool), wanted)[0, 0] == 0
    drawn = next(warp(frames, points, np.ones(2, bool), wanted))
    assert (drawn[..., 2] == 200).all()


@pytest.mark.parametrize("seed", range(4))
def test_each_pixel_is_carried_by_the_triangle_that_it_lies_in(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = np.array([(0, 0), (40, 0), (0, 24), (40, 24)], np.float64)
    # halves lie on the pixels' middles, where edges and corners meet them
    points = np.concatenate([corners, np.unique(np.round(rng.uniform(1, 23, (30, 2)) * 2) / 2, axis=0)])
    mesh = Delaunay(points)
    triangle = _covering(points[np.sort(mesh.simplices, 1)], 40, 24)
    y, x = np.mgrid[0:24, 0:40] + 0.5
    to_corner = mesh.transform[triangle]
    two = np.einsum("hwij,hwj->hwi", to_corner[:, :, :2], np.stack([x, y], 2) - to_corner[:, :, 2])
    weights = np.concatenate([two, 1 - two.sum(2, keepdims=True)], 2)
    assert weights.min() > -1e-9 and weights.max() < 1 + 1e-9
