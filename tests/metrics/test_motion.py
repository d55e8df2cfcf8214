# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from avatar3d.face.groups import LIPS
from avatar3d.metrics.motion import (
    aperture,
    eye_distance,
    follow,
    jitter,
    lip_distance,
    pearson,
    score_errors,
    shots_of,
)


def still_face(frames: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    points = np.repeat(rng.uniform(20, 200, (1, 478, 3)), frames, 0).astype(np.float32)
    points[:, 33, :2], points[:, 263, :2] = (50.0, 80.0), (130.0, 80.0)
    return points


def smooth_signal(frames: int, seed: int = 0) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(size=frames + 4)
    return np.convolve(steps, np.ones(5) / 5, "valid")


def one_shot(frames: int) -> np.ndarray:
    return np.zeros(frames, int)


@pytest.mark.parametrize("lag", [-3, -1, 0, 1, 3])
def test_the_lag_of_a_shifted_signal_is_its_shift(lag: int) -> None:
    signal = smooth_signal(120)
    real, made = signal[10:110], signal[10 - lag : 110 - lag]
    found = follow(real, 0.8 * made + 3, one_shot(100))
    assert found.lag_frames == lag
    assert found.r_at_lag == pytest.approx(1.0)
    assert found.gain == pytest.approx(0.8 * made.std() / real.std())
    assert (found.r == pytest.approx(1.0)) == (lag == 0)


def test_shifts_do_not_reach_across_a_cut() -> None:
    # two shots; the made one is late by two frames in each, and what would slide over the cut is nonsense
    real = smooth_signal(80)
    made = np.concatenate([np.r_[99.0, -99.0, real[:38]], np.r_[99.0, -99.0, real[40:78]]])
    shots = shots_of([40], 0, 80)
    assert follow(real, made, shots).r_at_lag == pytest.approx(1.0)
    assert follow(real, made, shots).lag_frames == 2
    assert follow(real, made, one_shot(80)).r_at_lag < 0.9


def test_the_search_is_bounded_by_a_quarter_of_the_frames() -> None:
    signal = smooth_signal(40)
    found = follow(signal[10:30], signal[3:23], one_shot(20))
    assert found.lag_frames is not None and abs(found.lag_frames) <= 5


def test_a_still_mouth_has_no_correlation() -> None:
    found = follow(smooth_signal(50), np.full(50, 3.0), one_shot(50))
    assert found.r is None and found.lag_frames is None and found.gain == 0
    assert follow(np.full(50, 3.0), smooth_signal(50), one_shot(50)).gain is None


def test_frames_without_a_face_are_left_out() -> None:
    real = smooth_signal(50)
    made = real.copy()
    made[[4, 20]] = np.nan
    assert follow(real, made, one_shot(50)).r == pytest.approx(1.0)
    assert pearson(real[:7], real[:7]) is None


def test_shots_are_numbered_from_the_cuts() -> None:
    np.testing.assert_array_equal(shots_of([5, 2], 0, 7), [0, 0, 1, 1, 1, 2, 2])
    np.testing.assert_array_equal(shots_of([5, 2], 4, 7), [1, 2, 2])
    np.testing.assert_array_equal(shots_of((), 3, 6), [0, 0, 0])


def test_aperture_and_eye_distance_are_lengths() -> None:
    points = still_face(3)
    for upper, lower in ((13, 14), (82, 87), (312, 317)):
        points[:, lower, :2] = points[:, upper, :2] + np.array([[3, 4], [6, 8], [0, 0]])
    np.testing.assert_allclose(aperture(points), [5, 10, 0], atol=1e-4)
    assert eye_distance(points) == pytest.approx(80.0)


def test_lip_distance_ignores_a_shift_but_not_a_shape() -> None:
    real = still_face(2)
    made = real.copy()
    made[..., :2] += 7.0
    np.testing.assert_allclose(lip_distance(real, made), 0, atol=1e-4)
    # one of 40 points moves by 4: it is off by 4 * 39/40, the others by 4/40
    made[1, LIPS[0], 0] += 4.0
    np.testing.assert_allclose(lip_distance(real, made), [0, 4 * 2 * 39 / 40 / 40], atol=1e-4)


def test_jitter_is_the_third_difference_and_skips_cuts() -> None:
    points = still_face(9).astype(np.float64)
    frame = np.arange(9.0)
    points[:, :, 0] += (0.5 * frame**2)[:, None]  # a parabola has none
    assert jitter(points, one_shot(9)) == pytest.approx(0, abs=1e-9)
    points[:, :, 1] += (frame**3 / 6)[:, None]  # a cubic has its leading coefficient's six
    assert jitter(points, one_shot(9)) == pytest.approx(1.0)
    points[5:] += 100.0
    assert jitter(points, one_shot(9)) > 10
    assert jitter(points, shots_of([5], 0, 9)) == pytest.approx(1.0)
    points[6, 168] = np.nan
    assert jitter(points, shots_of([5], 0, 9)) == pytest.approx(1.0)
    assert jitter(points[:3], one_shot(3)) is None


def test_score_errors_are_sums_over_upper_and_lower_scores() -> None:
    real = np.zeros((4, 52))
    made = np.zeros((4, 52))
    made[:, 1], made[:, 22] = 0.1, 0.2  # first brow, last eye score
    made[:, 25] = 0.5  # jaw open
    made[:, [0, 50, 51]] = 0.9  # neutral and nose count nowhere
    upper, lower = score_errors(real, made)
    assert upper == pytest.approx(0.05) and lower == pytest.approx(0.25)
    made[2] = np.nan
    assert score_errors(real, made)[1] == pytest.approx(0.25)
    assert score_errors(real, np.full((4, 52), np.nan)) == (None, None)
