# SPDX-License-Identifier: Apache-2.0
"""Distances of embeddings against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from avatar3d.metrics.networks.distances import frechet, likeness, lip_sync

RNG = np.random.default_rng(0)


def test_frechet_is_that_of_the_covariances() -> None:
    real, made = (
        RNG.standard_normal((400, 6)) * np.arange(1, 7),
        RNG.standard_normal((300, 6)) @ RNG.normal(size=(6, 6)) + 2,
    )
    a, b = np.cov(real.T), np.cov(made.T)
    expected = np.square(real.mean(0) - made.mean(0)).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet(real, made) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_fewer_pictures_than_features() -> None:
    real = RNG.standard_normal((5, 64))
    assert frechet(real, real) == pytest.approx(0, abs=1e-9)
    assert frechet(real, real + 1) == pytest.approx(64, rel=1e-9)
    assert frechet(real, real[[0, 0, 0, 0, 1]]) > 1


def test_likeness_is_the_mean_cosine() -> None:
    assert likeness(np.array([[1.0, 0], [0, 2]]), np.array([[3.0, 0], [0, -1]])) == pytest.approx(0)
    assert likeness(np.eye(3), 5 * np.eye(3)) == pytest.approx(1)


@pytest.mark.parametrize("late", [-4, 0, 3])
def test_a_late_picture_is_found(late: int) -> None:
    both = RNG.standard_normal((80, 16))
    seen, heard = both[20 - late : 60 - late], both[20:60]
    distance, confidence, offset = lip_sync(seen, heard)
    assert offset == late
    # beyond the ends there are zeros, as many as the picture is late
    assert distance == pytest.approx(np.linalg.norm(seen - _moved(heard, late), axis=1).mean())
    assert confidence > 2
    assert lip_sync(RNG.standard_normal((40, 16)), heard)[1] < confidence / 2


def _moved(rows: np.ndarray, late: int) -> np.ndarray:
    out = np.zeros_like(rows)
    if late >= 0:
        out[late:] = rows[: len(rows) - late]
    else:
        out[:late] = rows[-late:]
    return out
