# SPDX-License-Identifier: Apache-2.0
"""Between records and the splatting op: activations on the way in, the picture's layout on the way out."""

from __future__ import annotations

from avatar3d.errors import InputError
from avatar3d.ops.splat import splat
from avatar3d.records import Camera, Gaussians, Image, Posed


def gaussians_of(posed: Posed, renderer: str) -> Gaussians:
    """What the renderers of splats draw.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(posed, Gaussians):
        raise InputError(
            f"renderer {renderer}: draws Gaussians, and this is a radiance field", "choose the renderer volume"
        )
    return posed


def draw(gaussians: Gaussians, camera: Camera, path: str) -> Image:
    """One picture, differentiable in the Gaussians and in cam_from_world; `path` as in `splat`.

    Where means, quaternions or colours have B in front, of a batch, rgb, alpha and depth have too.
    """
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
    return Image(rgb.movedim(-3, -1), alpha, depth)
