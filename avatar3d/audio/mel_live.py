# SPDX-License-Identifier: Apache-2.0
"""The spectrum of `mel` for sound that is still coming: no row waits for more than what its own windows look at."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from avatar3d.audio.mel import HOPS_PER_ROW, ROWS_AT_ONCE, Mel, relative_octaves
from avatar3d.dsp import USUAL_DB, followed, loudness_db, pitch
from avatar3d.records import Heard
from avatar3d.stream import Hops

__all__ = ["MelLive"]


class MelLive(Mel):
    """As `Mel`, but the level follows without looking ahead, and begins where voices usually are.

    The widest window ends 20 ms after its row; a sound at another rate waits two more for its filter.
    """

    def __init__(self, bands: int = 32) -> None:
        super().__init__(bands)
        self.look_ahead_s = 0.022

    def live(self, rate: int) -> _Ear:
        """Rows of a sound of `rate` Hz that comes chunk by chunk (contracts.HearLive)."""
        return _Ear(self, rate)

    def _level_db(self, loudness: np.ndarray) -> np.ndarray:
        return followed(loudness, USUAL_DB)


class _Ear:
    """What `MelLive` hears, row by row (contracts.HearLive); keeps a tenth of a second of sound."""

    def __init__(self, mel: MelLive, rate: int) -> None:
        self._mel, self._hops = mel, Hops(rate)
        self._level, self._octave, self._made = USUAL_DB, 0.0, 0

    def push(self, samples: np.ndarray) -> Heard:
        """What these samples [S] complete."""
        self._hops.push(samples)
        return self._until(self._hops.complete // HOPS_PER_ROW)

    def close(self) -> Heard:
        """What was still to come."""
        self._hops.close()
        return self._until(self._hops.frames)

    def _until(self, end: int) -> Heard:
        none = np.zeros(0)
        parts = [Heard(np.zeros((0, self._mel.width), np.float32), none, none)]
        while self._made < end:
            parts.append(self._next(min(end - self._made, ROWS_AT_ONCE)))
        return Heard(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Heard)))

    def _next(self, rows: int) -> Heard:
        first, hops = self._made * HOPS_PER_ROW, rows * HOPS_PER_ROW
        samples, at = self._hops.samples, first - self._hops.origin
        loudness = loudness_db(samples, at, hops)
        level = followed(loudness, self._level)
        frequency, harmonicity = pitch(samples, at, hops)
        octaves, self._octave = relative_octaves(frequency, harmonicity, self._octave)
        self._level, self._made = float(level[-1]), self._made + rows
        self._hops.forget(first + hops)
        return Heard(self._mel.rows(samples, at, level, loudness, harmonicity, octaves), loudness, harmonicity)
