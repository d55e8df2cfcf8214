# SPDX-License-Identifier: Apache-2.0
"""The renderer of the house: the splatting kernel, or its torch twin where no kernel could be built."""

from __future__ import annotations

from avatar3d.records import Camera, Gaussians, Image
from avatar3d.render._draw import draw

__all__ = ["Native"]


class Native:
    """Draws with the native kernel; falls back to the reference, with a word in the log, where there is none."""

    batches = True

    def __call__(self, gaussians: Gaussians, camera: Camera) -> Image:
        return draw(gaussians, camera, "auto")
