# SPDX-License-Identifier: Apache-2.0
"""The renderer of radiance fields: rays through occupied cells, what lies there composited front to back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar3d.errors import InputError
from avatar3d.geometry import project, rays
from avatar3d.ops.composite import composite
from avatar3d.ops.march import Samples, march
from avatar3d.records import Camera, Image, Posed, Radiance

__all__ = ["Volume"]

_CHUNK_RAYS = 1 << 14
_ROUND = 6  # samples of a ray at a time: most rays end within these, and what lies behind is never looked at
_SEEN = 1e-3  # a sample that gives a picture less needs no colour
_ENDED = 1e-3  # of its light, at which a ray that is only looked at ends


class Volume:
    """Draws the fields of NeRF heads.

    Where no gradient is asked for, rays go in rounds of few samples and end when they are dark, and colour is worked
    out only where it is seen.
    """

    def __call__(self, posed: Posed, camera: Camera) -> Image:
        radiance = radiance_of(posed)
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
        behind = (alpha[:, 0] < 1 - _ENDED).nonzero()[:, 0]
        origin, directions = rays(at[behind], camera.K, camera.cam_from_world)
        flat, flat_alpha, flat_depth = radiance.behind(origin, directions)
        light = 1 - alpha[behind]
        rgb = rgb.index_add(0, behind, light * flat)
        depth = depth.index_add(0, behind, light * (flat_alpha * flat_depth)[:, None])
        alpha = alpha.index_add(0, behind, light * flat_alpha[:, None])
        size = camera.height, camera.width
        return Image(rgb.view(*size, 3), alpha.view(size), depth.view(size))

    def pixels(self, posed: Posed, camera: Camera, at: Tensor, jitter: Tensor | None = None) -> Image:
        """The field alone at points [N,2] px: see contracts.DrawPixels."""
        radiance = radiance_of(posed)
        origin, directions = rays(at, camera.K, camera.cam_from_world)
        turn, shift = radiance.cube_from_world[:3, :3], radiance.cube_from_world[:3, 3]
        way = _Rays(turn @ origin + shift, directions @ turn.T)
        if torch.is_grad_enabled():
            rgb, alpha, along = _through(radiance, way, jitter)
        else:
            rgb, alpha, along = _in_rounds(radiance, way)
        return Image(rgb, alpha, along * (directions @ camera.cam_from_world[2, :3]))


@dataclass(frozen=True)
class _Rays:
    """From one camera, in the cube."""

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


def radiance_of(posed: Posed) -> Radiance:
    """What this renderer draws.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(posed, Radiance):
        raise InputError(
            f"renderer volume: draws radiance fields, not {type(posed).__name__}", "choose the renderer native"
        )
    return posed


def _through(radiance: Radiance, way: _Rays, jitter: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Colour times alpha [N,3], alpha [N] and how far along [N] u; differentiable."""
    samples = way.march(radiance, radiance.most, jitter)
    density, given = radiance.density(way.points(samples))
    return composite(density, radiance.colour(given), samples)


def _in_rounds(radiance: Radiance, way: _Rays) -> tuple[Tensor, Tensor, Tensor]:
    """As `_through`, without gradients: only what is seen is worked out."""
    count = len(way.ways)
    rgb, along, begun = (way.ways.new_zeros(count, *width) for width in ((3,), (), ()))
    light, rows = torch.ones_like(along), torch.arange(count, device=along.device)
    for looked in range(0, radiance.most, _ROUND):
        ahead, most = _Rays(way.origin, way.ways[rows]), min(_ROUND, radiance.most - looked)
        samples = ahead.march(radiance, most, begun=begun[rows])
        density, given = radiance.density(ahead.points(samples, begun[rows]))
        weights = _weights(density, samples)
        seen = (weights * light[rows][samples.ray] > _SEEN).nonzero()[:, 0]
        colours = density.new_zeros(len(density), 3).index_copy_(0, seen, radiance.colour(given[seen]))
        new, alpha, middle = composite(density, colours, samples)
        # what got no colour takes the mean of what did
        coloured = torch.zeros_like(alpha).index_add_(0, samples.ray[seen], weights[seen])
        rgb[rows] += (light[rows] * alpha / coloured.clamp_min(_SEEN))[:, None] * new
        along[rows] += light[rows] * (middle + alpha * begun[rows])
        light[rows] *= 1 - alpha
        full = samples.first.diff() == most
        last = samples.ends[(samples.first[1:] - 1)[full]]
        rows = rows[full]
        begun[rows] += last
        rows = rows[light[rows] > _ENDED]
        if not len(rows):
            break
    return rgb, 1 - light, along


def _weights(density: Tensor, samples: Samples) -> Tensor:
    """[S] what each sample gives to its ray."""
    absorbed = density * (samples.ends - samples.begins)
    # over all rays in one go, for which float32 would not count far enough
    before = absorbed.double().cumsum(0) - absorbed
    if len(before):
        before = before - before[samples.first[:-1].clamp(max=len(before) - 1)][samples.ray]
    return ((-before).exp() * -(-absorbed).expm1()).float()


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
