# SPDX-License-Identifier: Apache-2.0
"""Lips that come near meet: what least squares leaves ajar is drawn shut.

A mean over what a sound may look like never shuts the mouth, since some of that has it open. Without this, p, b and m
are half spoken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from avatar3d.face.lips import lip_gaps
from avatar3d.records import Track

_RANGE_QUANTILES = (0.01, 0.99)
_NEAR, _SHUT = 0.35, 0.1  # shares of the range of openings: where lips begin to be drawn together, and are most so
_PULL = 0.8  # of the way to the shut mouth, at most
_RIDGE = 1e-3  # of the trace: gaps that codes hardly change must not cost a large one
_TINY = 1e-12


@dataclass(frozen=True)
class Seal:
    """A person's lips: how far codes open them, and how far apart they usually are at the least and at the most."""

    gap: np.ndarray  # [3,3] u from lower to upper lip in the mean face
    change: np.ndarray  # [3,3,K] u per unit of expression
    range_u: np.ndarray  # [2] openings

    @classmethod
    def of(cls, track: Track, codes: np.ndarray) -> Self:
        """The lips of a track's rig, as wide as `codes` [N,K] open them."""
        gap, change = (part.astype(np.float32) for part in lip_gaps(track.neutral, track.basis))
        unmeasured = cls(gap, change, np.zeros(2, np.float32))
        return cls(gap, change, np.quantile(unmeasured.opening(codes), _RANGE_QUANTILES).astype(np.float32))

    def opening(self, codes: np.ndarray) -> np.ndarray:
        """Opening of the mouth [T] u at codes [T,K]."""
        gaps = self.gap + (codes @ self.change.reshape(-1, codes.shape[1]).T).reshape(-1, *self.gap.shape)
        return np.linalg.norm(gaps, axis=-1).mean(1)

    def __call__(self, codes: np.ndarray, closed: np.ndarray) -> np.ndarray:
        """Codes [T,K] of which those with lips nearly shut are drawn to where the lips of a shut mouth's codes [K] are.

        Codes have unit variance, so the least change that does it is the likeliest: a mouth stays as wide and as round
        as it was.
        """
        low, high = self.range_u
        share = (self.opening(codes) - low) / max(high - low, 1e-6)
        pull = _PULL * ((_NEAR - share) / (_NEAR - _SHUT)).clip(0, 1)[:, None]
        parting = self.change.reshape(-1, codes.shape[1]).astype(np.float64)  # [9,K]
        gram = parting @ parting.T
        gram += (_RIDGE * np.trace(gram) + _TINY) * np.eye(len(gram))
        shift = (closed - codes) @ parting.T @ np.linalg.solve(gram, parting)
        return (codes + pull * shift).astype(np.float32)

    def tensors(self) -> dict[str, Tensor]:
        """Everything as tensors, by name."""
        arrays = {"gap": self.gap, "change": self.change, "range_u": self.range_u}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The lips that `tensors()` took apart."""
        return cls(*(tensors[name].numpy() for name in ("gap", "change", "range_u")))
