# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from avatar3d.data_prep.synthetic.controls import COLUMN
from avatar3d.data_prep.synthetic.motion import VISEMES, Performance, perform
from avatar3d.data_prep.synthetic.speech import LIP_CLOSURES, PHONES, Phoneme, timeline

_SECONDS, _FPS = 60.0, 25.0


@pytest.fixture(scope="module")
def said() -> tuple[Phoneme, ...]:
    return timeline(_SECONDS, seed=0, quiet_s=3.0)


@pytest.fixture(scope="module")
def acted(said: tuple[Phoneme, ...]) -> Performance:
    return perform(said, _SECONDS, _FPS, seed=0, turns_s=8.0)


def _control(acted: Performance, name: str) -> np.ndarray:
    return acted.controls[:, COLUMN[name]]


def test_every_phone_has_a_viseme() -> None:
    assert {phone.viseme for phone in PHONES.values()} == VISEMES.keys()


def test_every_frame_has_a_row(acted: Performance) -> None:
    assert len(acted.controls) == len(acted.turn_rad) == len(acted.shift_cm) == 1500


def test_lips_are_shut_in_every_frame_of_a_closure(said: tuple[Phoneme, ...], acted: Performance) -> None:
    time_s = (np.arange(1500) + 0.5) / _FPS
    closures = [p for p in said if p.name in LIP_CLOSURES]
    during = np.any([(time_s >= p.start_s) & (time_s < p.end_s - 0.01) for p in closures], axis=0)
    assert during.sum() > 60
    assert (_control(acted, "seal")[during] == 1).all()
    assert (_control(acted, "seal") < 0.1).mean() > 0.3


def test_the_jaw_opens_on_open_vowels_and_less_on_close_ones(said: tuple[Phoneme, ...], acted: Performance) -> None:
    def mean_at(names: tuple[str, ...]) -> float:
        return float(np.mean([_control(acted, "jaw")[int(p.middle_s * _FPS)] for p in said if p.name in names]))

    assert mean_at(("AA", "AE")) > 0.45 > 0.25 > mean_at(("IY", "UW"))


def test_a_sound_looks_unlike_itself_beside_another() -> None:
    """Co-articulation: the same S is rounder before UW than before IY."""

    def pucker(vowel: str) -> float:
        said = (Phoneme("S", 0, 0.1), Phoneme(vowel, 0.1, 0.3))
        return float(_control(perform(said, 0.3, _FPS, 0, 0.0), "pucker")[1])

    assert pucker("UW") > pucker("IY") + 0.1


def test_the_head_turns_to_both_sides_early_and_slowly(acted: Performance) -> None:
    yaw_deg = np.degrees(acted.turn_rad[:200, 0])
    assert yaw_deg.max() > 20 and yaw_deg.min() < -20
    assert np.abs(np.degrees(acted.turn_rad[:, 0])).max() <= 25
    assert np.abs(np.diff(yaw_deg)).max() * _FPS < 90  # degrees per second


def test_blinks_are_whole_and_come_every_few_seconds(acted: Performance) -> None:
    lids = _control(acted, "blink_right")
    begins = np.nonzero((lids[1:] > 0.5) & (lids[:-1] <= 0.5))[0] / _FPS
    assert 12 <= len(begins) <= 40
    assert np.diff(begins).max() < 7
    assert lids.max() == pytest.approx(1) and lids.min() == 0


def test_controls_stay_in_their_range(acted: Performance) -> None:
    gaze = [COLUMN["gaze_x"], COLUMN["gaze_y"]]
    others = np.delete(acted.controls, [*gaze, COLUMN["lower_lip"]], axis=1)
    assert others.min() >= 0 and others.max() <= 1.1
    assert np.abs(acted.controls[:, gaze]).max() <= 1


def test_eyes_hold_the_camera_while_the_head_turns(acted: Performance) -> None:
    r = np.corrcoef(_control(acted, "gaze_x")[:200], acted.turn_rad[:200, 0])[0, 1]
    assert r < -0.7


def test_the_same_seed_moves_the_same(said: tuple[Phoneme, ...], acted: Performance) -> None:
    assert np.array_equal(perform(said, _SECONDS, _FPS, 0, 8.0).controls, acted.controls)
    assert not np.array_equal(perform(said, _SECONDS, _FPS, 1, 8.0).turn_rad, acted.turn_rad)
