# SPDX-License-Identifier: Apache-2.0
"""A cloud of splats as a head has them, and how alike two clouds look."""

from __future__ import annotations

import torch

from avatar3d.geometry import intrinsics
from avatar3d.records import Camera, Gaussians
from avatar3d.render.native import Native
from avatar3d.splat_files._plain import SH_0

COUNT, SIDE = 400, 96
METRES = 0.1  # per u


def some() -> Gaussians:
    """All in sight of `seen`'s camera, which looks along -z with y up."""
    g = torch.Generator().manual_seed(2)
    return Gaussians(
        means=torch.randn(COUNT, 3, generator=g) * torch.tensor([0.6, 0.8, 0.3]),
        quats=torch.randn(COUNT, 4, generator=g),
        log_scales=torch.rand(COUNT, 3, generator=g) * 1.5 - 3.5,
        opacity_logits=2 * torch.randn(COUNT, generator=g),
        colours=torch.rand(COUNT, 3, generator=g),
        group=torch.zeros(COUNT, dtype=torch.uint8),
    )


def seen(gaussians: Gaussians) -> torch.Tensor:
    """The picture [SIDE,SIDE,3] from 6 u in front, over grey."""
    front = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    front[2, 3] = 6.0
    return Native()(gaussians, Camera(intrinsics(2.0 * SIDE, SIDE, SIDE), front, SIDE, SIDE)).over(
        torch.full((3,), 0.5)
    )


def apart_db(a: Gaussians, b: Gaussians) -> float:
    """PSNR of one's picture against the other's."""
    return float(-10 * (seen(a) - seen(b)).square().mean().clamp_min(1e-12).log10())


def linear(
    means: torch.Tensor, xyzw: torch.Tensor, scales: torch.Tensor, opacities: torch.Tensor, dc: torch.Tensor
) -> Gaussians:
    """Ours from what glTF and USD hold."""
    group = torch.zeros(len(means), dtype=torch.uint8)
    return Gaussians(means, xyzw.roll(1, 1), scales.log(), opacities.logit(1e-6), 0.5 + SH_0 * dc, group)
