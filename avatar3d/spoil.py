# SPDX-License-Identifier: Apache-2.0
"""Sound as a noisy room, a bad line or a cheap microphone would give it: to train on, and to judge by.

Everything takes and returns samples [S] float32 and leaves their number and their timing as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal import butter, fftconvolve, firwin2, sosfiltfilt

from avatar3d.records import SAMPLE_RATE

_EQ_KNOTS_HZ = (0.0, 150.0, 400.0, 1000.0, 2500.0, 5000.0, 8000.0)
_EQ_TAPS = 255
_FIRST_ECHO_S = 0.004


def gained(samples: np.ndarray, gain_db: float) -> np.ndarray:
    """Louder by `gain_db`, or quieter; nothing is clipped."""
    return samples * np.float32(10 ** (gain_db / 20))


def noisy(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """With `noise` [S] so far below the speech: powers are means over the whole length."""
    below = 10 ** (-snr_db / 20) * _rms(samples) / (_rms(noise) + 1e-12)
    return (samples + noise * np.float32(below)).astype(np.float32)


def white(count: int, rng: np.random.Generator) -> np.ndarray:
    """White noise [count]."""
    return rng.standard_normal(count, dtype=np.float32)


def pink(count: int, rng: np.random.Generator) -> np.ndarray:
    """Noise [count] with as much power in each octave: rooms, streets and fans."""
    spectrum = np.fft.rfft(white(count, rng))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    return np.fft.irfft(spectrum, count).astype(np.float32)


def babble(voices: Sequence[np.ndarray], count: int, talkers: int, rng: np.random.Generator) -> np.ndarray:
    """Many talking at once [count]: `talkers` stretches of `voices`, each begun somewhere and as loud as the others."""
    total = np.zeros(count, np.float32)
    for _ in range(talkers):
        voice = voices[int(rng.integers(len(voices)))]
        turned = np.roll(voice, int(rng.integers(len(voice))))
        total += np.resize(turned, count) / (_rms(turned) + 1e-12)
    return total


def banded(samples: np.ndarray, low_hz: float, high_hz: float, rate: int = SAMPLE_RATE) -> np.ndarray:
    """Only what lies between two frequencies, as a line carries it; 0 as the lower one lets all low sound pass."""
    if low_hz:
        filters = butter(4, (low_hz, high_hz), "bandpass", fs=rate, output="sos")
    else:
        filters = butter(8, high_hz, "lowpass", fs=rate, output="sos")
    return sosfiltfilt(filters, samples).astype(np.float32)


def clipped(samples: np.ndarray, share: float) -> np.ndarray:
    """Cut off, hard, at `share` of the largest sample."""
    most = np.float32(share * np.abs(samples).max(initial=0.0))
    return samples.clip(-most, most)


def equalised(samples: np.ndarray, spread_db: float, rng: np.random.Generator) -> np.ndarray:
    """Through another microphone: seven points of the frequency response are off by a normal `spread_db`."""
    gains = 10 ** (rng.normal(0, spread_db, len(_EQ_KNOTS_HZ)) / 20)
    return fftconvolve(samples, firwin2(_EQ_TAPS, _EQ_KNOTS_HZ, gains, fs=SAMPLE_RATE), "same").astype(np.float32)


def in_room(samples: np.ndarray, decay_s: float, echo_db: float, rng: np.random.Generator) -> np.ndarray:
    """With the echo of a room: noise that falls by 60 dB in `decay_s`, `echo_db` below the direct sound in all."""
    count = round(decay_s * SAMPLE_RATE)
    echo = white(count, rng) * 10 ** (-3 * np.arange(count) / count)
    echo[: round(_FIRST_ECHO_S * SAMPLE_RATE)] = 0
    echo *= 10 ** (-echo_db / 20) / (np.linalg.norm(echo) + 1e-12)
    echo[0] = 1
    return fftconvolve(samples, echo)[: len(samples)].astype(np.float32)


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.square(samples, dtype=np.float64).mean())) if len(samples) else 0.0
