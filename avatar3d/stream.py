# SPDX-License-Identifier: Apache-2.0
"""Sound as it comes: the samples and hops that `avatar3d.dsp` has of a whole sound, of which only the end is kept."""

from __future__ import annotations

import numpy as np

from avatar3d.dsp import HOP, REACH, lowpass, rate_ratio
from avatar3d.errors import InputError
from avatar3d.records import FPS, SAMPLE_RATE

_AT_ONCE = 16_384  # samples worked through together: bounds the memory
_NOTHING = np.zeros(0, np.float32)


class Resampler:
    """`dsp.resampled`, chunk by chunk: what `push` and `close` return, joined, is what that returns for the whole.

    A sample is ready when the filter has all that it looks at: ten periods of the slower of the two rates later.
    """

    def __init__(self, rate: int, wanted: int = SAMPLE_RATE) -> None:
        self._up, self._down = rate_ratio(rate, wanted)
        filter_ = lowpass(self._up, self._down) * self._up
        self._half = len(filter_) // 2
        taps = -(-len(filter_) // self._up)
        padded = np.pad(filter_, (0, taps * self._up - len(filter_)))
        self._phases = padded.reshape(taps, self._up).T[:, ::-1].copy()  # [up,taps], the newest sample last
        self._kept = np.zeros(taps - 1)  # the newest samples, before the first one silence
        self._heard = self._made = 0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """The samples [S'] float32 that these samples [S] complete."""
        pieces = [samples[at : at + _AT_ONCE] for at in range(0, len(samples), _AT_ONCE)]
        return np.concatenate([_NOTHING, *map(self._push, pieces)])

    def close(self) -> np.ndarray:
        """The samples that were still to come: after the last one pushed there is silence."""
        whole = -(-self._heard * self._up // self._down)
        missing = whole - self._made
        silence = np.zeros(-(-self._half // self._up) + self._phases.shape[1], np.float32)
        return self.push(silence)[:missing]

    def _push(self, samples: np.ndarray) -> np.ndarray:
        taps = self._phases.shape[1]
        kept = np.concatenate([self._kept, samples.astype(np.float32)])  # begins at sample heard - taps + 1
        first = self._heard - taps + 1
        self._heard += len(samples)
        ready = max((self._heard * self._up - 1 - self._half) // self._down + 1, self._made)
        at = np.arange(self._made, ready) * self._down + self._half
        newest, phase = np.divmod(at, self._up)
        self._made = ready
        self._kept = kept[len(kept) - taps + 1 :]
        if not len(at):
            return _NOTHING
        near = np.lib.stride_tricks.sliding_window_view(kept, taps)[newest - taps + 1 - first]
        return np.einsum("st,st->s", near, self._phases[phase]).astype(np.float32)


class Hops:
    """The newest samples at SAMPLE_RATE, and how many hops of them are complete.

    Attributes:
        samples: [S] float32, from hop `origin` on.
        seconds: how much sound has come.
    """

    def __init__(self, rate: int) -> None:
        if rate < 1:
            raise InputError(f"a sample rate of {rate} Hz", "give the samples per second of the sound")
        self._rate, self._pushed = rate, 0
        self._resampler = None if rate == SAMPLE_RATE else Resampler(rate)
        self.samples, self.origin = _NOTHING, 0

    def push(self, samples: np.ndarray) -> None:
        """Takes samples [S] at the rate of this sound."""
        if samples.ndim != 1:
            raise InputError(f"samples of shape {samples.shape}", "push one channel, as an array of one dimension")
        self._pushed += len(samples)
        fresh = samples if self._resampler is None else self._resampler.push(samples)
        self.samples = np.concatenate([self.samples, fresh], dtype=np.float32)

    def close(self) -> None:
        """Takes note that nothing more comes."""
        if self._resampler is not None:
            self.samples = np.concatenate([self.samples, self._resampler.close()])

    @property
    def complete(self) -> int:
        """Hops all of whose windows are full; the first ones look back into silence."""
        return max(self.origin + (len(self.samples) - HOP // 2 - REACH) // HOP + 1, 0)

    @property
    def frames(self) -> int:
        """How many frames at FPS have come, as `records.frame_count` has it."""
        return round(self._pushed / self._rate * FPS)

    def forget(self, hop: int) -> None:
        """Drops what no hop from this one on looks at."""
        origin = max(hop - REACH // HOP, self.origin)
        self.samples = self.samples[(origin - self.origin) * HOP :]
        self.origin = origin
