# SPDX-License-Identifier: Apache-2.0
"""A manner of speaking as a few numbers, taken from how somebody moves and laid over what a voice says."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from avatar3d.geometry import rotvec_from_quat
from avatar3d.motion._mouth import Mouth
from avatar3d.records import Motion

_FACTORS = (0.5, 2.0)  # beyond these it is a caricature, or a fault of the tracker
_OPEN = 0.25  # blink: lids count as open below
_WINDOW_FRAMES = 25  # over which a head is calm or restless
_TINY = 1e-9


@dataclass(frozen=True)
class Style:
    """How somebody speaks, beside how another face usually does."""

    mouth: float  # times as wide as usual
    rest: float  # times as lively, the face beside the mouth
    held: np.ndarray  # [K] how the face beside the mouth is held, away from usual: brows, cheeks
    restless: float  # -.5 .. .5: how much more the head moves than usual, as a share of the face's own moments

    @classmethod
    def of(cls, other: Motion, clip: Motion, mouth: Mouth) -> Style:
        """The style of a motion that was put on this face, against the face's own clip.

        Both in the personal basis. Frames with closed lids tell nothing of brows.
        """
        rest = mouth.rest
        theirs, own = ((m.expression @ rest)[m.blink.mean(1) < _OPEN] for m in (other, clip))
        if not len(theirs) or not len(own):
            theirs, own = other.expression @ rest, clip.expression @ rest
        widths = [(m.expression @ mouth.opening).std() for m in (other, clip)]
        lively = [np.sqrt(part.var(0).sum()) for part in (theirs, own)]
        calm, calmer = _unrest(clip), _unrest(other)
        return cls(
            _factor(*widths),
            _factor(*lively),
            (np.median(theirs, 0) - np.median(own, 0)).astype(np.float32),
            float((calm < np.median(calmer)).mean() - 0.5) if len(calm) and len(calmer) else 0.0,
        )

    def on(self, said: Motion, clip: Motion, mouth: Mouth) -> Motion:
        """`said` in this style: never beyond what the person of `clip` usually does, or what was said already."""
        usual = clip.expression.mean(0)
        away = said.expression - usual
        lips = (said.expression - mouth.shut) @ mouth.share
        moved = said.expression + (self.mouth - 1) * lips + (self.rest - 1) * away @ mouth.rest + self.held
        low, high = np.minimum(mouth.low, said.expression), np.maximum(mouth.high, said.expression)
        return replace(said, expression=moved.clip(low, high).astype(np.float32))


def _unrest(motion: Motion) -> np.ndarray:
    """[W] rad: how far the head turns about its mean within each window."""
    turns = rotvec_from_quat(torch.from_numpy(motion.head[:, :4])).numpy()
    if len(turns) < _WINDOW_FRAMES:
        return np.zeros(0)
    spread: np.ndarray = np.sqrt(sliding_window_view(turns, _WINDOW_FRAMES, axis=0).var(-1).sum(1))
    return spread


def _factor(theirs: float, own: float) -> float:
    return float(np.clip(theirs / max(own, _TINY), *_FACTORS))
