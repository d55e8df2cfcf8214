# SPDX-License-Identifier: Apache-2.0
"""The algebra of a steadied motion, against what it minimises."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

from avatar3d._steady import POSE, Quadratic, second_differences_transposed

FRAMES, FACE = 30, 3
DIMENSIONS = POSE + FACE
RUNS = [slice(0, 12), slice(14, 30)]


@pytest.fixture
def quadratic() -> Quadratic:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(DIMENSIONS, DIMENSIONS))
    precision, moved = rng.uniform(0.5, 2, DIMENSIONS), 0.1 * rng.normal(size=(FRAMES, DIMENSIONS))
    return Quadratic(root @ root.T + 3 * np.eye(DIMENSIONS), rng.normal(size=(FRAMES, DIMENSIONS)), precision, moved)


def _cost(quadratic: Quadratic, step: np.ndarray) -> float:
    data = (quadratic.slope * step).sum() + 0.5 * np.einsum("td,de,te->", step, quadratic.curvature, step)
    return data + 0.5 * (quadratic.precision * np.square(step + quadratic.moved)).sum()


def test_a_free_step_is_the_minimum(quadratic: Quadratic) -> None:
    rows = np.arange(4, 20)
    step = quadratic.free(rows)
    assert not step[[0, 3, 20, 29]].any()

    def cost(values: np.ndarray) -> float:
        trial = np.zeros_like(step)
        trial[rows] = values.reshape(len(rows), -1)
        return _cost(quadratic, trial)

    best = cost(step[rows].ravel())
    slope = scipy.optimize.approx_fprime(step[rows].ravel(), cost, 1e-6)
    assert np.abs(slope).max() < 1e-3
    assert best < cost(np.zeros(step[rows].size))


def test_without_a_prior_on_time_steady_is_free(quadratic: Quadratic) -> None:
    rows = np.concatenate([np.arange(run.start, run.stop) for run in RUNS])
    steadied = quadratic.steady(np.zeros((FRAMES, POSE)), RUNS, 0.0)
    np.testing.assert_allclose(steadied, quadratic.free(rows), atol=1e-10)


def test_strong_priors_leave_straight_lines(quadratic: Quadratic) -> None:
    path = np.random.default_rng(1).normal(size=(FRAMES, POSE))
    step = quadratic.steady(path, RUNS, 1e9)
    for run in RUNS:
        assert np.abs(np.diff(path[run] + step[run, :POSE], 2, axis=0)).max() < 1e-4


def test_the_face_answers_a_steadied_pose(quadratic: Quadratic) -> None:
    path = np.random.default_rng(1).normal(size=(FRAMES, POSE))
    step = quadratic.steady(path, RUNS, 5.0)
    slope = quadratic.slope + step @ quadratic.curvature + quadratic.precision * (step + quadratic.moved)
    for run in RUNS:
        assert np.abs(slope[run, POSE:]).max() < 1e-9


def test_parted_numbers_have_the_slopes_and_curvatures_they_had(quadratic: Quadratic) -> None:
    pose, face = quadratic.parted(POSE)
    step = np.random.default_rng(2).normal(size=(FRAMES, DIMENSIONS))
    across = np.einsum("td,de,te->", step[:, :POSE], quadratic.curvature[:POSE, POSE:], step[:, POSE:])
    apart = _cost(pose, step[:, :POSE]) + _cost(face, step[:, POSE:])
    assert apart + across == pytest.approx(_cost(quadratic, step))


def test_gaps_part_the_runs(quadratic: Quadratic) -> None:
    path = np.zeros((FRAMES, POSE))
    path[14:] = 1.0  # a jump, where no frame may notice it
    apart, level = (quadratic.steady(p, RUNS, 5.0) for p in (path, np.zeros_like(path)))
    np.testing.assert_allclose(apart, level, atol=1e-9)
    assert not apart[12:14].any()


def test_a_head_that_never_moves_stays_still() -> None:
    still = Quadratic(np.eye(DIMENSIONS), np.zeros((FRAMES, DIMENSIONS)), np.ones(DIMENSIONS), np.zeros((FRAMES, 1)))
    assert not still.steady(np.zeros((FRAMES, POSE)), RUNS, 5.0).any()


def test_second_differences_transposed_is_their_transpose() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 2)), rng.normal(size=(7, 2))
    assert (np.diff(x, 2, axis=0) * y).sum() == pytest.approx((x * second_differences_transposed(y)).sum())
