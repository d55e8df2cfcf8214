# SPDX-License-Identifier: Apache-2.0
"""Sound by the window: resampling, loudness, pitch, and where somebody speaks. Plain numpy, no state.

Time is cut into hops of 10 ms; hop k is centred at (k + 0.5) * 10 ms. Every value of a hop depends on a window around
it and on nothing else, so a long sound can be worked through in pieces with the same result.
"""

from __future__ import annotations

from math import gcd

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import maximum_filter1d, minimum_filter1d
from scipy.signal import firwin, resample_poly
from scipy.signal.windows import hann

from avatar3d.records import SAMPLE_RATE, Sound

HOP = SAMPLE_RATE // 100  # samples in 10 ms
HOPS_PER_S = 100
QUIETEST_DB = -100.0  # what digital silence reads as
USUAL_DB = -20.0  # the level of a voice that nobody has heard yet

_FILTER_PERIODS = 10  # of the slower rate, that the resampling filter reaches to either side
_RELEASE_DB_PER_S = 2.0
_LEVEL_FLOOR_DB = -50.0  # a voice's level never falls below this, so that a quiet room is not made loud
_LOUDNESS_WINDOW = 800  # 50 ms: two glottal periods of the deepest voice
_LOUDNESS_SHAPE = hann(_LOUDNESS_WINDOW, sym=False) / hann(_LOUDNESS_WINDOW, sym=False).sum()
REACH = _LOUDNESS_WINDOW // 2  # samples on either side of a hop's middle that its widest window takes
_PITCH_WINDOW = 768  # 48 ms: three periods of 62 Hz
_PITCH_HZ = (62.0, 450.0)
_LAGS = np.arange(int(SAMPLE_RATE / _PITCH_HZ[1]), int(SAMPLE_RATE / _PITCH_HZ[0]) + 1)
_OCTAVE_COST = 0.02  # prefers the shorter of two periods that fit equally well

_ROOM_DB = (-70.0, -55.0)  # quieter than this is a room, not a voice; in between ...
_BELOW_LOUD_DB = 45.0  # ... it lies this far below the loud moments
VOICED = 0.6  # harmonicity above which a hop is voiced
ABOVE_NOISE_DB = 9.0  # an unvoiced hop belongs to speech when it stands this far above the noise
_NOISE_MEMORY = HOPS_PER_S + 1  # hops in which some gap shows the noise alone


def resampled(sound: Sound, rate: int = SAMPLE_RATE) -> np.ndarray:
    """Samples [S'] float32 of `sound` at `rate`, by a polyphase low-pass filter."""
    samples = np.asarray(sound.samples, np.float32)
    if sound.rate == rate:
        return samples
    up, down = rate_ratio(sound.rate, rate)
    # in double precision: what is 140 dB below a sound's peaks still shows in its spectrum
    return resample_poly(samples.astype(np.float64), up, down, window=lowpass(up, down)).astype(np.float32)


def rate_ratio(rate: int, wanted: int = SAMPLE_RATE) -> tuple[int, int]:
    """(up, down) in lowest terms: `up` samples at `wanted` last as long as `down` at `rate`."""
    common = gcd(rate, wanted)
    return wanted // common, rate // common


def lowpass(up: int, down: int) -> np.ndarray:
    """The filter [2*half+1] at `up` times the first rate that resampling by up/down goes through; its sum is 1."""
    longer = max(up, down)
    if longer == 1:
        return np.ones(1)
    return firwin(2 * _FILTER_PERIODS * longer + 1, 1 / longer, window=("kaiser", 5.0))


def windows(samples: np.ndarray, size: int, first: int, count: int) -> np.ndarray:
    """Windows [count,size] of `size` samples centred on the hops [first, first + count); zeros beyond the ends."""
    begin = first * HOP + HOP // 2 - size // 2
    end = begin + (count - 1) * HOP + size
    inside = samples[max(begin, 0) : max(end, 0)]
    if len(inside) < end - begin:
        before = max(-begin, 0) - max(-end, 0)
        inside = np.pad(inside, (before, end - begin - before - len(inside)))
    # what sliding_window_view does, without its checks, which cost as much as the windows of a live row
    step = inside.strides[0]
    return np.lib.stride_tricks.as_strided(inside, (count, size), (HOP * step, step), writeable=False)


def loudness_db(samples: np.ndarray, first: int, count: int) -> np.ndarray:
    """Level [count] in dB below full scale of the hops [first, first + count), over 50 ms."""
    power = np.square(windows(samples, _LOUDNESS_WINDOW, first, count), dtype=np.float64) @ _LOUDNESS_SHAPE
    return 10 * np.log10(power + 10 ** (QUIETEST_DB / 10))


def followed(peaks: np.ndarray, before: float) -> np.ndarray:
    """A level [hops] that rises with `peaks` [hops] at once and falls slowly from `before`, that of the hop before."""
    fall = np.arange(1, len(peaks) + 1) * (_RELEASE_DB_PER_S / HOPS_PER_S)
    return np.maximum(np.maximum.accumulate(np.maximum(peaks + fall, before)) - fall, _LEVEL_FLOOR_DB)


def pitch(samples: np.ndarray, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Fundamental frequency [count] Hz and harmonicity [count] 0..1 of the hops [first, first + count).

    The autocorrelation of the windowed sound over that of the window (Boersma, 1993). Where harmonicity is low the
    frequency means nothing.
    """
    rows = windows(samples, _PITCH_WINDOW, first, count).astype(np.float64)  # so that near ties fall the same way
    correlation = _autocorrelation((rows - rows.mean(1, keepdims=True)) * _PITCH_SHAPE)
    energy = correlation[:, :1] + 1e-7
    ratio = correlation[:, _LAGS[0] : _LAGS[-1] + 1] / energy * _WINDOW_SHARE
    best = (ratio - _LAG_COST).argmax(1)
    harmonicity = np.clip(ratio[np.arange(len(rows)), best], 0, 1)
    return (SAMPLE_RATE / _LAGS[best]).astype(np.float32), harmonicity.astype(np.float32)


def _autocorrelation(rows: np.ndarray) -> np.ndarray:
    """[T,lags] of rows [T,S], for at least as many lags as pitch looks at."""
    # a circle just long enough that no lag of interest meets the other end
    size = next_fast_len(rows.shape[1] + int(_LAGS[-1]), real=True)
    return irfft(np.abs(rfft(rows, size)) ** 2, size)


_PITCH_SHAPE = hann(_PITCH_WINDOW, sym=False)
_LAG_COST = _OCTAVE_COST * np.log2(_LAGS / _LAGS[0])
_OF_WINDOW = _autocorrelation(_PITCH_SHAPE[None])[0]
_WINDOW_SHARE = _OF_WINDOW[0] / _OF_WINDOW[_LAGS]


def room_db(loud_db: np.ndarray | float) -> np.ndarray:
    """The level that a room has at most, where a voice's loud moments have `loud_db`."""
    return np.clip(np.asarray(loud_db) - _BELOW_LOUD_DB, *_ROOM_DB)


def speaks(level_db: np.ndarray, harmonicity: np.ndarray) -> np.ndarray:
    """Whether somebody speaks in each hop [T] bool.

    A voiced hop counts when it is louder than a room. An unvoiced one must also stand out of the noise, which is the
    quietest level within the second before or within that after, whichever is louder: steady noise never does, not
    even where it sets in.
    """
    room = room_db(np.quantile(level_db, 0.95))
    before, after = (
        minimum_filter1d(level_db, _NOISE_MEMORY, mode="nearest", origin=shift)
        for shift in (_NOISE_MEMORY // 2, -(_NOISE_MEMORY // 2))
    )
    noise_db = np.maximum(before, after)
    voiced = harmonicity > VOICED
    # a single voiced hop in noise is chance; a voice holds for three
    voiced = maximum_filter1d(minimum_filter1d(voiced.astype(np.uint8), 3), 3).astype(bool)
    return (level_db > room) & (voiced | (level_db > noise_db + ABOVE_NOISE_DB))
