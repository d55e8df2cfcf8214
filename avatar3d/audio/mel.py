# SPDX-License-Identifier: Apache-2.0
"""Log-mel spectrum, loudness, voicing and pitch of speech, relative to how loud and how high the voice is."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.fft import rfft
from scipy.ndimage import maximum_filter1d
from scipy.signal.windows import hann

from avatar3d.dsp import HOP, HOPS_PER_S, followed, loudness_db, pitch, resampled, windows
from avatar3d.records import FPS, SAMPLE_RATE, Sound, frame_count

__all__ = ["Mel"]

HOPS_PER_ROW = int(HOPS_PER_S / FPS)
_WINDOW, _FFT = HOP * 5 // 2, 512  # 25 ms
_BAND_HZ = (60.0, 7600.0)
ROWS_AT_ONCE = 250  # ten seconds: bounds the memory
_CENTRE_DB, _SPREAD_DB, _DEPTH_DB = -35.0, 20.0, -70.0  # speech after the level is taken off, for numbers about 1
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
        self._window = hann(_WINDOW, sym=False)

    def described(self) -> dict[str, Any]:
        """What another program must know to compute the same (contracts.Described)."""
        return {"feature": "mel", "bands": self.bands}

    def __call__(self, sound: Sound) -> np.ndarray:
        """Rows [T,width] float32 at FPS, T = round(sound.seconds * FPS)."""
        samples = resampled(sound)
        rows = np.zeros((frame_count(sound), self.width), np.float32)
        if not len(rows):
            return rows
        loudness = _loudness(samples, len(rows) * HOPS_PER_ROW)
        level = self._level_db(loudness)
        octave = 0.0
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            part = slice(begin, min(begin + ROWS_AT_ONCE, len(rows)))
            hops = slice(part.start * HOPS_PER_ROW, part.stop * HOPS_PER_ROW)
            frequency, harmonicity = pitch(samples, hops.start, hops.stop - hops.start)
            octaves, octave = relative_octaves(frequency, harmonicity, octave)
            rows[part] = self.rows(samples, hops.start, level[hops], loudness[hops], harmonicity, octaves)
        return rows

    def rows(
        self,
        samples: np.ndarray,
        first: int,
        level: np.ndarray,
        loudness: np.ndarray,
        harmonicity: np.ndarray,
        octaves: np.ndarray,
    ) -> np.ndarray:
        """Rows [hops/4,width] float32 of samples [S] at SAMPLE_RATE, from hop `first` on.

        Args:
            level: [hops] dB, how loud the voice is; loudness [hops] dB, how loud it is in this moment.
            harmonicity: [hops] 0..1; octaves [hops] from the voice's usual pitch.
        """
        relative = (loudness - level).clip(_DEPTH_DB) / _SPREAD_DB + 1
        spectra = self._spectra(samples, first, level).reshape(-1, 2 * self.bands)
        numbers = np.stack([relative, harmonicity, octaves], 1).reshape(-1, HOPS_PER_ROW, 3).mean(1)
        return np.hstack([spectra, numbers]).astype(np.float32)

    def _spectra(self, samples: np.ndarray, first: int, level: np.ndarray) -> np.ndarray:
        """Log-mel spectra [hops/2,bands] over 20 ms each, about zero mean and unit spread."""
        power = np.abs(rfft(windows(samples, _WINDOW, first, len(level)) * self._window, _FFT)) ** 2
        band_db = 10 * np.log10(power @ self._filters + _TINY)
        relative = (band_db - level[:, None]).clip(_DEPTH_DB)
        return ((relative - _CENTRE_DB) / _SPREAD_DB).reshape(-1, 2, self.bands).mean(1)

    def _level_db(self, loudness: np.ndarray) -> np.ndarray:
        """The voice's level [hops]: the peaks of its loudness [hops], forgotten slowly."""
        ahead = int(self.look_ahead_s * HOPS_PER_S) - 3  # the window of loudness itself reaches 25 ms ahead
        peaks = maximum_filter1d(loudness, ahead + 1, mode="nearest", origin=-((ahead + 1) // 2))
        return followed(peaks, peaks[: int(_PRIME_S * HOPS_PER_S)].max())


def _loudness(samples: np.ndarray, hops: int) -> np.ndarray:
    at_once = ROWS_AT_ONCE * HOPS_PER_ROW
    return np.concatenate([loudness_db(samples, at, min(at_once, hops - at)) for at in range(0, hops, at_once)])


def relative_octaves(frequency: np.ndarray, harmonicity: np.ndarray, mean: float) -> tuple[np.ndarray, float]:
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
    return triangles / area * lift / window_power
