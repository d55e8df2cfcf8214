# SPDX-License-Identifier: Apache-2.0
"""The renderer of radiance fields: rays through occupied cells, what lies there composited front to back."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar3d.ops.composite import composite
from avatar3d.ops.march import Samples
from avatar3d.records import Radiance
from avatar3d.render._by_rays import ENDED, ByRays, Rays

__all__ = ["Volume"]

_ROUND = 6  # samples of a ray at a time: most rays end within these, and what lies behind is never looked at
_SEEN = 1e-3  # a sample that gives a picture less needs no colour


class Volume(ByRays):
    """Draws the fields of NeRF heads.

    Where no gradient is asked for, rays go in rounds of few samples and end when they are dark, and colour is worked
    out only where it is seen.
    """

    name = "volume"

    def through(self, radiance: Radiance, way: Rays, jitter: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if not torch.is_grad_enabled():
            return _in_rounds(radiance, way)
        samples = way.march(radiance, radiance.most, jitter)
        density, given = radiance.density(way.points(samples))
        return composite(density, radiance.colour(given), samples)


def _in_rounds(radiance: Radiance, way: Rays) -> tuple[Tensor, Tensor, Tensor]:
    """Without gradients: only what is seen is worked out."""
    count = len(way.ways)
    rgb, along, begun = (way.ways.new_zeros(count, *width) for width in ((3,), (), ()))
    light, rows = torch.ones_like(along), torch.arange(count, device=along.device)
    for looked in range(0, radiance.most, _ROUND):
        ahead, most = Rays(way.origin, way.ways[rows]), min(_ROUND, radiance.most - looked)
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
        rows = rows[light[rows] > ENDED]
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
