# SPDX-License-Identifier: Apache-2.0
"""The audio feature: what must not change it, and what must."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import resample_poly

from avatar3d.audio import mel as mel_file
from avatar3d.audio.mel import Mel
from avatar3d.records import SAMPLE_RATE, Sound

SECONDS = 6.0


@pytest.fixture(scope="module")
def voice() -> Sound:
    return syllables(SECONDS)


def syllables(seconds: float, rate: int = SAMPLE_RATE, pitch_hz: float = 120.0) -> Sound:
    """A buzz of harmonics, four syllables a second, above a faint hiss."""
    time = np.arange(round(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * pitch_hz * h * time) / h for h in range(1, 20))
    envelope = np.clip(np.sin(2 * np.pi * 2 * time), 0, None) ** 2
    hiss = np.random.default_rng(0).standard_normal(len(time)) * 1e-3
    return Sound((0.2 * tone * envelope + hiss).astype(np.float32), rate)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05, 1.0, 1.019, 1.021, 2.5])
def test_rows_number_the_seconds_times_25(seconds: float) -> None:
    sound = Sound(np.zeros(round(seconds * SAMPLE_RATE), np.float32), SAMPLE_RATE)
    rows = Mel()(sound)
    assert rows.shape == (round(sound.seconds * 25), Mel().width)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("gain_db", [-12.0, 6.0, 12.0])
def test_a_change_of_gain_changes_nothing(voice: Sound, gain_db: float) -> None:
    louder = Sound(voice.samples * np.float32(10 ** (gain_db / 20)), voice.rate)
    np.testing.assert_allclose(Mel()(louder), Mel()(voice), atol=0.02)


@pytest.mark.parametrize("rate", [44_100, 48_000, 22_050])
def test_any_sample_rate_gives_the_same_rows(voice: Sound, rate: int) -> None:
    other = Sound(resample_poly(voice.samples, rate // 50, SAMPLE_RATE // 50).astype(np.float32), rate)
    rows, wanted = Mel()(other), Mel()(voice)
    assert len(rows) == len(wanted)
    # the resampler's edge lies inside the highest bands
    inner = np.r_[:28, 32:60, 64:67]
    assert np.abs(rows - wanted)[:, inner].mean() < 0.02


def test_pieces_give_the_same_rows_as_the_whole(voice: Sound, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Mel()(voice)
    monkeypatch.setattr(mel_file, "ROWS_AT_ONCE", 17)
    np.testing.assert_allclose(Mel()(voice), whole, atol=1e-4)


def test_no_row_depends_on_sound_beyond_the_look_ahead() -> None:
    # after the first three seconds, in which the level is primed
    sound = syllables(8.0)
    mel, cut_s = Mel(), 5.0
    changed = sound.samples.copy()
    changed[round(cut_s * SAMPLE_RATE) :] = np.random.default_rng(3).standard_normal(3 * SAMPLE_RATE) * 0.3
    rows, other = mel(sound), mel(Sound(changed, sound.rate))
    last = int((cut_s - mel.look_ahead_s) * 25) - 1
    np.testing.assert_allclose(other[: last + 1], rows[: last + 1], atol=1e-4)
    assert np.abs(other[last + 4 :] - rows[last + 4 :]).max(1).min() > 0.1


def test_rows_tell_loud_from_quiet_and_high_from_low() -> None:
    sound = syllables(SECONDS)
    rows = Mel()(sound)
    loudness, harmonicity = rows[:, -3], rows[:, -2]
    syllable = np.clip(np.sin(2 * np.pi * 2 * (np.arange(len(rows)) + 0.5) / 25), 0, None) > 0.7
    gap = np.sin(2 * np.pi * 2 * (np.arange(len(rows)) + 0.5) / 25) < -0.7
    assert loudness[syllable].min() > loudness[gap].max() + 0.5
    assert harmonicity[syllable].min() > 0.8 > 0.6 > harmonicity[gap].max()


def test_pitch_is_relative_to_the_voice_and_follows_it() -> None:
    low, high = syllables(3.0, pitch_hz=110.0), syllables(1.0, pitch_hz=165.0)
    rows = Mel()(Sound(np.concatenate([low.samples, high.samples]), SAMPLE_RATE))
    octaves, voiced = rows[:, -1], rows[:, -2] > 0.9
    assert np.abs(octaves[:70][voiced[:70]]).max() < 0.05
    assert octaves[78:][voiced[78:]].max() == pytest.approx(np.log2(1.5), abs=0.12)


def test_a_quiet_room_is_not_made_loud() -> None:
    room = np.random.default_rng(1).standard_normal(3 * SAMPLE_RATE).astype(np.float32) * 1e-3
    assert Mel()(Sound(room, SAMPLE_RATE))[:, -3].max() < 0.6
