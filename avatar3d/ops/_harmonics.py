# SPDX-License-Identifier: Apache-2.0
"""View-dependent colour: real spherical harmonics of degree 0 to 3, in the order and sign of 3D Gaussian splatting."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar3d.geometry import normalise

TERMS = (1, 4, 9, 16)  # per degree


def colours_seen(colours: Tensor, means: Tensor, cam_from_world: Tensor) -> Tensor:
    """Colours [N,3] as a camera sees them: [N,3] are returned as they are, [N,(L+1)^2,3] are max(0, SH + .5).

    Args:
        colours: [N,3], or spherical harmonics [N,(L+1)^2,3] with L in 0..3.
        means: [N,3] u.
        cam_from_world: [4,4].
    """
    if colours.ndim == 2:
        return colours
    if colours.shape[1] not in TERMS:
        raise ValueError(f"colours have {colours.shape[1]} harmonics per Gaussian, expected one of {TERMS}")
    if colours.shape[1] == 1:
        return (basis(means, 1) * colours[:, 0] + 0.5).clamp_min(0)
    camera = torch.linalg.inv(cam_from_world)[:3, 3]
    terms = basis(normalise(means - camera), colours.shape[1])
    return ((terms[..., None] * colours).sum(1) + 0.5).clamp_min(0)


def basis(directions: Tensor, terms: int) -> Tensor:
    """The first `terms` real spherical harmonics [N,terms] of unit directions [N,3]."""
    x, y, z = directions.unbind(-1)
    rows = [torch.full_like(x, 0.28209479177387814)]
    if terms > 1:
        rows += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if terms > 4:
        rows += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (2 * z * z - x * x - y * y),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ]
    if terms > 9:
        rows += [
            -0.5900435899266435 * y * (3 * x * x - y * y),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * z * z - x * x - y * y),
            0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -0.4570457994644658 * x * (4 * z * z - x * x - y * y),
            1.445305721320277 * z * (x * x - y * y),
            -0.5900435899266435 * x * (x * x - 3 * y * y),
        ]
    return torch.stack(rows, -1)
