# SPDX-License-Identifier: Apache-2.0
"""Which numbers of an expression belong to the mouth, and how gains move it."""

from __future__ import annotations

import numpy as np
import pytest

from avatar3d.motion._mouth import Mouth
from avatar3d.records import Motion


def test_what_opens_the_mouth_is_found_by_moving_the_head(mouth: Mouth) -> None:
    # the first number drops the jaw by .06 u, the second parts the corners, which opens nothing
    assert mouth.opening[0] > 0.01 and abs(mouth.opening[1]) < 0.2 * mouth.opening[0]
    assert mouth.shut[0] == pytest.approx(-np.sqrt(2), abs=0.1)


def test_both_numbers_move_the_mouth_alone(mouth: Mouth) -> None:
    assert np.linalg.eigvals(mouth.share).real.min() > 0.85


def test_a_gain_counts_from_the_face_with_its_lips_shut(mouth: Mouth, clip: Motion) -> None:
    said = clip.expression
    np.testing.assert_allclose(mouth.gained(said, 1, 1), said, atol=1e-6)
    none = mouth.gained(said, 0, 0)
    assert np.abs(none - mouth.shut).max() < 0.05
    half = mouth.gained(said, 0.5, 1)
    assert np.ptp(half[:, 0]) == pytest.approx(0.5 * np.ptp(said[:, 0]), rel=0.1)


def test_nothing_goes_beyond_what_the_person_usually_does(mouth: Mouth, clip: Motion) -> None:
    calm = 0.5 * clip.expression
    wide = mouth.gained(calm, 3, 3)
    assert (wide <= mouth.high).all() and (wide >= mouth.low).all()
    assert wide.std() > 1.3 * calm.std()
    rare = mouth.high[None] + 0.5  # what lies out there already stays
    np.testing.assert_allclose(mouth.gained(rare, 3, 3), rare, atol=1e-6)


def test_a_factor_may_change_from_frame_to_frame(mouth: Mouth, clip: Motion) -> None:
    factor = np.linspace(0, 1, len(clip))
    moved = mouth.gained(clip.expression, factor, factor)
    np.testing.assert_allclose(moved[-1], clip.expression[-1], atol=1e-6)
    assert np.abs(moved[0] - mouth.shut).max() < 0.05
