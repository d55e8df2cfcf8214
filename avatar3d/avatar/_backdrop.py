# SPDX-License-Identifier: Apache-2.0
"""The room behind a head: where training frames never show it, it stays what the capture says it is.

There a learned background gets next to no gradient, but Adam makes steps of full length of it: the usual outline of the
head would be seen in the room as soon as the head moves aside.
"""

from __future__ import annotations

import torch
from torch import Tensor

_BARE = 0.3  # of a pixel's light that must have come from the room in some frame for it to be learned


class Backdrop:
    """`look` at frames as they are drawn, `keep` a background as it was where they leave it covered.

    Args:
        plate: [H,W,3] the room as the capture knows it; None: it knows nothing, and all is learned.
    """

    def __init__(self, plate: Tensor | None) -> None:
        self.plate = None if plate is None else plate.clone()
        size = (0, 0) if plate is None else plate.shape[:2]
        self.bare = torch.zeros(size, device=None if plate is None else plate.device)  # the most that a frame showed

    @torch.no_grad()
    def look(self, alpha: Tensor) -> None:
        """Notes a frame's alpha [H,W], or that of a picture half or a quarter of the size."""
        if self.plate is None:
            return
        shown = (1 - alpha)[None, None]
        if alpha.shape != self.bare.shape:
            shown = torch.nn.functional.interpolate(shown, self.bare.shape)
        torch.maximum(self.bare, shown[0, 0], out=self.bare)

    @torch.no_grad()
    def keep(self, background: Tensor) -> None:
        """Moves a background [H,W,3], in place, back to the plate: all the way where no frame shows it."""
        if self.plate is not None:
            background += (1 - self.bare / _BARE).clamp_min(0)[..., None] * (self.plate - background)
