# SPDX-License-Identifier: Apache-2.0
"""The renderer of the house: the splatting kernel, or its torch twin where no kernel could be built."""

from __future__ import annotations

from torch import Tensor

from avatar3d.ops.filmed import filmed, filmed_posed
from avatar3d.records import AtRest, Camera, Image, Posed
from avatar3d.render._draw import draw, gaussians_of

__all__ = ["Native"]


class Native:
    """Draws with the native kernel; falls back to the reference, with a word in the log, where there is none."""

    batches = True

    def __call__(self, posed: Posed, camera: Camera) -> Image:
        return draw(gaussians_of(posed, "native"), camera, "auto")

    def film(self, posed: Posed, camera: Camera, background: Tensor) -> Tensor:
        """A finished picture [H,W,3] uint8 over a background [3,H,W] 0..1; see `avatar3d.ops.filmed`."""
        gaussians = gaussians_of(posed, "native")
        return filmed(
            gaussians.means,
            gaussians.quats,
            gaussians.log_scales.exp(),
            gaussians.opacity_logits.sigmoid(),
            gaussians.colours,
            background,
            camera.cam_from_world,
            camera.K,
        )

    def film_posed(self, rest: AtRest, code: Tensor, camera: Camera, background: Tensor) -> Tensor:
        """As `film`, of a linear head at a row of its codes."""
        return filmed_posed(
            rest.means,
            rest.quats,
            rest.scales,
            rest.opacities,
            rest.colours,
            rest.skin_logits,
            rest.tables,
            code,
            background,
            camera.cam_from_world,
            camera.K,
        )
