# SPDX-License-Identifier: Apache-2.0
"""Between records and the splatting op: activations on the way in, the picture's layout on the way out."""

from __future__ import annotations

from avatar3d.ops.splat import splat
from avatar3d.records import Camera, Gaussians, Image


def draw(gaussians: Gaussians, camera: Camera, path: str) -> Image:
    """One picture, differentiable in the Gaussians and in cam_from_world; `path` as in `splat`."""
    rgb, alpha, depth = splat(
        gaussians.means,
        gaussians.quats,
        gaussians.log_scales.exp(),
        gaussians.opacity_logits.sigmoid(),
        gaussians.colours,
        camera.cam_from_world,
        camera.K,
        camera.width,
        camera.height,
        path,
    )
    return Image(rgb.permute(1, 2, 0), alpha, depth)
