# SPDX-License-Identifier: Apache-2.0
"""Whether the lag between sound and picture is found, and only where there is one to be found."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from talking import speech, talking

from avatar3d.data_prep.sync import Lag, _looked_at, kept_lag, sound_lag
from avatar3d.records import FPS, Sound, Track
from avatar3d.store import Work, write_json


@pytest.fixture(scope="module", params=[0, 1])
def pair(request: pytest.FixtureRequest) -> tuple[Sound, Track]:
    return speech(request.param), talking(request.param)


def found(sound: Sound, track: Track) -> Lag:
    lag = sound_lag(sound, track)
    assert lag is not None
    return lag


@pytest.mark.parametrize("frames", [-9.0, -2.5, 4.0, 9.0])
def test_a_moved_sound_is_found_where_it_was_moved_to(pair: tuple[Sound, Track], frames: float) -> None:
    sound, track = pair
    moved = found(sound.earlier(-frames / FPS), track)
    assert moved.sure
    assert moved.frames - found(sound, track).frames == pytest.approx(frames, abs=0.35)


def test_a_sound_in_step_is_left_alone(pair: tuple[Sound, Track]) -> None:
    lag = found(*pair)
    assert lag.sure
    assert lag.mended_frames == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_another_speech_fits_nowhere(seed: int) -> None:
    lag = found(speech(seed), talking(0))
    assert not lag.sure
    assert lag.mended_frames == 0


def test_a_sound_beyond_reach_is_not_guessed(pair: tuple[Sound, Track]) -> None:
    sound, track = pair
    assert not found(sound.earlier(-1.2), track).sure


def test_a_few_frames_say_nothing(pair: tuple[Sound, Track]) -> None:
    sound, track = pair
    hidden = replace(track, confidence=np.where(np.arange(len(track.motion)) < 100, track.confidence, 0))
    assert sound_lag(sound, hidden) is None


def test_ten_seconds_are_enough_for_a_mouth_that_moves_freely(pair: tuple[Sound, Track]) -> None:
    sound, track = pair
    rows = slice(200, 450)
    part = replace(
        track,
        motion=track.motion[rows],
        confidence=track.confidence[rows],
        landmarks=replace(track.landmarks, found=track.landmarks.found[rows]),
    )
    late = Sound(sound.samples[(200 - 9) * 640 : (450 - 9) * 640], sound.rate)
    lag = found(late, part)
    assert lag.sure
    assert lag.frames == pytest.approx(found(sound, track).frames + 9, abs=1)


def test_of_a_long_clip_stretches_are_looked_at_from_beginning_to_end() -> None:
    assert _looked_at(15_000).all()
    chosen = _looked_at(75_000)
    assert chosen.sum() == 15_000
    assert chosen[0] and chosen[-1]
    assert np.diff(chosen.astype(int)).clip(0).sum() == 9  # the tenth begins with the clip


def test_sound_moves_and_keeps_its_length() -> None:
    sound = Sound(np.arange(1, 9, dtype=np.float32), 4)
    assert sound.earlier(0.5).samples.tolist() == [3, 4, 5, 6, 7, 8, 0, 0]
    assert sound.earlier(-0.25).samples.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert sound.earlier(9.0).samples.tolist() == [0] * 8


def test_what_an_earlier_version_noted_is_no_finding(tmp_path: Path) -> None:
    work = Work(tmp_path)
    assert kept_lag(work) is None
    lag = Lag(**dict.fromkeys((field.name for field in fields(Lag)), 0.0))
    write_json(work.sync, {"late_s": 0.0, "lag": asdict(lag)})
    assert kept_lag(work) == lag
    write_json(work.sync, {"late_s": 0.0, "lag": asdict(lag) | {"of_an_earlier_version": True}})
    assert kept_lag(work) is None
