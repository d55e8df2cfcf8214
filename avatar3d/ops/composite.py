# SPDX-License-Identifier: Apache-2.0
"""What rays see of a medium that glows and absorbs: samples along them, weighted front to back (Max 1995)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from avatar3d.ops import _native
from avatar3d.ops.march import Samples

__all__ = ["MOST_VALUES", "composite", "composite_reference"]

MOST_VALUES = 16  # of a sample, as kMostValues in csrc/composite/composite.h


def composite(
    density: Tensor, values: Tensor, samples: Samples, stop: float = 1e-4, path: str = "auto"
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over each ray's samples: T alpha value, where alpha = 1 - exp(-density length) and T = prod (1 - alpha).

    T runs over the samples in front of this one. A ray ends with the sample that takes T below `stop`: what lies
    behind it counts for nothing. Differentiable once, in density and values.

    Args:
        density: [S], 0 or more, absorbed along a length of 1.
        values: [S,C], C in 1..16.
        samples: where they are; see `march`.
        stop: 0..1, the light at which a ray ends.
        path: "native" (the kernel; float32), "reference" or "auto": native where there is one.

    Returns:
        values [N,C], alpha [N] (the sum of T alpha), depth [N] (the middles of the samples, weighted: not divided by
        alpha).

    Raises:
        ValueError: a tensor of another shape or type; names it.
        RuntimeError: path is "native" and there is no kernel; says why.
    """
    count = len(samples.begins)
    if density.shape != (count,):
        raise ValueError(f"composite: density has shape {tuple(density.shape)}, expected {(count,)}")
    if values.ndim != 2 or len(values) != count or not 1 <= values.shape[1] <= MOST_VALUES:
        raise ValueError(f"composite: values have shape {tuple(values.shape)}, expected ({count}, 1..{MOST_VALUES})")
    _native.use_native("composite", path, density.device)
    return composite_reference(density, values, samples, stop)


def composite_reference(
    density: Tensor, values: Tensor, samples: Samples, stop: float = 1e-4
) -> tuple[Tensor, Tensor, Tensor]:
    """The twin of `composite` in plain torch."""
    rays, row = len(samples.first) - 1, samples.ray
    column = torch.arange(len(row), device=row.device) - samples.first[row]
    deepest = int(column.max()) + 1 if len(row) else 0
    absorbed = density * (samples.ends - samples.begins)
    by_ray = density.new_zeros(rays, deepest).index_put((row, column), absorbed)
    light = (-pad(by_ray.cumsum(1), (1, 0))).exp()[row, column]
    weight = torch.where(light >= stop, light * -(-absorbed).expm1(), 0)
    # where a ray has ended, not even what is no number counts
    seen = torch.where(light[:, None] >= stop, values, 0)
    summed = values.new_zeros(rays, values.shape[1]).index_add(0, row, weight[:, None] * seen)
    alpha = weight.new_zeros(rays).index_add(0, row, weight)
    depth = weight.new_zeros(rays).index_add(0, row, weight * (samples.begins + samples.ends) / 2)
    return summed, alpha, depth
