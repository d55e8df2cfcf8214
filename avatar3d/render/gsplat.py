# SPDX-License-Identifier: Apache-2.0
"""gsplat 1.5.3 as a renderer: the field's CUDA rasterizer behind the same verb, for comparison. An optional package.

It follows the conventions of `avatar3d.ops.splat` ("classic" mode, 0.1 px^2, near plane 0.01 u, alpha from 1/255 to
.999, light from 1e-4, the same spherical harmonics; its 3.33 standard deviations are where an alpha of 1 has fallen to
1/255). What differs: its far plane is at 1e10 u, ours at 1e9; a NaN or an infinity is left out by ours alone; its
exponential and logarithm are the graphics card's fast ones, and its gradients sum in no fixed order.
"""

from __future__ import annotations

import importlib.util
import math

from torch import Tensor

from avatar3d.errors import InputError
from avatar3d.records import BLUR_PX2, Camera, Image, Posed
from avatar3d.render._draw import gaussians_of

__all__ = ["Gsplat"]

NEAR_U = 0.01
_OURS = "choose the renderer native"


class Gsplat:
    """Draws with `gsplat.rasterization`, which runs on CUDA alone; it compiles its kernels at its first picture.

    Raises:
        InputError: gsplat is not installed or has no kernels, or the Gaussians are not on a CUDA device.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("gsplat") is None:
            raise InputError("renderer gsplat: the package is not installed", f"pip install gsplat==1.5.3, or {_OURS}")

    def __call__(self, posed: Posed, camera: Camera) -> Image:
        gaussians = gaussians_of(posed, "gsplat")
        device = gaussians.means.device
        if device.type != "cuda":
            raise InputError(
                f"renderer gsplat: draws on CUDA alone, the Gaussians are on {device}",
                f"move Gaussians and camera to a CUDA device, or {_OURS}",
            )
        picture, alpha = rasterized(
            gaussians.means,
            gaussians.quats,
            gaussians.log_scales.exp(),
            gaussians.opacity_logits.sigmoid(),
            gaussians.colours,
            camera.cam_from_world[None],
            camera.K[None],
            camera.width,
            camera.height,
        )
        return Image(picture[0, ..., :3], alpha[0, ..., 0], picture[0, ..., 3])


def rasterized(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor,
    cam_from_world: Tensor, K: Tensor, width: int, height: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`gsplat.rasterization` with this program's settings: C cameras, and any batch dimensions in front.

    Args:
        means: [...,N,3] u; quats [...,N,4] wxyz; scales [...,N,3] u; opacities [...,N] 0..1.
        colours: [...,N,3], or spherical harmonics [...,N,(L+1)^2,3].
        cam_from_world: [...,C,4,4].
        K: [...,C,3,3] px.
        width, height: px.

    Returns:
        rgb and depth [...,C,H,W,4], both multiplied by alpha; alpha [...,C,H,W,1].

    Raises:
        InputError: gsplat has no kernels and no compiler to make them.
    """
    import gsplat
    from gsplat.cuda import _backend

    if _backend._C is None:
        raise InputError("renderer gsplat: it finds no CUDA compiler for its kernels", f"install nvcc, or {_OURS}")
    harmonics = colours.ndim == means.ndim + 1
    picture, alpha, _ = gsplat.rasterization(
        means, quats, scales, opacities, colours, cam_from_world, K, width, height,
        near_plane=NEAR_U,
        eps2d=BLUR_PX2,
        sh_degree=math.isqrt(colours.shape[-2]) - 1 if harmonics else None,
        packed=False,  # one head fills its picture: there is little to leave out by packing
        render_mode="RGB+D",
        rasterize_mode="classic",
    )  # fmt: skip
    return picture, alpha
