# SPDX-License-Identifier: Apache-2.0
"""What renderers of radiance fields share: which pixels get a ray, the flat picture behind, pictures made larger."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from avatar3d.errors import InputError
from avatar3d.geometry import project, rays
from avatar3d.ops.march import Samples, march
from avatar3d.records import Camera, Image, Posed, Radiance

_CHUNK_RAYS = 1 << 14
ENDED = 1e-3  # of its light, at which a ray that is only looked at ends


@dataclass(frozen=True)
class Rays:
    """From one camera, in a field's cube."""

    origin: Tensor  # [3]
    ways: Tensor  # [N,3] for 1 u

    def march(
        self, radiance: Radiance, most: int, jitter: Tensor | None = None, begun: Tensor | None = None
    ) -> Samples:
        """Up to `most` samples of each, by distances from where it has `begun` [N] u along."""
        origin, ways = self.origin.detach().expand(len(self.ways), 3), self.ways.detach()
        if begun is not None:
            origin = origin + begun[:, None] * ways
        return march(origin, ways, radiance.occupied, radiance.step_u, most, jitter)

    def points(self, samples: Samples, begun: Tensor | None = None) -> Tensor:
        """[S,3] the middles of samples."""
        along = (samples.begins + samples.ends) / 2
        if begun is not None:
            along = along + begun[samples.ray]
        return self.origin + along[:, None] * self.ways.index_select(0, samples.ray)


class ByRays(ABC):
    """A contracts.DrawPixels, for which a renderer says what a ray sees of the field (`through`)."""

    name: ClassVar[str]

    @abstractmethod
    def through(self, radiance: Radiance, way: Rays, jitter: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Of the field alone: colour times alpha [N,3], alpha [N], and how far along [N] u, times alpha.

        Args:
            jitter: [N] 0..1, see `avatar3d.ops.march`.
        """

    def __call__(self, posed: Posed, camera: Camera) -> Image:
        radiance = self._drawable(posed)
        if radiance.enlarge is None:
            return self._whole(radiance, camera)
        even = replace(camera, width=camera.width + camera.width % 2, height=camera.height + camera.height % 2)
        small = self._whole(radiance, even.shrunk(2))
        grown = radiance.enlarge(torch.cat([small.rgb.movedim(-1, 0), small.alpha[None]]))
        depth = interpolate(small.depth[None, None], scale_factor=2, mode="bilinear")[0, 0]
        rows, columns = slice(camera.height), slice(camera.width)
        return Image(grown[:3, rows, columns].movedim(0, -1), grown[3, rows, columns], depth[rows, columns])

    def pixels(self, posed: Posed, camera: Camera, at: Tensor, jitter: Tensor | None = None) -> Image:
        """The field alone at points [N,2] px: see contracts.DrawPixels."""
        radiance = self._drawable(posed)
        origin, directions = rays(at, camera.K, camera.cam_from_world)
        turn, shift = radiance.cube_from_world[:3, :3], radiance.cube_from_world[:3, 3]
        rgb, alpha, along = self.through(radiance, Rays(turn @ origin + shift, directions @ turn.T), jitter)
        return Image(rgb, alpha, along * (directions @ camera.cam_from_world[2, :3]))

    def _drawable(self, posed: Posed) -> Radiance:
        if not isinstance(posed, Radiance):
            raise InputError(
                f"renderer {self.name}: draws radiance fields, not {type(posed).__name__}",
                "choose the renderer native",
            )
        return posed

    def _whole(self, radiance: Radiance, camera: Camera) -> Image:
        """A picture of a ray for each pixel."""
        device = camera.K.device
        y, x = torch.meshgrid(
            torch.arange(camera.height, device=device), torch.arange(camera.width, device=device), indexing="ij"
        )
        at = torch.stack([x, y], -1).reshape(-1, 2) + 0.5
        rgb, alpha, depth = (camera.K.new_zeros(len(at), width) for width in (3, 1, 1))
        within = _may_be_hit(radiance, camera, at).nonzero()[:, 0]
        for rows in within.split(_CHUNK_RAYS) if len(within) else ():
            found = self.pixels(radiance, camera, at[rows])
            rgb, alpha, depth = (
                whole.index_copy(0, rows, part.view(len(rows), -1))
                for whole, part in zip((rgb, alpha, depth), (found.rgb, found.alpha, found.depth), strict=True)
            )
        behind = (alpha[:, 0] < 1 - ENDED).nonzero()[:, 0]
        origin, directions = rays(at[behind], camera.K, camera.cam_from_world)
        flat, flat_alpha, flat_depth = radiance.behind(origin, directions)
        light = 1 - alpha[behind]
        rgb = rgb.index_add(0, behind, light * flat)
        depth = depth.index_add(0, behind, light * (flat_alpha * flat_depth)[:, None])
        alpha = alpha.index_add(0, behind, light * flat_alpha[:, None])
        size = camera.height, camera.width
        return Image(rgb.view(*size, 3), alpha.view(size), depth.view(size))


def _may_be_hit(radiance: Radiance, camera: Camera, at: Tensor) -> Tensor:
    """[N] bool: points of the picture within the box about where occupied cells are seen; all, where one is behind."""
    cells = radiance.occupied.nonzero()
    if not len(cells):
        return torch.zeros(len(at), dtype=torch.bool, device=at.device)
    count = len(radiance.occupied)
    corners = torch.cartesian_prod(*[torch.tensor([0, 1], device=at.device)] * 3)
    low, high = cells.amin(0), cells.amax(0) + 1
    cube = torch.where(corners == 0, low, high) / count
    turn, shift = radiance.cube_from_world[:3, :3].detach(), radiance.cube_from_world[:3, 3].detach()
    world = torch.linalg.solve(turn, (cube - shift).T).T
    view = world @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
    if (view[:, 2] <= 0.01).any():
        return torch.ones(len(at), dtype=torch.bool, device=at.device)
    seen = project(view, camera.K)
    return ((at >= seen.amin(0)) & (at <= seen.amax(0))).all(1)
