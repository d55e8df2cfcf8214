# SPDX-License-Identifier: Apache-2.0
"""Loudness, pitch and speech of sounds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from avatar3d.dsp import HOPS_PER_S, loudness_db, pitch, resampled, speaks, windows
from avatar3d.records import SAMPLE_RATE, Sound


def tone(frequency: float, seconds: float, level: float = 0.5) -> np.ndarray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def noise(seconds: float, level_db: float) -> np.ndarray:
    drawn = np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE))
    return (drawn * 10 ** (level_db / 20)).astype(np.float32)


def spoken(samples: np.ndarray) -> np.ndarray:
    hops = len(samples) * HOPS_PER_S // SAMPLE_RATE
    return speaks(loudness_db(samples, 0, hops), pitch(samples, 0, hops)[1])


def test_windows_are_centred_on_their_hops_and_zero_beyond_the_ends() -> None:
    samples = np.arange(1, 1601, dtype=np.float32)
    cut = windows(samples, 400, -3, 20)
    assert cut.shape == (20, 400)
    np.testing.assert_array_equal(cut[3 + 5], samples[5 * 160 + 80 - 200 : 5 * 160 + 80 + 200])
    assert not cut[0].any()
    assert cut[3][:120].sum() == 0 and cut[3][120] == 1
    assert cut[-1][-1] == 0


def test_the_level_of_a_tone_is_its_rms() -> None:
    level = loudness_db(tone(440, 1.0, level=0.1), 10, 50)
    np.testing.assert_allclose(level, 20 * np.log10(0.1 / np.sqrt(2)), atol=0.1)


@pytest.mark.parametrize("frequency", [80.0, 120.0, 210.0, 400.0])
def test_pitch_finds_the_fundamental(frequency: float) -> None:
    rich = sum(tone(frequency * h, 0.5, 0.3 / h) for h in range(1, 8))
    found, harmonicity = pitch(rich, 5, 40)
    np.testing.assert_allclose(found, frequency, rtol=0.03)
    assert harmonicity.min() > 0.9


def test_resampling_keeps_a_tone_and_drops_what_cannot_be_kept() -> None:
    time = np.arange(48_000) / 48_000
    both = Sound((np.sin(2 * np.pi * 1000 * time) + np.sin(2 * np.pi * 12_000 * time)).astype(np.float32), 48_000)
    inner = slice(800, -800)
    np.testing.assert_allclose(resampled(both)[inner], tone(1000, 1.0, 1.0)[inner], atol=0.01)


def test_somebody_speaks_in_a_voice_and_not_in_silence_or_steady_noise() -> None:
    vowel = sum(tone(130 * h, 1.0, 0.1 / h) for h in range(1, 8))
    assert spoken(vowel)[5:-5].all()
    assert not spoken(np.zeros(SAMPLE_RATE, np.float32)).any()
    for level_db in (-70.0, -40.0, -20.0):
        assert spoken(noise(3.0, level_db)).mean() < 0.02, level_db


def test_a_hiss_between_quiet_moments_is_speech() -> None:
    sound = np.concatenate([noise(0.5, -65), noise(0.15, -25), noise(0.5, -65)])
    heard = spoken(sound)
    assert heard[53:62].all()
    assert not heard[:45].any()
