# SPDX-License-Identifier: Apache-2.0
"""How one person moves: the range and habits that any prediction of their motion must keep to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from avatar3d.motion._lids import lid_closing
from avatar3d.motion._polish import BlinkHabit, locally_linear, usual_pause
from avatar3d.motion._seal import Seal
from avatar3d.records import Sound, Track

_MOST_SEEN = 1_500  # expressions kept as neighbours
_RANGE_QUANTILES = (0.01, 0.99)
_CLOSED_SHARE = 0.05  # of the frames: those with the smallest opening are "lips shut"


@dataclass(frozen=True)
class Manner:
    """What the capture says about a person, beyond what a network has learned."""

    gain: float  # factor on what the network says, about the mean face
    closed: np.ndarray  # [K] the face with lips shut
    seen: np.ndarray  # [N,K] expressions of the capture
    low: np.ndarray  # [K] smallest usual expression
    high: np.ndarray  # [K] largest usual expression
    closing: np.ndarray  # [K] expression per unit of blink
    usual_lids: float  # blink of the mean face
    habit: BlinkHabit
    pause_frames: int  # longer silence shuts the mouth
    seal: Seal

    @classmethod
    def of(cls, track: Track, gain: float, sound: Sound) -> Manner:
        """The manner of the trusted training frames of a capture, of which `sound` is heard."""
        rows = np.flatnonzero(track.confidence[: track.fitted_frames] > 0)
        codes = track.motion.expression[rows]
        seal = Seal.of(track, codes)
        opening = seal.opening(codes)
        shut = opening <= np.quantile(opening, _CLOSED_SHARE)
        low, high = np.quantile(codes, _RANGE_QUANTILES, axis=0).astype(np.float32)
        spread = np.unique(np.linspace(0, len(codes) - 1, min(len(codes), _MOST_SEEN)).astype(np.int64))
        blink = track.motion.blink[rows]
        return cls(
            gain,
            codes[shut].mean(0),
            codes[spread],
            low,
            high,
            lid_closing(track, rows),
            float(blink.mean()),
            BlinkHabit.of(blink),
            usual_pause(sound, seal.opening(track.motion.expression[: track.fitted_frames])),
            seal,
        )

    def kept_to(self, said: np.ndarray, gate: np.ndarray) -> np.ndarray:
        """Expressions [T,K] that the person might make, from what a network says [T,K] while `gate` [T] is open."""
        # codes have zero mean over the capture, so a factor spreads them about the mean face
        usual = np.clip(locally_linear(self.gain * said, self.seen), self.low, self.high)
        sealed = self.seal(usual, self.closed)
        return self._gated(sealed.clip(np.minimum(self.low, self.closed), np.maximum(self.high, self.closed)), gate)

    def kept_live(self, said: np.ndarray, gate: np.ndarray) -> np.ndarray:
        """As `kept_to`, of speech that is still coming: by range and gate alone, as `audio2motion.onnx` has it."""
        usual = np.clip(self.gain * said, self.low, self.high)
        return self._gated(usual, gate)

    def _gated(self, usual: np.ndarray, gate: np.ndarray) -> np.ndarray:
        open_share = gate[:, None]
        return (open_share * usual + (1 - open_share) * self.closed).astype(np.float32)

    def with_lids(self, expression: np.ndarray, blink: np.ndarray) -> np.ndarray:
        """Expressions [T,K] whose lids follow `blink` [T,2]."""
        return expression + (blink.mean(1, keepdims=True) - self.usual_lids) * self.closing

    def tensors(self) -> dict[str, Tensor]:
        """Everything as tensors, by name."""
        arrays = {"closed": self.closed, "seen": self.seen, "low": self.low, "high": self.high}
        arrays |= {"closing": self.closing}
        numbers = {"gain": self.gain, "usual_lids": self.usual_lids, "pause_frames": self.pause_frames}
        numbers |= {"blink_log_interval": self.habit.log_interval, "blink_log_spread": self.habit.log_spread}
        found = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        found |= {f"seal_{name}": tensor for name, tensor in self.seal.tensors().items()}
        return found | {name: torch.tensor(number, dtype=torch.float32) for name, number in numbers.items()}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The manner that `tensors()` took apart."""
        closed, seen, low, high, closing = (
            tensors[name].numpy() for name in ("closed", "seen", "low", "high", "closing")
        )
        habit = BlinkHabit(float(tensors["blink_log_interval"]), float(tensors["blink_log_spread"]))
        gain, lids, pause = (float(tensors[name]) for name in ("gain", "usual_lids", "pause_frames"))
        seal = Seal.restore({name.removeprefix("seal_"): tensor for name, tensor in tensors.items()})
        return cls(gain, closed, seen, low, high, closing, lids, habit, round(pause), seal)
