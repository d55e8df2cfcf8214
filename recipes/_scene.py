# SPDX-License-Identifier: Apache-2.0
"""The scene on which renderers are timed: a head-sized ellipsoid covered with flat Gaussians, seen from the front.

Its silhouette fills 59 % of the picture; 60 % of the Gaussians are nearly opaque; 5 % are two to five times larger;
with 30,000 of them on 512x512 about 15 contribute to each covered pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar3d.geometry import normalise, quat_multiply
from avatar3d.ops.splat import TileRoom, splat
from avatar3d.records import Camera, Gaussians

AXES_U = (0.80, 1.0, 0.85)
DISTANCE_U = 5.0
FOCAL_PER_WIDTH = 2.44
TRAINED = ("means", "quats", "scales", "opacities", "colours")


@dataclass(frozen=True)
class Scene:
    """Arguments of `avatar3d.ops.splat.splat`."""

    means: Tensor  # [N,3] u
    quats: Tensor  # [N,4] wxyz, not normalised
    scales: Tensor  # [N,3] u
    opacities: Tensor  # [N]
    colours: Tensor  # [N,3]
    cam_from_world: Tensor  # [4,4]
    K: Tensor  # [3,3] px
    size: int  # px, width and height

    def draw(self, path: str, room: TileRoom | None = None) -> Tensor:
        """The picture's colours [3,H,W], of a batch [B,3,H,W]; `path` and `room` as in `splat`."""
        shape = (self.means, self.quats, self.scales, self.opacities, self.colours)
        rgb, _, _ = splat(*shape, self.cam_from_world, self.K, self.size, self.size, path, room)
        return rgb

    def to(self, device: str) -> Scene:
        """The same on another device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in (*TRAINED, "cam_from_world", "K")})

    def batch(self, images: int) -> Scene:
        """As many images, each with Gaussians and a camera of its own."""
        each = {name: getattr(self, name) for name in (*TRAINED, "cam_from_world", "K")}
        return replace(self, **{name: tensor.repeat(images, *tensor.ndim * (1,)) for name, tensor in each.items()})

    def gaussians(self) -> Gaussians:
        """The same as a record."""
        group = torch.zeros(len(self.means), dtype=torch.uint8, device=self.means.device)
        logits = self.opacities.logit()
        return Gaussians(self.means, self.quats, self.scales.log(), logits, self.colours, group)

    def camera(self) -> Camera:
        """The camera as a record."""
        return Camera(self.K, self.cam_from_world, self.size, self.size)

    def trainable(self) -> Scene:
        """The same with gradients of everything but the camera."""
        return replace(self, **{name: getattr(self, name).clone().requires_grad_() for name in TRAINED})


def head(size: int, count: int, seed: int = 0) -> Scene:
    """The scene with `count` Gaussians for a picture of size x size pixels."""
    g = torch.Generator().manual_seed(seed)
    axes = torch.tensor(AXES_U)
    direction = normalise(torch.randn(count, 3, generator=g))
    normal = normalise(direction / axes)
    means = direction * axes + normal * 0.012 * torch.randn(count, 1, generator=g)
    focal = FOCAL_PER_WIDTH * size
    camera = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    camera[2, 3] = DISTANCE_U
    return Scene(
        means,
        _lying_on(normal, g),
        _scales_px(size, count, g) * DISTANCE_U / focal,
        _opacities(count, g),
        (0.5 + 0.3 * torch.sin(6 * means) + 0.1 * torch.randn(count, 3, generator=g)).clamp(0, 1),
        camera,
        torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]]),
        size,
    )


def _scales_px(size: int, count: int, g: torch.Generator) -> Tensor:
    """Log-normal in the surface, flat across it, and smaller the more there are."""
    typical = 1.3 * size / 512 * math.sqrt(30_000 / count)
    across = typical * torch.exp(0.45 * torch.randn(count, 2, generator=g))
    larger = 2 + 3 * torch.rand(count, 1, generator=g)
    across = torch.where(torch.rand(count, 1, generator=g) < 0.05, across * larger, across)
    return torch.cat([across, 0.3 * across.mean(1, keepdim=True)], 1)


def _opacities(count: int, g: torch.Generator) -> Tensor:
    share = torch.rand(count, generator=g)
    solid, faint = 0.7 + 0.299 * share, 0.03 + 0.57 * share
    return torch.where(torch.rand(count, generator=g) < 0.6, solid, faint)


def _lying_on(normal: Tensor, g: torch.Generator) -> Tensor:
    """Quaternions [N,4] that turn z into `normal` after a random turn about z."""
    x, y, z = normal.unbind(-1)
    # the shortest turn from z to the normal; w is held off zero for a normal that points straight back
    upright = torch.stack([(1 + z).clamp_min(1e-6), -y, x, torch.zeros_like(x)], -1)
    half = 0.5 * math.pi * torch.rand(len(normal), generator=g)
    zero = torch.zeros_like(half)
    length = 0.5 + 1.5 * torch.rand(len(normal), 1, generator=g)
    return normalise(quat_multiply(upright, torch.stack([half.cos(), zero, zero, half.sin()], -1))) * length
