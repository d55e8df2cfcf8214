# SPDX-License-Identifier: Apache-2.0
"""nerfacc 0.5.3 as a renderer of radiance fields, for comparison. An optional package.

On CUDA it chooses the samples of rays and adds them up. On a CPU it can only add up, and only rays of the same number
of samples: there the samples are ours, and shorter rays are filled up with such of no length. Its samples lie elsewhere
along a ray by up to a step: they begin where a ray meets an occupied cell, ours where it enters the cube.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from avatar3d.errors import InputError
from avatar3d.ops.march import Samples
from avatar3d.records import Radiance
from avatar3d.render._by_rays import ByRays, Rays

__all__ = ["Nerfacc"]


class Nerfacc(ByRays):
    """Draws with nerfacc, which compiles its kernels when it first meets CUDA.

    Raises:
        InputError: nerfacc is not installed.
    """

    name = "nerfacc"

    def __init__(self) -> None:
        if importlib.util.find_spec("nerfacc") is None:
            raise InputError(
                "renderer nerfacc: the package is not installed",
                "pip install nerfacc==0.5.3, or choose the renderer volume",
            )

    def through(self, radiance: Radiance, way: Rays, jitter: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        from nerfacc import volrend

        if way.ways.is_cuda:
            ray, begins, ends = _sampled(radiance, way, jitter)
            return _summed_packed(volrend, radiance, way, ray, begins, ends)
        return _summed_in_rows(volrend, radiance, way, way.march(radiance, radiance.most, jitter))


def _sampled(radiance: Radiance, way: Rays, jitter: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Which ray [S], from where and to where along it [S] u: nerfacc's own choice."""
    from nerfacc.grid import traverse_grids

    cube = torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]], device=way.ways.device)
    near = None if jitter is None else jitter * radiance.step_u
    intervals, samples, _ = traverse_grids(
        way.origin.detach().expand(len(way.ways), 3), way.ways.detach(), radiance.occupied[None], cube,
        near_planes=near, step_size=radiance.step_u, traverse_steps_limit=radiance.most,
    )  # fmt: skip
    return samples.ray_indices, intervals.vals[intervals.is_left], intervals.vals[intervals.is_right]


def _summed_packed(
    volrend: ModuleType, radiance: Radiance, way: Rays, ray: Tensor, begins: Tensor, ends: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Samples [S] of all rays one after another."""
    middles = (begins + ends) / 2
    density, given = radiance.density(way.origin + middles[:, None] * way.ways[ray])
    rays: dict[str, Any] = {"ray_indices": ray, "n_rays": len(way.ways)}
    weights, _, _ = volrend.render_weight_from_density(begins, ends, density, **rays)
    values = radiance.colour(given), None, middles[:, None]
    rgb, alpha, along = (volrend.accumulate_along_rays(weights, each, **rays) for each in values)
    return rgb, alpha[:, 0], along[:, 0]


def _summed_in_rows(
    volrend: ModuleType, radiance: Radiance, way: Rays, samples: Samples
) -> tuple[Tensor, Tensor, Tensor]:
    """All rays are given as many samples as the one that has most; what a ray lacks has no length."""
    counts = samples.first.diff()
    place = samples.ray, torch.arange(len(samples.ray), device=samples.ray.device) - samples.first[samples.ray]
    size = len(counts), int(counts.max()) if len(counts) else 0

    def filled(rows: Tensor) -> Tensor:
        return rows.new_zeros(*size, *rows.shape[1:]).index_put(place, rows)

    middles = (samples.begins + samples.ends) / 2
    density, given = radiance.density(way.points(samples))
    weights, _, _ = volrend.render_weight_from_density(filled(samples.begins), filled(samples.ends), filled(density))
    values = filled(radiance.colour(given)), None, filled(middles[:, None])
    rgb, alpha, along = (volrend.accumulate_along_rays(weights, each) for each in values)
    return rgb, alpha[:, 0], along[:, 0]
