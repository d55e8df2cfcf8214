# SPDX-License-Identifier: Apache-2.0
"""A head and a renderer as a source of finished frames."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from avatar3d.contracts import Draw, Head
from avatar3d.records import Camera

_WARM_UP_FRAMES = 3
_TIMED_FRAMES = 100


class Player:
    """Draws frames of a head, over the room that it was filmed in or over a plain colour."""

    def __init__(self, head: Head, draw: Draw) -> None:
        self.head, self.draw = head, draw

    def frame(self, code: Tensor, camera: Camera | None = None, background: Tensor | None = None) -> np.ndarray:
        """One frame [H,W,3] uint8.

        Args:
            code: a row of `encode`.
            camera: the capture's where None.
            background: [H,W,3] or [3] 0..1, the capture's room where None.
        """
        with torch.no_grad():
            image = self.draw(self.head.pose(code), self.head.camera if camera is None else camera)
            finished = image.over(self.head.background if background is None else background)
            return (finished.clamp(0, 1) * 255).round().byte().cpu().numpy()

    def frames(self, codes: Tensor) -> Iterator[np.ndarray]:
        """Every row's frame, one after the other."""
        return map(self.frame, codes)

    def frames_per_second(self, codes: Tensor) -> float:
        """How fast frames come, codes to finished pictures, one after the other; the first few are not timed."""
        for code in codes[:_WARM_UP_FRAMES]:
            self.frame(code)
        timed = codes[:_TIMED_FRAMES]
        start = time.perf_counter()
        for code in timed:
            self.frame(code)
        return len(timed) / (time.perf_counter() - start)
