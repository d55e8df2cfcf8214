# SPDX-License-Identifier: Apache-2.0
"""Log-mel spectrum, loudness, voicing and pitch of speech, relative to how loud and how high the voice is."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter1d
from scipy.signal.windows import hann

from avatar3d.dsp import HOP, HOPS_PER_S, loudness_db, pitch, resampled, windows
from avatar3d.records import FPS, SAMPLE_RATE, Sound, frame_count

__all__ = ["Mel"]

_HOPS_PER_ROW = int(HOPS_PER_S / FPS)
_WINDOW, _FFT = HOP * 5 // 2, 512  # 25 ms
_BAND_HZ = (60.0, 7600.0)
_ROWS_AT_ONCE = 750  # half a minute: bounds the memory
_CENTRE_DB, _SPREAD_DB, _DEPTH_DB = -35.0, 20.0, -70.0  # speech after the level is taken off, for numbers about 1
_RELEASE_DB_PER_S = 2.0
_FLOOR_DB = -50.0  # the level never falls below this, so that a quiet room is not made loud
_PRIME_S = 3.0
_VOICED = 0.6
_TINY = 1e-13  # -130 dB: below any recording, above nothing
_PITCH_MEMORY_S = 4.0


class Mel:
    """The default audio feature: needs no weights.

    A row holds two spectra of 20 ms (`bands` values each, high frequencies lifted), loudness, harmonicity and pitch
    in octaves about the voice's own mean. Levels are relative to a peak follower (instant attack, slow release), so
    a change of gain changes nothing. The follower starts from the loudest of the first three seconds; after that no
    row depends on sound more than `look_ahead_s` later.
    """

    def __init__(self, bands: int = 32) -> None:
        self.bands = bands
        self.width = 2 * bands + 3
        self.look_ahead_s = 0.12
        self._filters = _mel_filters(bands)
        self._window = hann(_WINDOW, sym=False).astype(np.float32)

    def __call__(self, sound: Sound) -> np.ndarray:
        """Rows [T,width] float32 at FPS, T = round(sound.seconds * FPS)."""
        samples = resampled(sound)
        rows = np.zeros((frame_count(sound), self.width), np.float32)
        if not len(rows):
            return rows
        level = self._level_db(samples, len(rows) * _HOPS_PER_ROW)
        octave = 0.0
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            count = min(_ROWS_AT_ONCE, len(rows) - begin)
            first, hops = begin * _HOPS_PER_ROW, count * _HOPS_PER_ROW
            reference = level[first : first + hops]
            frequency, harmonicity = pitch(samples, first, hops)
            octaves, octave = _relative_octaves(frequency, harmonicity, octave)
            loudness = (loudness_db(samples, first, hops) - reference).clip(_DEPTH_DB) / _SPREAD_DB + 1
            rows[begin : begin + count] = np.hstack(
                [
                    self._spectra(samples, first, hops, reference).reshape(count, -1),
                    *(_per_row(value)[:, None] for value in (loudness, harmonicity, octaves)),
                ]
            )
        return rows

    def _spectra(self, samples: np.ndarray, first: int, hops: int, level: np.ndarray) -> np.ndarray:
        """Log-mel spectra [hops/2,bands] over 20 ms each, about zero mean and unit spread."""
        power = np.abs(np.fft.rfft(windows(samples, _WINDOW, first, hops) * self._window, _FFT)) ** 2
        band_db = 10 * np.log10(power.astype(np.float32) @ self._filters + _TINY)
        relative = (band_db - level[:, None]).clip(_DEPTH_DB)
        return ((relative - _CENTRE_DB) / _SPREAD_DB).reshape(-1, 2, self.bands).mean(1)

    def _level_db(self, samples: np.ndarray, hops: int) -> np.ndarray:
        """The voice's level [hops]: the peaks of its loudness, forgotten slowly."""
        loudness = np.concatenate(
            [
                loudness_db(samples, first, min(_ROWS_AT_ONCE * _HOPS_PER_ROW, hops - first))
                for first in range(0, hops, _ROWS_AT_ONCE * _HOPS_PER_ROW)
            ]
        )
        ahead = int(self.look_ahead_s * HOPS_PER_S) - 3  # the window of loudness itself reaches 25 ms ahead
        peaks = maximum_filter1d(loudness, ahead + 1, mode="nearest", origin=-((ahead + 1) // 2))
        peaks[0] = max(peaks[: int(_PRIME_S * HOPS_PER_S)].max(), _FLOOR_DB)
        fall = np.arange(hops) * (_RELEASE_DB_PER_S / HOPS_PER_S)
        return np.maximum(np.maximum.accumulate(peaks + fall) - fall, _FLOOR_DB)


def _per_row(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, _HOPS_PER_ROW).mean(1)


def _relative_octaves(frequency: np.ndarray, harmonicity: np.ndarray, mean: float) -> tuple[np.ndarray, float]:
    """Pitch [hops] in octaves about its running mean, 0 where unvoiced; and the mean to go on with (0 = none yet)."""
    octaves = np.log2(frequency)
    voiced = harmonicity > _VOICED
    relative = np.zeros(len(frequency), np.float32)
    keep = np.exp(-1 / (_PITCH_MEMORY_S * HOPS_PER_S))
    for hop in np.flatnonzero(voiced):
        mean = octaves[hop] if mean == 0.0 else keep * mean + (1 - keep) * octaves[hop]
        relative[hop] = octaves[hop] - mean
    return relative, float(mean)


def _mel_filters(bands: int) -> np.ndarray:
    """Triangular filters [_FFT/2+1,bands] of unit area on the mel scale (O'Shaughnessy), lifted 6 dB per octave."""

    def mel(hz: np.ndarray | float) -> np.ndarray:
        return 2595 * np.log10(1 + np.asarray(hz) / 700)

    edges = 700 * (10 ** (np.linspace(mel(_BAND_HZ[0]), mel(_BAND_HZ[1]), bands + 2) / 2595) - 1)
    hz = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)[:, None]
    rise = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    triangles = np.minimum(rise, fall).clip(0)
    # low bands may be narrower than a bin: they take the nearest one
    for band in np.flatnonzero(triangles.sum(0) == 0):
        triangles[np.abs(hz[:, 0] - edges[band + 1]).argmin(), band] = 1
    area = triangles.sum(0)
    lift = (edges[1:-1] / 1000) ** 2
    window_power = (hann(_WINDOW, sym=False) ** 2).sum() * _WINDOW / 4
    return (triangles / area * lift / window_power).astype(np.float32)
