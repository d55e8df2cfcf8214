# SPDX-License-Identifier: Apache-2.0
"""A small linear head of random numbers, and a frame of it."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar3d.avatar.linear import LinearHead
from avatar3d.geometry import intrinsics

SIDE, COUNT, CODES = 40, 300, 6


def head(moving: int = COUNT) -> LinearHead:
    """A cloud with random tables, in front of a random room; Gaussians from `moving` on have empty tables."""
    g = torch.Generator().manual_seed(4)
    tables = 0.03 * torch.randn(CODES, COUNT, 9, generator=g)
    tables[:, moving:] = 0
    means = torch.randn(COUNT, 3, generator=g) * 0.4
    parts = {
        "means": means, "quats": torch.randn(COUNT, 4, generator=g),
        "log_scales": torch.full((COUNT, 3), -2.5), "opacity_logits": torch.randn(COUNT, generator=g),
        "colours": torch.rand(COUNT, 3, generator=g), "skin_logits": torch.randn(COUNT, generator=g),
        "tables": tables, "background": torch.rand(SIDE, SIDE, 3, generator=g),
        "camera_K": intrinsics(60.0, SIDE, SIDE), "code_scale": torch.ones(CODES),
        "group": torch.zeros(COUNT, dtype=torch.uint8),
    }  # fmt: skip
    return LinearHead(parts, SIDE, SIDE)


def code() -> Tensor:
    poses = torch.tensor([1.0, 0, 0, 0, 0, 0, 3, 0.98, 0.2, 0, 0, 0.1, 0, 3])
    return torch.cat([torch.linspace(-1, 1, CODES), poses])
