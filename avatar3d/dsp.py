# SPDX-License-Identifier: Apache-2.0
"""Sound by the window: resampling, loudness, pitch, and where somebody speaks. Plain numpy, no state.

Time is cut into hops of 10 ms; hop k is centred at (k + 0.5) * 10 ms. Every value of a hop depends on a window around
it and on nothing else, so a long sound can be worked through in pieces with the same result.
"""

from __future__ import annotations

from math import gcd

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d
from scipy.signal import resample_poly
from scipy.signal.windows import hann

from avatar3d.records import SAMPLE_RATE, Sound

HOP = SAMPLE_RATE // 100  # samples in 10 ms
HOPS_PER_S = 100
QUIETEST_DB = -100.0  # what digital silence reads as

_LOUDNESS_WINDOW = 800  # 50 ms: two glottal periods of the deepest voice
_PITCH_WINDOW = 768  # 48 ms: three periods of 62 Hz
_PITCH_HZ = (62.0, 450.0)
_OCTAVE_COST = 0.02  # prefers the shorter of two periods that fit equally well

_ROOM_DB = (-70.0, -55.0)  # quieter than this is a room, not a voice; in between ...
_BELOW_LOUD_DB = 45.0  # ... it lies this far below the loud moments
_VOICED = 0.6  # harmonicity above which a hop is voiced
_ABOVE_NOISE_DB = 9.0  # an unvoiced hop belongs to speech when it stands this far above the noise
_NOISE_MEMORY = 2 * HOPS_PER_S + 1  # hops in which some gap shows the noise alone


def resampled(sound: Sound, rate: int = SAMPLE_RATE) -> np.ndarray:
    """Samples [S'] float32 of `sound` at `rate`, by a polyphase low-pass filter."""
    samples = np.asarray(sound.samples, np.float32)
    if sound.rate == rate:
        return samples
    common = gcd(sound.rate, rate)
    return resample_poly(samples, rate // common, sound.rate // common).astype(np.float32)


def windows(samples: np.ndarray, size: int, first: int, count: int) -> np.ndarray:
    """Windows [count,size] of `size` samples centred on the hops [first, first + count); zeros beyond the ends."""
    begin = first * HOP + HOP // 2 - size // 2
    end = begin + (count - 1) * HOP + size
    inside = samples[max(begin, 0) : max(end, 0)]
    after = max(end, 0) - max(begin, 0) - len(inside)
    padded = np.pad(inside, (max(-begin, 0) - max(-end, 0), after))
    return np.lib.stride_tricks.sliding_window_view(padded, size)[::HOP]


def loudness_db(samples: np.ndarray, first: int, count: int) -> np.ndarray:
    """Level [count] in dB below full scale of the hops [first, first + count), over 50 ms."""
    shape = hann(_LOUDNESS_WINDOW, sym=False).astype(np.float32)
    power = np.square(windows(samples, _LOUDNESS_WINDOW, first, count)) @ (shape / shape.sum())
    return 10 * np.log10(power + 10 ** (QUIETEST_DB / 10))


def pitch(samples: np.ndarray, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Fundamental frequency [count] Hz and harmonicity [count] 0..1 of the hops [first, first + count).

    The autocorrelation of the windowed sound over that of the window (Boersma, 1993). Where harmonicity is low the
    frequency means nothing.
    """
    shape = hann(_PITCH_WINDOW, sym=False).astype(np.float32)
    rows = windows(samples, _PITCH_WINDOW, first, count)
    rows = (rows - rows.mean(1, keepdims=True)) * shape
    size = 2 * _PITCH_WINDOW
    shortest, longest = int(SAMPLE_RATE / _PITCH_HZ[1]), int(SAMPLE_RATE / _PITCH_HZ[0])
    lags = np.arange(shortest, longest + 1)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(rows, size)) ** 2, size)
    of_window = np.fft.irfft(np.abs(np.fft.rfft(shape, size)) ** 2, size)
    energy = correlation[:, :1] + 1e-7
    ratio = correlation[:, lags] / energy * (of_window[0] / of_window[lags])
    best = (ratio - _OCTAVE_COST * np.log2(lags / shortest)).argmax(1)
    harmonicity = np.clip(ratio[np.arange(len(rows)), best], 0, 1)
    return (SAMPLE_RATE / lags[best]).astype(np.float32), harmonicity.astype(np.float32)


def speaks(level_db: np.ndarray, harmonicity: np.ndarray) -> np.ndarray:
    """Whether somebody speaks in each hop [T] bool.

    A voiced hop counts when it is louder than a room. An unvoiced one must also stand out of the noise, which is the
    quietest level within a second before and after: steady noise never does.
    """
    room_db = np.clip(np.quantile(level_db, 0.95) - _BELOW_LOUD_DB, *_ROOM_DB)
    noise_db = minimum_filter1d(level_db, _NOISE_MEMORY, mode="nearest")
    voiced = harmonicity > _VOICED
    # a single voiced hop in noise is chance; a voice holds for three
    voiced = maximum_filter1d(minimum_filter1d(voiced.astype(np.uint8), 3), 3).astype(bool)
    return (level_db > room_db) & (voiced | (level_db > noise_db + _ABOVE_NOISE_DB))
