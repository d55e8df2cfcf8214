# SPDX-License-Identifier: Apache-2.0
"""Whom of the members a voice believes."""

from __future__ import annotations

import numpy as np
import pytest

from avatar3d.motion._schools import strangeness, voted


def rows_about(mean: float, count: int = 400) -> np.ndarray:
    return np.random.default_rng(0).normal(mean, 0.1, (count, 8)).astype(np.float32)


def test_strangeness_is_how_far_the_mean_is_off_from_the_first_row_on() -> None:
    np.testing.assert_allclose(strangeness(rows_about(0.8)), 0.8, atol=0.03)
    assert strangeness(rows_about(0.0)).max() < 0.03
    assert len(strangeness(rows_about(0.0, 0))) == 0


def test_a_change_of_sound_is_noticed_within_seconds() -> None:
    found = strangeness(np.concatenate([rows_about(0.0), rows_about(0.8)]))
    assert found[399] < 0.03 and found[500] > 0.45 and found[799] > 0.7


@pytest.mark.parametrize(("mean", "fine"), [(0.0, 0.6), (0.375, 0.3), (0.9, 0.0)])
def test_the_stranger_a_sound_the_less_counts_the_fine_school(mean: float, fine: float) -> None:
    said = np.zeros((400, 4, 1), np.float32)
    said[:, :2] = [[0.5], [1.5]]
    np.testing.assert_allclose(voted(said, rows_about(mean), 2)[:, 0], fine, atol=0.05)


def test_members_of_one_school_are_equals() -> None:
    said = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    np.testing.assert_array_equal(voted(said, rows_about(9.0, 1), 1), [[2.0, 3.0]])
