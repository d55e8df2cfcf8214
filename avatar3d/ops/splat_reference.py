# SPDX-License-Identifier: Apache-2.0
"""3D Gaussian splatting in plain torch: what the kernels are measured against. Any float type, any device; slow.

Every (Gaussian, pixel) pair within reach is one row of a table that is sorted by pixel and depth; the light that gets
through to a row is the exponential of a running sum of log(1 - alpha).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar3d.geometry import matrix_from_quat
from avatar3d.ops._harmonics import colours_seen

# as csrc/splat/splat.h
NEAR = 0.01
BLUR_PX2 = 0.1
ALPHA_MIN, ALPHA_MAX = 1 / 255, 0.999
STOP = 1e-4
FIELD_MARGIN = 0.3
LARGEST, LARGEST_DET, SHORTEST_QUAT2 = 1e9, 1e30, 1e-20


@dataclass(frozen=True)
class Projected:
    """Those Gaussians that are drawn, in the picture."""

    index: Tensor  # [M] which Gaussian
    centre: Tensor  # [M,2] px
    conic: Tensor  # [M,3] inverse picture covariance: xx, xy, yy [px^-2]
    depth: Tensor  # [M] u
    reach: Tensor  # [M,2] px, beyond which alpha < 1/255


def splat_reference(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor,
    cam_from_world: Tensor, K: Tensor, width: int, height: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """As `avatar3d.ops.splat.splat`, by autograd alone."""
    seen = colours_seen(colours, means, cam_from_world)
    p = _project(means, quats, scales, opacities, seen, cam_from_world, K, width, height)
    row, pixel, weight = _weights(p, opacities, width, height)
    values = torch.cat([seen[p.index], torch.ones_like(p.depth)[:, None], p.depth[:, None]], -1)  # [M,5]
    flat = values.new_zeros(height * width, 5).index_add(0, pixel, weight[:, None] * values[row])
    picture = flat.T.reshape(5, height, width)
    return picture[:3], picture[3], picture[4]


def splat_weights_reference(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, cam_from_world: Tensor, K: Tensor, picture: Tensor
) -> tuple[Tensor, Tensor]:
    """As `avatar3d.ops.splat.splat_weights`."""
    height, width = picture.shape[1:]
    p = _project(means, quats, scales, opacities, torch.zeros_like(means), cam_from_world, K, width, height)
    row, pixel, weight = _weights(p, opacities, width, height)
    colour = weight[:, None] * picture.reshape(3, -1).T[pixel]
    index = p.index[row]
    return (
        means.new_zeros(len(means)).index_add(0, index, weight),
        means.new_zeros(len(means), 3).index_add(0, index, colour),
    )


def _drawable(quats: Tensor, *rows: Tensor) -> Tensor:
    """Which Gaussians [N] have numbers that can be drawn at all."""
    usable = (quats * quats).sum(-1) > SHORTEST_QUAT2
    for values in (quats, *rows):
        usable &= (values.abs() <= LARGEST).reshape(len(values), values[:1].numel() or 1).all(-1)
    return usable


def _project(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor,
    cam_from_world: Tensor, K: Tensor, width: int, height: int,
) -> Projected:  # fmt: skip
    depth = means.detach() @ cam_from_world[2, :3].detach() + cam_from_world[2, 3].detach()
    drawn = _drawable(quats, means, scales, opacities, colours) & (opacities >= ALPHA_MIN)
    drawn &= (depth > NEAR) & (depth <= LARGEST)
    index = drawn.nonzero()[:, 0]
    index = index[torch.argsort(depth[index], stable=True)]
    cam = means[index] @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]
    view = _linearised(cam, K, width, height) @ cam_from_world[:3, :3]  # [M,2,3]
    shape = matrix_from_quat(quats[index]) * scales[index][:, None]
    half = view @ shape
    blur = half @ half.mT + BLUR_PX2 * torch.eye(2, dtype=means.dtype, device=means.device)
    det = blur[:, 0, 0] * blur[:, 1, 1] - blur[:, 0, 1] ** 2
    conic = torch.stack([blur[:, 1, 1], -blur[:, 0, 1], blur[:, 0, 0]], -1) / det[:, None]
    centre = torch.stack([K[0, 0] * cam[:, 0] / cam[:, 2] + K[0, 2], K[1, 1] * cam[:, 1] / cam[:, 2] + K[1, 2]], -1)
    sigmas2 = 2 * (255 * opacities[index].detach()).log().clamp_min(0)
    reach = (sigmas2[:, None] * blur.detach().diagonal(dim1=-2, dim2=-1)).sqrt()
    fits = (det > 0) & (det < LARGEST_DET) & (centre.abs() <= LARGEST).all(-1)
    return Projected(index[fits], centre[fits], conic[fits], cam[fits, 2], reach[fits])


def _linearised(cam: Tensor, K: Tensor, width: int, height: int) -> Tensor:
    """Derivative [M,2,3] of the projection at points [M,3], which are held within 1.3 fields of view."""
    slopes = []
    for axis, size in enumerate((width, height)):
        focal, middle = K[axis, axis], K[axis, 2]
        margin = FIELD_MARGIN * 0.5 * size / focal
        low, high = -(middle / focal + margin), (size - middle) / focal + margin
        slopes.append((cam[:, axis] / cam[:, 2]).clamp(low, high))
    jx, jy = K[0, 0] / cam[:, 2], K[1, 1] / cam[:, 2]
    zero = torch.zeros_like(jx)
    return torch.stack([jx, zero, -jx * slopes[0], zero, jy, -jy * slopes[1]], -1).unflatten(-1, (2, 3))


def _pairs(p: Projected, width: int, height: int) -> tuple[Tensor, Tensor, Tensor]:
    """All (row of p, x, y) whose pixel centre lies within reach, by row; rows are near to far."""
    centre = p.centre.detach()
    size = torch.tensor([width, height], device=centre.device, dtype=centre.dtype)
    low = (centre - p.reach - 0.5).floor().clamp_min(0).minimum(size).long()
    high = (centre + p.reach + 0.5).ceil().clamp_min(0).minimum(size).long()
    extent = (high - low).clamp_min(0)
    count = extent[:, 0] * extent[:, 1]
    row = torch.repeat_interleave(torch.arange(len(count), device=centre.device), count)
    place = torch.arange(len(row), device=centre.device) - torch.repeat_interleave(count.cumsum(0) - count, count)
    return row, low[row, 0] + place % extent[row, 0], low[row, 1] + place // extent[row, 0]


def _alpha(p: Projected, opacities: Tensor, row: Tensor, x: Tensor, y: Tensor) -> Tensor:
    dx, dy = x + 0.5 - p.centre[row, 0], y + 0.5 - p.centre[row, 1]
    xx, xy, yy = p.conic[row].unbind(-1)
    power = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
    return (opacities[p.index[row]] * torch.exp(-power)).clamp_max(ALPHA_MAX)


def _light(alpha: Tensor, pixel: Tensor, pixels: int) -> Tensor:
    """Light that reaches each row through those before it in its pixel; float64, since the sum runs over everything."""
    passed = torch.log1p(-alpha.double())
    before = passed.cumsum(0) - passed
    count = torch.bincount(pixel, minlength=pixels)
    start = (
        before[(count.cumsum(0) - count).clamp_max(max(len(alpha) - 1, 0))] if len(alpha) else before.new_zeros(pixels)
    )
    return torch.exp(before - start[pixel])


def _weights(p: Projected, opacities: Tensor, width: int, height: int) -> tuple[Tensor, Tensor, Tensor]:
    """(row of p, pixel, weight) of every contribution: alpha >= 1/255 and light left behind it > 1e-4."""
    with torch.no_grad():
        row, x, y = _pairs(p, width, height)
        alpha = _alpha(p, opacities, row, x, y)
        seen = alpha >= ALPHA_MIN
        row, x, y, alpha = row[seen], x[seen], y[seen], alpha[seen]
        pixel, order = torch.sort(y * width + x, stable=True)
        row, x, y, alpha = row[order], x[order], y[order], alpha[order]
        kept = _light(alpha, pixel, width * height) * (1 - alpha.double()) > STOP
        row, x, y, pixel = row[kept], x[kept], y[kept], pixel[kept]
    alpha = _alpha(p, opacities, row, x, y)
    return row, pixel, alpha * _light(alpha, pixel, width * height).to(alpha.dtype)
