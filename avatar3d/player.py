# SPDX-License-Identifier: Apache-2.0
"""A head and a renderer as a source of pictures to look at, by the shortest way that the two have in common."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from avatar3d.contracts import Draw, Film, Head, Linear
from avatar3d.records import BLUR_PX2, Camera, Gaussians, Image, Posed

__all__ = ["Player", "eight_bit", "thickened", "widened"]

_THINNEST = 0.1  # of its width that a Gaussian keeps whatever is taken from it


class Player:
    """Draws a head as it is now: what training changes in it later is not seen.

    A camera that shows the head larger than the capture's gets Gaussians that are thicker, see `thickened`.
    """

    def __init__(self, head: Head, draw: Draw) -> None:
        self.head, self.draw = head, draw
        self._rest = head.at_rest() if isinstance(head, Linear) and isinstance(draw, Film) else None
        self._own = _Backdrop()

    def frame(self, code: Tensor, camera: Camera | None = None, background: Tensor | None = None) -> np.ndarray:
        """One frame [H,W,3] uint8.

        Args:
            code: a row of the head's `encode`.
            camera: the capture's where None.
            background: [H,W,3] or [3] 0..1, the capture's room where None.
        """
        camera = self.head.camera if camera is None else camera
        background = self.head.background if background is None else background
        with torch.no_grad():
            if not isinstance(self.draw, Film):
                return eight_bit(self.image(code, camera).over(background))
            room = self._own.planes(background, camera)
            if self._rest is None or self._magnification(camera) > 1:
                return self.draw.film(self._posed(code, camera), camera, room).cpu().numpy()
            return self.draw.film_posed(self._rest, code, camera, room).cpu().numpy()

    def image(self, code: Tensor, camera: Camera) -> Image:
        """One frame that is not yet laid over anything."""
        with torch.no_grad():
            return self.draw(self._posed(code, camera), camera)

    def _posed(self, code: Tensor, camera: Camera) -> Posed:
        posed = self.head.pose(code)
        return thickened(posed, camera, self._magnification(camera)) if isinstance(posed, Gaussians) else posed

    def _magnification(self, camera: Camera) -> float:
        return float(camera.K[0, 0] / self.head.camera.K[0, 0])


class _Backdrop:
    """A background in planes of the picture's size; the last one is kept, since frames follow one another."""

    def __init__(self) -> None:
        self._last: tuple[Tensor, tuple[int, int], Tensor] | None = None

    def planes(self, background: Tensor, camera: Camera) -> Tensor:
        """[3,H,W] from [H,W,3] or [3]."""
        size = camera.height, camera.width
        if self._last is None or self._last[0] is not background or self._last[1] != size:
            planes = background.expand(*size, 3).permute(2, 0, 1).float().contiguous()
            self._last = background, size, planes
        return self._last[2]


def eight_bit(picture: Tensor) -> np.ndarray:
    """uint8 from 0..1, rounded."""
    return picture.mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8).cpu().numpy()


def thickened(gaussians: Gaussians, camera: Camera, magnification: float) -> Gaussians:
    """The Gaussians for a picture `magnification` times as wide as the one that they were trained for.

    Renderers blur every Gaussian by a fixed 0.1 px^2. In a larger picture that covers less of the head, and Gaussians
    that just touched part; here each grows by what the blur has lost, as an isotropic variance at its own depth.
    """
    if magnification <= 1:
        return gaussians
    return widened(gaussians, camera, BLUR_PX2 * (magnification**2 - 1))


def widened(gaussians: Gaussians, camera: Camera, variance_px2: float) -> Gaussians:
    """The Gaussians with so much more variance in the picture of `camera`, of each an isotropic one at its own depth.

    With less than none they get narrower, as far as there is any width to take.
    """
    depth = gaussians.means @ camera.cam_from_world[2, :3] + camera.cam_from_world[2, 3]
    more = variance_px2 * (depth / camera.K[0, 0]).square()
    variance = (2 * gaussians.log_scales).exp()
    least = _THINNEST**2 * variance
    return replace(gaussians, log_scales=0.5 * torch.maximum(variance + more[:, None], least).log())
