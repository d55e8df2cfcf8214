# SPDX-License-Identifier: Apache-2.0
"""How triangles carry what is bound to them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize


class Frames(NamedTuple):
    """A frame per triangle, as in GaussianAvatars (Qian et al., CVPR 2024)."""

    origins: Tensor  # [F,3] centroids
    axes: Tensor  # [F,3,3] columns: an edge, normal x edge, normal
    sizes: Tensor  # [F] mean of that edge's length and the height over it


def frames_of(corners: Tensor) -> Frames:
    """Frames of triangles [F,3,3]; differentiable, and finite where a triangle has no area."""
    a, b, c = corners.unbind(1)
    edge = b - a
    across = torch.linalg.cross(edge, c - a)
    along, normal = normalize(edge, dim=1, eps=_SMALL), normalize(across, dim=1, eps=_SMALL)
    length = edge.norm(dim=1).clamp_min(_SMALL)
    axes = torch.stack([along, torch.linalg.cross(normal, along), normal], 2)
    return Frames(corners.mean(1), axes, (length + across.norm(dim=1) / length) / 2)


def carried(corners: Tensor, rest: Frames, moved: Tensor) -> Tensor:
    """How each triangle carries points from rest to where it has moved.

    A point x goes to A x + t: on the triangle as its corners go, so that skin does not tear between neighbours; along
    its normal as its size does. What a point is turned by is the turn of the frames.

    Args:
        corners: [F,3,3] at rest; no triangle without area.
        rest: their frames.
        moved: [F,3,3].

    Returns:
        [F,19]: A (row by row), t, a rotation vector r whose half is the tangent of half the angle, so that [1, r / 2]
        is the turn's quaternion but for its length, no change of colour (3), and the logarithm of the growth.
    """
    now = frames_of(moved)
    A = _spanned(moved, now) @ torch.linalg.inv(_spanned(corners, rest))
    shift = now.origins - (A @ rest.origins[..., None])[..., 0]
    turn = now.axes @ rest.axes.transpose(1, 2)
    skew = torch.stack([turn[:, 2, 1] - turn[:, 1, 2], turn[:, 0, 2] - turn[:, 2, 0], turn[:, 1, 0] - turn[:, 0, 1]], 1)
    trace = turn.diagonal(dim1=1, dim2=2).sum(1, keepdim=True)
    vector = 2 * skew / (1 + trace).clamp_min(_LEAST_COSINE)
    growth = (now.sizes / rest.sizes).log()[:, None]
    return torch.cat([A.flatten(1), shift, vector, torch.zeros_like(vector), growth], 1)


_SMALL = 1e-6
_LEAST_COSINE = 0.1  # of 2 + 2 cos: turns of more than some 160 deg are held there


def _spanned(corners: Tensor, frames: Frames) -> Tensor:
    """[F,3,3] columns: two edges, and the normal as long as the triangle is large."""
    a, b, c = corners.unbind(1)
    return torch.stack([b - a, c - a, frames.axes[:, :, 2] * frames.sizes[:, None]], 2)
