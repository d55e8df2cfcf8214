# SPDX-License-Identifier: Apache-2.0
"""Made-up rays through a cube of cells, some of which miss it, and samples along rays."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar3d.ops.march import Samples


def rays_and_cells(count: int, cells: int, share: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Origins and directions [N,3], from within the cube and beyond, and occupied [R,R,R] to such a share.

    Every fifth ray runs along an axis.
    """
    g = torch.Generator().manual_seed(seed)
    origins, aims = torch.rand(count, 3, generator=g) * 3 - 1, torch.rand(count, 3, generator=g)
    directions = (aims - origins) * (0.2 + 2 * torch.rand(count, 1, generator=g))
    along = torch.arange(0, count, 5)
    directions[along] = torch.eye(3)[along % 3] * torch.where(along % 2 == 0, 1.0, -1.0)[:, None]
    return origins, directions, torch.rand(cells, cells, cells, generator=g) < share


def samples_along(counts: list[int], seed: int = 0) -> Samples:
    """So many samples of each ray, of lengths .02 to .1 with gaps between them."""
    g = torch.Generator().manual_seed(seed)
    of_ray = torch.tensor(counts)
    first = torch.cat([of_ray.new_zeros(1), of_ray.cumsum(0)])
    total = int(first[-1])
    lengths = 0.02 + 0.08 * torch.rand(total, generator=g)
    ends = 0.5 + (lengths * (1 + torch.rand(total, generator=g))).cumsum(0)
    ray = torch.repeat_interleave(torch.arange(len(counts)), of_ray)
    return Samples(ray, ends - lengths, ends, first)
