# SPDX-License-Identifier: Apache-2.0
"""One recording made into several: other tempo and pitch, noise, rooms, lines. Minutes of data must go a long way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import resample_poly

from avatar3d import spoil
from avatar3d.contracts import Listen
from avatar3d.records import SAMPLE_RATE, Sound

_TEMPO_PERCENT = (93, 108)
_FAINT_DB, _LOUD_DB = (30.0, 45.0), (4.0, 25.0)  # the noise of fine and rough renditions lies so far below the speech
_TALKERS = (3, 8)
_BANDS_HZ = ((300.0, 3400.0), (0.0, 3800.0), (0.0, 5500.0))  # a telephone, 8 kHz, 11 kHz
_CLIP_SHARE = (0.15, 0.6)
_DECAY_S, _ECHO_DB = (0.1, 0.4), (3.0, 15.0)
_EQ_SPREAD_DB = 4.0


@dataclass(frozen=True)
class Rendition:
    """Feature rows of one version of the recording, and which frame of the capture each row goes with."""

    rows: np.ndarray  # [T,D] float32
    frames: np.ndarray  # [T] float64, position in frames of the capture
    rough: bool = False  # spoiled, not only varied

    def sampled(self, values: np.ndarray) -> np.ndarray:
        """Per-frame values [N,K] of the capture at this rendition's rows, interpolated."""
        below = np.clip(self.frames.astype(np.int64), 0, len(values) - 2)
        share = np.clip(self.frames - below, 0, 1)[:, None]
        return (values[below] * (1 - share) + values[below + 1] * share).astype(np.float32)


def renditions(
    sound: Sound, listen: Listen, frames: int, fine: int, rough: int, rng: np.random.Generator
) -> list[Rendition]:
    """Versions of the first `frames` frames of a 16 kHz sound; the first of the `fine` ones is the sound itself."""
    made = [_rendition(sound, listen, frames, 100)]
    for number in range(1, fine + rough):
        # played faster, a voice is also higher and its tract shorter: another speaker, nearly
        percent = int(rng.integers(*_TEMPO_PERCENT, endpoint=True))
        samples = resample_poly(sound.samples, 100, percent).astype(np.float32)
        spoiled = number >= fine
        samples = _spoiled(samples, rng) if spoiled else _in_noise(samples, _FAINT_DB, rng)
        made.append(_rendition(Sound(samples, SAMPLE_RATE), listen, frames, percent, spoiled))
    return made


def _rendition(sound: Sound, listen: Listen, frames: int, percent: int, rough: bool = False) -> Rendition:
    rows = listen(sound)
    centres = (np.arange(len(rows)) + 0.5) * percent / 100 - 0.5
    inside = centres <= frames - 1
    return Rendition(rows[inside], centres[inside].clip(0), rough)


def _spoiled(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As it might reach us: microphone, room, noise, an overdriven input and a narrow line, each of them sometimes."""
    if rng.random() < 0.6:
        samples = spoil.equalised(samples, _EQ_SPREAD_DB, rng)
    if rng.random() < 0.25:
        samples = spoil.in_room(samples, rng.uniform(*_DECAY_S), rng.uniform(*_ECHO_DB), rng)
    if rng.random() < 0.7:
        samples = _in_noise(samples, _LOUD_DB, rng)
    if rng.random() < 0.25:
        samples = spoil.clipped(samples, rng.uniform(*_CLIP_SHARE))
    if rng.random() < 0.3:
        samples = spoil.banded(samples, *_BANDS_HZ[int(rng.integers(len(_BANDS_HZ)))])
    return samples


def _in_noise(samples: np.ndarray, snr_db: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """White noise, that of a room, or the same voice chattering at other times."""
    count, kind = len(samples), int(rng.integers(3))
    if kind == 0:
        noise = spoil.white(count, rng)
    elif kind == 1 or count < 4 * SAMPLE_RATE:
        noise = spoil.pink(count, rng)
    else:
        noise = spoil.babble((samples,), count, int(rng.integers(*_TALKERS)), rng)
    return spoil.noisy(samples, noise, rng.uniform(*snr_db))
