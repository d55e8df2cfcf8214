# SPDX-License-Identifier: Apache-2.0
"""A judge of lip sync: does this sound belong to these lips, and if not, by how many frames are they apart?

Two small networks see a fifth of a second each, one of sound and one of lips, and give a direction. Directions of what
belongs together are made to agree, others not to (contrastive learning: SyncNet, Chung and Zisserman, 2016; the loss is
InfoNCE, van den Oord et al., 2018). It is trained on one person's capture in a minute and judges that person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avatar3d.contracts import Listen
from avatar3d.motion._saved import heard_by

WINDOW = 5  # frames of lips, and rows of sound
LONGEST_SHIFT = 15  # frames that are tried to either side
_HIDDEN, _DIRECTIONS = 64, 32
_FEWEST = 25  # windows that make an opinion


@dataclass(frozen=True)
class Offset:
    """How far lips are from their sound."""

    frames: int  # positive: the lips come later
    confidence: float  # agreement there, less the median agreement over all shifts: about 0 for lips of another sound
    agreement: float  # mean cosine as the lips are, -1..1


class SyncNet(nn.Module):
    """Feature rows and codes to directions."""

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int, codes: int) -> None:
        super().__init__()
        self.features, self.codes = features, codes
        self.hear, self.see = _tower(features), _tower(codes)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("to_lips", torch.eye(codes))

    def heard(self, rows: Tensor) -> Tensor:
        """Directions [B,T,32] of the sound about each row of [B,T,D]; the first and last two see less."""
        return functional.normalize(
            self.hear(((rows - self.mean) / self.scale).transpose(1, 2)).transpose(1, 2), dim=-1
        )

    def seen(self, codes: Tensor) -> Tensor:
        """Directions [B,T,32] of the lips about each row of expressions [B,T,K]."""
        lips = codes @ self.get_buffer("to_lips")
        return functional.normalize(self.see(lips.transpose(1, 2)).transpose(1, 2), dim=-1)


def _tower(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(width, _HIDDEN, WINDOW, padding=WINDOW // 2),
        nn.GELU(),
        nn.Dropout(0.2),
        nn.Conv1d(_HIDDEN, _HIDDEN, 1),
        nn.GELU(),
        nn.Conv1d(_HIDDEN, _DIRECTIONS, 1),
    )


class Judge:
    """What a finished training knows (contracts.Saved); its opinion has gradients in the codes."""

    def __init__(self, net: SyncNet, listen: Listen) -> None:
        self.net, self.listen = net.eval().requires_grad_(False), listen

    def disagreement(self, rows: Tensor, codes: Tensor) -> Tensor:
        """A scalar 0..2: one less the mean cosine of sound, rows [B,T,D], and lips, expressions [B,T,K]."""
        return 1 - (self.net.heard(rows) * self.net.seen(codes)).sum(-1).mean()

    @torch.no_grad()
    def agreement(self, rows: np.ndarray, codes: np.ndarray, shift: int = 0) -> float | None:
        """Mean cosine of rows [T,D] and the expressions [T,K] `shift` frames later; None for too few of them."""
        heard, seen = (part[0] for part in (self.net.heard(_batch(rows)), self.net.seen(_batch(codes))))
        count = min(len(heard), len(seen))
        edge = WINDOW // 2
        early = slice(max(-shift, 0) + edge, count - max(shift, 0) - edge)
        late = slice(max(shift, 0) + edge, count - max(-shift, 0) - edge)
        if late.stop - late.start < _FEWEST:
            return None
        return float((heard[early] * seen[late]).sum(-1).mean())

    def offset(self, rows: np.ndarray, codes: np.ndarray) -> Offset | None:
        """By how many frames expressions [T,K] are late for the sound of rows [T,D]; None for too short a piece."""
        shifts = range(-LONGEST_SHIFT, LONGEST_SHIFT + 1)
        found = {shift: self.agreement(rows, codes, shift) for shift in shifts}
        known = {shift: value for shift, value in found.items() if value is not None}
        if len(known) < len(found):
            return None
        best = max(known, key=lambda shift: known[shift])
        return Offset(best, known[best] - float(np.median(list(known.values()))), known[0])

    def config(self) -> dict[str, Any]:
        """Widths as JSON values."""
        return {"features": self.net.features, "codes": self.net.codes}

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.net.state_dict())

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], listen: Listen | None = None) -> Self:
        """The judge that `config()` and `tensors()` came from.

        Raises:
            InputError: `listen` is not the feature that it was trained on.
        """
        net = SyncNet(config["features"], config["codes"])
        net.load_state_dict(dict(tensors))
        return cls(net, heard_by(net.features, listen))


def _batch(rows: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(rows, np.float32))[None]
