# SPDX-License-Identifier: Apache-2.0
"""One recording made into several: other tempo and pitch, noise, chatter. A few minutes of data must go a long way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import resample_poly

from avatar3d.contracts import Listen
from avatar3d.records import SAMPLE_RATE, Sound

_TEMPO_PERCENT = (93, 108)
_SNR_DB = (15.0, 35.0)
_CHATTERERS = 6


@dataclass(frozen=True)
class Rendition:
    """Feature rows of one version of the recording, and which frame of the capture each row goes with."""

    rows: np.ndarray  # [T,D] float32
    frames: np.ndarray  # [T] float64, position in frames of the capture

    def sampled(self, values: np.ndarray) -> np.ndarray:
        """Per-frame values [N,K] of the capture at this rendition's rows, interpolated."""
        below = np.clip(self.frames.astype(np.int64), 0, len(values) - 2)
        share = np.clip(self.frames - below, 0, 1)[:, None]
        return (values[below] * (1 - share) + values[below + 1] * share).astype(np.float32)


def renditions(sound: Sound, listen: Listen, frames: int, count: int, rng: np.random.Generator) -> list[Rendition]:
    """`count` versions of the first `frames` frames of a 16 kHz sound; the first is the sound itself."""
    made = [_rendition(sound, listen, frames, 100)]
    for _ in range(count - 1):
        # played faster, a voice is also higher and its tract shorter: another speaker, nearly
        percent = int(rng.integers(*_TEMPO_PERCENT, endpoint=True))
        quicker = resample_poly(sound.samples, 100, percent).astype(np.float32)
        made.append(_rendition(Sound(_in_noise(quicker, rng), SAMPLE_RATE), listen, frames, percent))
    return made


def _rendition(sound: Sound, listen: Listen, frames: int, percent: int) -> Rendition:
    rows = listen(sound)
    centres = (np.arange(len(rows)) + 0.5) * percent / 100 - 0.5
    inside = centres <= frames - 1
    return Rendition(rows[inside], centres[inside].clip(0))


def _in_noise(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """White noise, or the same voice chattering at other times, 15 to 35 dB below the speech."""
    if rng.random() < 0.5 or len(samples) < 4 * SAMPLE_RATE:
        noise = rng.standard_normal(len(samples), dtype=np.float32)
    else:
        shifts = rng.integers(SAMPLE_RATE, len(samples) - SAMPLE_RATE, _CHATTERERS)
        noise = np.sum([np.roll(samples, int(shift)) for shift in shifts], axis=0, dtype=np.float32)
    below = 10 ** (-rng.uniform(*_SNR_DB) / 20)
    spread = np.sqrt(np.square(noise).mean()) + 1e-9
    return samples + noise * (below * np.sqrt(np.square(samples).mean()) / spread)
