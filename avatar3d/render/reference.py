# SPDX-License-Identifier: Apache-2.0
"""The renderer that others are measured against: plain torch, any float type and device, slow."""

from __future__ import annotations

from avatar3d.records import Camera, Gaussians, Image
from avatar3d.render._draw import draw

__all__ = ["Reference"]


class Reference:
    """Draws with `avatar3d.ops.splat_reference`."""

    batches = True

    def __call__(self, gaussians: Gaussians, camera: Camera) -> Image:
        return draw(gaussians, camera, "reference")
