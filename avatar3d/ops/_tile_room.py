# SPDX-License-Identifier: Apache-2.0
"""Memory for the tile lists of pictures drawn on a GPU, sized without asking the device."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

_log = logging.getLogger(__name__)
_HEADROOM = 1.25


class TileRoom:
    """How many (tile, Gaussian) pairs the pictures of a loop may have, learnt from those before.

    How many a picture has is known on the GPU only. Without a room `splat` asks, and so waits for the device. With one
    it never waits, and can be captured in a CUDA graph: a picture whose pairs do not fit comes out as NaN and its
    gradient as zero, so it is never silently wrong, and the room grows before the next picture once the device has
    said so. A room serves one loop on one device.
    """

    def __init__(self, pairs: int = 1 << 20) -> None:
        """Room for `pairs` pairs, 8 bytes each, of all pictures of a batch together."""
        if pairs < 1:
            raise ValueError(f"TileRoom: room for {pairs} pairs; expected at least 1")
        self.pairs = pairs
        self._most: Tensor | None = None  # [1] on the device: the most pairs any batch had
        self._heard: Tensor | None = None  # [1] its copy here, as far as it has come
        self._said: torch.cuda.Event | None = None

    def check(self) -> None:
        """Wait for the device, and grow if a picture did not fit.

        Raises:
            RuntimeError: one did not fit since the last growth: it was NaN and has to be drawn again.
        """
        if self._most is None:
            return
        needed, had = int(self._most), self.pairs
        self._grow_to(needed)
        if needed > had:
            raise RuntimeError(
                f"splat: a batch has {needed} tile pairs, the room had {had}: it was drawn as NaN, repeat it"
            )

    def grow(self) -> None:
        """Grow if the device has already said that a picture did not fit; never waits."""
        if self._heard is None or _capturing(self._heard):
            return
        if self._said is None or self._said.query():
            self._grow_to(int(self._heard))

    def hear(self, pairs: Tensor) -> None:
        """Let the device tell, when it gets there, how many pairs [1] a batch has."""
        if self._most is None or self._heard is None:
            self._most = torch.zeros_like(pairs)
            self._heard = torch.zeros(1, dtype=pairs.dtype, pin_memory=pairs.is_cuda)
        torch.maximum(self._most, pairs, out=self._most)
        self._heard.copy_(self._most, non_blocking=True)
        if pairs.is_cuda and not torch.cuda.is_current_stream_capturing():
            self._said = torch.cuda.Event()
            self._said.record()

    def _grow_to(self, needed: int) -> None:
        if needed > self.pairs:
            _log.warning(
                "a batch had %d tile pairs, the room %d: it was drawn as NaN; the room grows", needed, self.pairs
            )
            self.pairs = int(needed * _HEADROOM)


def _capturing(heard: Tensor) -> bool:
    return heard.is_pinned() and torch.cuda.is_current_stream_capturing()
