# SPDX-License-Identifier: Apache-2.0
"""Small scenes for the tests of the splatting op."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avatar3d.ops import splat_reference as ref
from avatar3d.ops.splat import splat

NAMES = ("means", "quats", "scales", "opacities", "colours", "cam_from_world")


@dataclass(frozen=True)
class Scene:
    """Arguments of `splat`."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colours: Tensor
    cam_from_world: Tensor
    K: Tensor
    width: int
    height: int

    def tensors(self) -> list[Tensor]:
        return [getattr(self, name) for name in NAMES]

    def to(self, dtype: torch.dtype) -> Scene:
        return replace(self, K=self.K.to(dtype), **{name: getattr(self, name).to(dtype) for name in NAMES})

    def trainable(self) -> Scene:
        return replace(self, **{name: getattr(self, name).clone().requires_grad_() for name in NAMES})

    def draw(self, path: str) -> tuple[Tensor, Tensor, Tensor]:
        return splat(*self.tensors(), self.K, self.width, self.height, path=path)


def turned(angle: float = 0.3) -> Tensor:
    """A camera that is neither at the origin nor along an axis: [4,4]."""
    c, s = torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))
    pose = torch.eye(4)
    pose[0, 0], pose[0, 2], pose[2, 0], pose[2, 2] = c, s, -s, c
    pose[:3, 3] = torch.tensor([0.1, -0.2, 4.0])
    return pose


def cloud(count: int, width: int, height: int, seed: int = 0, spread: float = 1.0, terms: int = 0) -> Scene:
    """Gaussians of all shapes around the camera's axis, some outside; `terms` harmonics, 0: plain colours."""
    g = torch.Generator().manual_seed(seed)
    focal = 1.2 * max(width, height)
    size = 0.25 * (100 / max(count, 1)) ** 0.5 * spread
    colours = torch.rand(count, 3, generator=g) if not terms else 0.4 * torch.randn(count, terms, 3, generator=g)
    return Scene(
        means=torch.randn(count, 3, generator=g) * torch.tensor([1.1, 1.1, 0.5]) * spread,
        quats=torch.randn(count, 4, generator=g),
        scales=size * torch.exp(0.5 * torch.randn(count, 3, generator=g)),
        opacities=0.02 + 0.97 * torch.rand(count, generator=g),
        colours=colours,
        cam_from_world=turned(),
        K=torch.tensor([[focal, 0, 0.48 * width], [0, 0.9 * focal, 0.53 * height], [0, 0, 1]]),
        width=width,
        height=height,
    )


def without_flips(scene: Scene) -> Scene:
    """The scene less the Gaussians with a pair where rounding alone decides whether it is drawn.

    Alpha against 1/255 and .999 and light against 1e-4 are steps: at a pair within rounding of one of them, float32 and
    float64 rightly differ.
    """
    for _ in range(20):
        doubtful = _near_steps(scene.to(torch.float64))
        if not len(doubtful):
            return scene
        keep = torch.ones(len(scene.means), dtype=torch.bool)
        keep[doubtful] = False
        scene = replace(scene, **{name: getattr(scene, name)[keep] for name in NAMES[:5]})
    raise AssertionError("no scene without doubtful pairs found")


def _near_steps(scene: Scene) -> Tensor:
    """Which Gaussians have a pair within 1e-4 of a step."""
    plain = torch.zeros_like(scene.means)
    shape = (scene.means, scene.quats, scene.scales, scene.opacities, plain, scene.cam_from_world)
    p = ref._project(*shape, scene.K, scene.width, scene.height)
    row, x, y = ref._pairs(p, scene.width, scene.height)
    alpha = ref._alpha(p, scene.opacities, row, x, y)
    peak = scene.opacities[p.index[row]]
    near = ((alpha * 255 - 1).abs() < 1e-4) | (((alpha / 0.999 - 1).abs() < 1e-4) & (peak > 0.999))
    seen = alpha >= ref.ALPHA_MIN
    pixel, order = torch.sort((y * scene.width + x)[seen], stable=True)
    alpha, rows = alpha[seen][order], row[seen][order]
    after = ref._light(alpha, pixel, scene.width * scene.height) * (1 - alpha)
    return torch.cat([p.index[row[near]], p.index[rows[(after / ref.STOP - 1).abs() < 1e-3]]]).unique()


def relative(value: Tensor, truth: Tensor) -> float:
    """Relative L2 distance."""
    return float((value.double() - truth.double()).norm() / truth.double().norm().clamp_min(1e-30))
