# SPDX-License-Identifier: Apache-2.0
"""The renderer that others are measured against: plain torch, any float type and device, slow."""

from __future__ import annotations

from avatar3d.records import Camera, Image, Posed
from avatar3d.render._draw import draw, gaussians_of

__all__ = ["Reference"]


class Reference:
    """Draws with `avatar3d.ops.splat_reference`."""

    batches = True

    def __call__(self, posed: Posed, camera: Camera) -> Image:
        return draw(gaussians_of(posed, "reference"), camera, "reference")
