# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up import MadeUp, make

from avatar3d.data_prep.synthetic import speech_sample
from avatar3d.errors import InputError
from avatar3d.recipes.bench_voice import bench_voice, report_voice, spoiled
from avatar3d.recipes.voice import VoiceSettings
from avatar3d.records import SAMPLE_RATE, Progress, Sound
from avatar3d.store import Work, frames_writer, save_capture, save_track

SECONDS = 6.4
SOUNDS = [
    "clean", "+12 dB", "-12 dB", "clipped at +12 dB", "white noise, 10 dB", "babble, 10 dB", "8 kHz", "48 kHz",
    "stereo, one side",
]  # fmt: skip


@pytest.fixture(scope="module")
def film(face_task: Path) -> MadeUp:
    return make(face_task, round(SECONDS * 25))


def work_of(made: MadeUp, sound: Sound | None, folder: Path) -> Work:
    work = Work(folder)
    with frames_writer(work.frames, made.capture.frames.shape) as array:
        array[:] = made.capture.frames
    save_capture(work, replace(made.capture, sound=sound), made.track.landmarks, {})
    save_track(work, made.track)
    return work


def test_a_voice_is_held_against_spoiled_sound_and_silence(film: MadeUp, tmp_path: Path) -> None:
    told: list[Progress] = []
    work = work_of(film, speech_sample(SECONDS, 0), tmp_path)
    figures = bench_voice(work, VoiceSettings(steps=2), told.append)
    assert [row["sound"] for row in figures["rows"]] == SOUNDS
    clean, louder, quieter, *_ = figures["rows"]
    assert clean["fall"] == 0 and clean["gain"] > 0 and clean["speed"] > 0
    assert abs(louder["fall"]) < 0.1 and abs(quieter["fall"]) < 0.1
    digital = figures["silence"][0]
    assert digital["sound"] == "digital silence"
    assert digital["shut_after_s"] <= 0.2 and digital["widest"] < 0.1
    assert told[-1].done == 1.0
    text = report_voice(figures)
    assert all(name in text for name in (*SOUNDS, "digital silence", "noise of -40 dB"))


def test_every_version_keeps_what_was_said_in_its_place() -> None:
    sound = speech_sample(2.0, 1)
    for name, make_it in spoiled(sound):
        made = make_it()
        assert made.seconds == pytest.approx(sound.seconds, abs=1e-3), name
        step = made.rate / SAMPLE_RATE
        at_16_khz = made.samples[(np.arange(len(sound.samples) - 4) * step).astype(int)]
        assert np.corrcoef(at_16_khz, sound.samples[:-4])[0, 1] > 0.7, name


def test_a_silent_video_is_refused(film: MadeUp, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no sound"):
        bench_voice(work_of(film, None, tmp_path / "none"))
    with pytest.raises(InputError, match="silent"):
        bench_voice(work_of(film, Sound(np.zeros(100_000, np.float32), SAMPLE_RATE), tmp_path / "silent"))
