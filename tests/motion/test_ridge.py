# SPDX-License-Identifier: Apache-2.0
"""Ridge regressions from shared sums."""

from __future__ import annotations

import numpy as np

from avatar3d.motion._ridge import Moments, linear_baseline

FEATURES, CODES, FRAMES = 5, 3, 300


def made_up() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((FRAMES, FEATURES)).astype(np.float32)
    follows = np.roll(rows, 1, 0)[:, :CODES] + 0.3 * rows[:, -CODES:] + 2
    return rows, (follows + 0.1 * rng.standard_normal((FRAMES, CODES))).astype(np.float32)


def test_the_map_is_the_one_of_least_squares() -> None:
    rows, codes = made_up()
    sums = Moments(FEATURES, CODES, 2, 1)
    sums.add(rows, codes, np.ones(FRAMES, bool))
    weights, bias = sums.ridge(1, 1)
    padded = np.pad(rows, ((1, 1), (0, 0)))
    near = np.concatenate([padded[:-2], padded[1:-1], padded[2:]], 1)  # tap by tap
    centred, target = near - near.mean(0), codes - codes.mean(0)
    expected = np.linalg.solve(centred.T @ centred + 0.1 * FRAMES * np.eye(3 * FEATURES), centred.T @ target)
    np.testing.assert_allclose(weights.transpose(2, 1, 0).reshape(-1, CODES), expected, atol=1e-4)
    np.testing.assert_allclose(bias, codes.mean(0) - near.mean(0) @ expected, atol=1e-4)


def test_frames_taken_out_again_were_never_counted() -> None:
    rows, codes = made_up()
    kept = np.arange(FRAMES) % 3 > 0
    every, missed, direct = (Moments(FEATURES, CODES, 2, 2) for _ in range(3))
    every.add(rows, codes, np.ones(FRAMES, bool))
    missed.add(rows, codes, ~kept)
    direct.add(rows, codes, kept)
    for found, expected in zip(every.without(missed).ridge(2, 2), direct.ridge(2, 2), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_mean_of_contexts_looks_no_further_than_its_span() -> None:
    rows, codes = made_up()
    sums = Moments(FEATURES, CODES, 3, 1)
    sums.add(rows, codes, np.ones(FRAMES, bool))
    weights, _ = sums.mean_ridge((1, 3))
    assert weights.shape == (CODES, FEATURES, 5)
    short, long = sums.ridge(1, 1)[0], sums.ridge(3, 1)[0]
    np.testing.assert_allclose(weights[..., 2:], (short + long[..., 2:]) / 2, atol=1e-6)
    np.testing.assert_allclose(weights[..., :2], long[..., :2] / 2, atol=1e-6)


def test_the_baseline_follows_what_is_linear() -> None:
    rows, codes = made_up()
    said = linear_baseline(rows, codes[:200], np.ones(200, bool))
    assert np.corrcoef(said[200:, 0], codes[200:, 0])[0, 1] > 0.95
