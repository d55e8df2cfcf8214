# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from avatar3d.data_prep.synthetic import Film, Voice, say, speech_sample, timeline
from avatar3d.data_prep.synthetic.speech import SILENCE, Phoneme
from avatar3d.records import FPS, SAMPLE_RATE

_BANDS, _WINDOW, _HOP, _NEIGHBOURS = 24, 1024, 160, 4


def _one(name: str) -> np.ndarray:
    """Half a second of one sound between silences."""
    said = (Phoneme(SILENCE, 0, 0.3), Phoneme(name, 0.3, 0.8), Phoneme(SILENCE, 0.8, 1.1))
    return say(said, 1.1, Voice(), seed=0).samples[int(0.4 * SAMPLE_RATE) : int(0.7 * SAMPLE_RATE)]


def _power_above(samples: np.ndarray, hz: float) -> float:
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    return float(power[np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE) > hz].sum() / power.sum())


@pytest.mark.parametrize("seconds", [0.5, 3.17, 12.0])
def test_sound_is_as_long_as_its_timeline(seconds: float) -> None:
    sound = say(timeline(seconds, 0), seconds, Voice(), seed=0)
    assert len(sound.samples) == round(seconds * SAMPLE_RATE)
    assert sound.samples.dtype == np.float32


def test_loud_but_not_clipped_and_silent_where_nothing_is_said() -> None:
    said = timeline(6, 0, quiet_s=1.0)
    samples = say(said, 6, Voice(), seed=0).samples
    assert np.abs(samples).max() == pytest.approx(0.8, abs=1e-3)
    assert samples[: int(0.9 * SAMPLE_RATE)].std() < 0.02 * samples.std()


def test_the_same_seed_sounds_the_same() -> None:
    first, again, other = (speech_sample(2, seed).samples for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_hiss_is_high_and_hum_is_low() -> None:
    assert _power_above(_one("S"), 3500) > 0.8
    assert _power_above(_one("M"), 1500) < 0.1


def test_vowels_have_their_formants() -> None:
    """The power between 1800 and 2600 Hz, where IY has its second formant and AO nothing, tells them apart."""
    front, back = _one("IY"), _one("AO")
    between = [_power_above(x, 1800) - _power_above(x, 2600) for x in (front, back)]
    assert between[0] > 5 * between[1]


@pytest.mark.parametrize("pitch_hz", [110.0, 200.0])
def test_the_pitch_is_the_one_asked_for(pitch_hz: float) -> None:
    said = (Phoneme("AA", 0, 1.0),)
    samples = say(said, 1.0, Voice(pitch_hz), seed=0).samples[4000:12000]
    echo = np.correlate(samples, samples, "full")[len(samples) :]
    lags = np.arange(1, len(samples))
    likely = (lags > SAMPLE_RATE / 300) & (lags < SAMPLE_RATE / 70)
    period = lags[likely][echo[likely].argmax()]
    assert pitch_hz / 1.2 < SAMPLE_RATE / period < pitch_hz * 1.2


def test_lips_can_be_learned_from_the_voice(footage: Film) -> None:
    """Ridge regression over 9 frames of 24 mel bands, 5 contiguous folds: there is something to learn, and not all."""
    mel = _log_mel(footage.truth.sound.samples, len(footage))
    r = _ridge_r(mel, footage.truth.lip_gap)
    shifted = _ridge_r(np.roll(mel, 125, axis=0), footage.truth.lip_gap)
    assert 0.75 < r < 0.99
    assert shifted < 0.4


def _log_mel(samples: np.ndarray, frames: int) -> np.ndarray:
    """[frames,24], means over each frame."""
    padded = np.pad(samples, _WINDOW // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[: len(samples) : _HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW))) ** 2
    hz = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE)
    edges = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + f / 700) for f in (60, 7600)), _BANDS + 2) / 2595) - 1)
    rising = (hz[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - hz[:, None]) / np.diff(edges)[1:]
    mel = np.log(power @ np.minimum(rising, falling).clip(0) + 0.01)
    per_frame = round(SAMPLE_RATE / _HOP / FPS)
    return mel[: frames * per_frame].reshape(frames, per_frame, _BANDS).mean(1)


def _ridge_r(features: np.ndarray, target: np.ndarray, weight: float = 10.0) -> float:
    """Correlation of the target with its prediction from the other folds."""
    frames = np.arange(len(target))
    near = [(frames + shift).clip(0, len(target) - 1) for shift in range(-_NEIGHBOURS, _NEIGHBOURS + 1)]
    wide = np.concatenate([features[rows] for rows in near], 1)
    guess = np.zeros(len(target))
    for fold in np.array_split(frames, 5):
        known = np.setdiff1d(frames, fold)
        middle, spread = wide[known].mean(0), wide[known].std(0) + 1e-6
        seen, unseen = (wide[known] - middle) / spread, (wide[fold] - middle) / spread
        level = target[known].mean()
        solved = np.linalg.solve(seen.T @ seen + weight * np.eye(seen.shape[1]), seen.T @ (target[known] - level))
        guess[fold] = unseen @ solved + level
    return float(np.corrcoef(guess, target)[0, 1])
