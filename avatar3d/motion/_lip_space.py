# SPDX-License-Identifier: Apache-2.0
"""What of an expression the ear can judge: a metric that weighs lips and jaw, and how far the mouth is open."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avatar3d.face.groups import CHIN, LIPS
from avatar3d.face.lips import lip_gaps
from avatar3d.records import Track

_LIP_WEIGHT, _REST_WEIGHT = 5.0, 0.3
_TINY = 1e-6


class LipSpace:
    """A personal rig seen through the mouth.

    Attributes:
        to_lips: [K,K]; squared length of (a - b) @ to_lips is the weighted squared distance of the faces that two
            codes a, b [K] make, in units of what the capture's own motion spans.
    """

    def __init__(self, neutral: np.ndarray, basis: np.ndarray) -> None:
        weights = np.full(len(neutral), _REST_WEIGHT)
        weights[[*LIPS, *CHIN]] = _LIP_WEIGHT
        metric = np.einsum("v,vck,vcl->kl", weights, basis, basis, dtype=np.float64)
        # codes have unit variance, so the trace is the mean squared length of a code
        metric = metric / max(np.trace(metric), 1e-12) + _TINY * np.eye(len(metric))
        self.to_lips = torch.from_numpy(np.linalg.cholesky(metric).astype(np.float32))
        self._gap, self._gap_basis = (torch.from_numpy(part) for part in lip_gaps(neutral, basis))

    @classmethod
    def of(cls, track: Track) -> LipSpace:
        return cls(track.neutral, track.basis)

    def aperture(self, codes: Tensor) -> Tensor:
        """Opening of the inner lips [...] in u of codes [...,K]."""
        gap = self._gap + torch.einsum("pck,...k->...pc", self._gap_basis, codes)
        return gap.norm(dim=-1).mean(-1)
