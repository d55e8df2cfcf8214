# SPDX-License-Identifier: Apache-2.0
"""Lips that come near meet, and nothing else about the face changes."""

from __future__ import annotations

import numpy as np
import pytest

from avatar3d.motion._seal import Seal

JAW, SMILE, BROW = range(3)
CLOSED = np.array([-1.0, 0.7, -0.4], np.float32)


@pytest.fixture
def seal() -> Seal:
    """Lips that the first code parts by up to 2 u, straight down; the others move no lip apart."""
    gap = np.tile(np.array([0.0, -1.0, 0.0], np.float32), (3, 1))
    change = np.zeros((3, 3, 3), np.float32)
    change[:, 1, JAW] = -1.0
    return Seal(gap, change, np.array([0.0, 2.0], np.float32))


def face(jaw: float) -> np.ndarray:
    return np.array([[jaw, 1.5, 0.2]], np.float32)


def test_lips_that_come_near_are_drawn_together(seal: Seal) -> None:
    said = face(-0.85)
    assert seal.opening(said) == pytest.approx(0.15, abs=1e-6)
    assert seal.opening(seal(said, CLOSED)) == pytest.approx(0.15 * 0.2, abs=1e-3)


def test_a_mouth_stays_as_wide_as_it_was(seal: Seal) -> None:
    shut = seal(face(-0.85), CLOSED)
    np.testing.assert_allclose(shut[:, SMILE:], face(-0.85)[:, SMILE:], atol=1e-6)


def test_an_open_mouth_is_left_alone(seal: Seal) -> None:
    said = np.concatenate([face(-0.2), face(0.9)])
    np.testing.assert_array_equal(seal(said, CLOSED), said)


def test_the_nearer_the_more(seal: Seal) -> None:
    said = np.concatenate([face(jaw) for jaw in np.linspace(-0.1, -0.95, 12)])
    opened = seal.opening(seal(said, CLOSED))
    assert (np.diff(opened) < 0).all()


def test_codes_that_part_no_lips_at_all_do_no_harm(seal: Seal) -> None:
    still = Seal(0.1 * seal.gap, 0 * seal.change, seal.range_u)
    np.testing.assert_array_equal(still(face(0.0), CLOSED), face(0.0))
