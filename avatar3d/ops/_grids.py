# SPDX-License-Identifier: Apache-2.0
"""The shape of a multiresolution hash encoding, and which vertex lies in which row of its table: one of two layouts.

"lines" is our own, by which both ends of a cell's edge are read at once (csrc/hashgrid/hashgrid.h says how). "ngp" is
that of Instant NGP (Mueller et al. 2022) as tiny-cuda-nn has it in its grids of type Hash with linear interpolation
(include/tiny-cuda-nn/encodings/grid.h there): row for row the same tables, so either program reads the other's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, exp, isclose, log

import numpy as np
from torch import Tensor

VOLUME = ((0, 1, 2),)
TRIPLANE = ((0, 1), (1, 2), (0, 2))
LAYOUTS = ("lines", "ngp")
MOST_LEVELS = 96
_FINEST = 1 << 16
# as level_of and ngp_level_of in csrc/hashgrid/hashgrid.h
STRIDES = {2: (0x9E3779B9,), 3: (0xC13FA9A9, 0x91E10DA5)}
PRIMES = (2654435761, 805459861)
_EIGHT = 8  # rows, of which tiny-cuda-nn lets a level have a multiple


@dataclass(frozen=True)
class HashGrid:
    """The shape of an encoding. Its table is [rows,features]; U(-1e-4, 1e-4) is a good start."""

    # level by level: cells along an axis (see `growing`); of the layout "ngp" one more than that, see `geometric`
    resolutions: tuple[float, ...]
    features: int = 2  # of a vertex: 1, 2, 4 or 8
    log2_rows: int = 19  # levels with more than 2^this vertices are hashed
    axes: tuple[tuple[int, ...], ...] = VOLUME  # the columns of the points that span each plane (2) or volume (3)
    layout: str = "lines"  # or "ngp": that of tiny-cuda-nn

    def __post_init__(self) -> None:
        if self.features not in (1, 2, 4, 8):
            raise ValueError(f"HashGrid: features is {self.features}, expected 1, 2, 4 or 8")
        if not 1 <= self.log2_rows <= 24:
            raise ValueError(f"HashGrid: log2_rows is {self.log2_rows}, expected 1..24")
        if not self.resolutions or not all(1 <= cells <= _FINEST for cells in self.resolutions):
            raise ValueError(f"HashGrid: resolutions are {self.resolutions}, expected numbers in 1..65536")
        sizes = {len(plane) for plane in self.axes}
        if sizes not in ({2}, {3}) or min(min(plane) for plane in self.axes) < 0:
            raise ValueError(f"HashGrid: axes are {self.axes}, expected planes of two columns or volumes of three")
        if len(self.resolutions) * len(self.axes) > MOST_LEVELS:
            raise ValueError(f"HashGrid: {len(self.resolutions)} levels on {len(self.axes)} planes, over {MOST_LEVELS}")
        if self.layout not in LAYOUTS:
            raise ValueError(f"HashGrid: layout is {self.layout!r}, expected one of {', '.join(LAYOUTS)}")
        if self.layout == "lines" and any(cells % 1 for cells in self.resolutions):
            raise ValueError(f"HashGrid: resolutions are {self.resolutions}, expected whole numbers of cells")
        if self.layout == "ngp" and not self._is_geometric():
            raise ValueError(f"HashGrid: resolutions are {self.resolutions}, expected those of `geometric`")

    @property
    def rows(self) -> int:
        """Of the table."""
        return len(self.axes) * sum(rows_of(self, scale) for scale in self.scales)

    @property
    def width(self) -> int:
        """How many numbers a point is encoded in: by plane, then level, then feature."""
        return len(self.axes) * len(self.resolutions) * self.features

    @property
    def scales(self) -> tuple[float, ...]:
        """Cells along an axis, level by level; of the layout "ngp" they are no whole numbers."""
        if self.layout == "lines":
            return self.resolutions
        return _ngp_scales(len(self.resolutions), int(self.resolutions[0]), self.growth)

    @property
    def growth(self) -> float:
        """By which factor a level of the layout "ngp" is finer than the one before it: a float32."""
        return float(np.float32(self.resolutions[1] / self.resolutions[0])) if len(self.resolutions) > 1 else 1.0

    def _is_geometric(self) -> bool:
        if self.resolutions[0] % 1:
            return False
        wanted = geometric(len(self.resolutions), int(self.resolutions[0]), self.growth)
        return all(isclose(a, b, rel_tol=1e-9) for a, b in zip(self.resolutions, wanted, strict=True))


def growing(levels: int, coarsest: int, finest: int) -> tuple[int, ...]:
    """Resolutions in geometric growth from `coarsest` to `finest`, rounded down (Instant NGP, equations 2 and 3)."""
    step = (log(finest) - log(coarsest)) / max(levels - 1, 1)
    return tuple(int(coarsest * exp(level * step) + 1e-6) for level in range(levels))


def geometric(levels: int, coarsest: int, growth: float) -> tuple[float, ...]:
    """Resolutions of the layout "ngp": coarsest times growth^level (tiny-cuda-nn: base_resolution, per_level_scale).

    growth is taken as a float32, as it is there. Where such a number is whole but for its last bit, no program knows
    how many vertices another sees in that level; powers of two are exact.
    """
    factor = float(np.float32(growth))
    return tuple(coarsest * factor**level for level in range(levels))


@lru_cache(maxsize=64)
def _ngp_scales(levels: int, coarsest: int, growth: float) -> tuple[float, ...]:
    """As tiny-cuda-nn computes them: each step in float32, and one taken off, since it counts vertices, not cells."""
    octaves = np.log2(np.float32(growth))
    grown = np.exp2(np.arange(levels, dtype=np.float32) * octaves) * np.float32(coarsest)
    return tuple((grown - np.float32(1)).tolist())


def line_of(scale: float) -> int:
    """Vertices along an axis of a level."""
    return ceil(scale) + 1


def is_dense(grid: HashGrid, scale: float) -> bool:
    """Whether every vertex of a level has a row of its own."""
    return line_of(scale) ** len(grid.axes[0]) <= 1 << grid.log2_rows


def rows_of(grid: HashGrid, scale: float) -> int:
    """Of one level. A hashed one of lines has as many more as cells: a line may start in the last of 2^k rows."""
    dense = line_of(scale) ** len(grid.axes[0])
    if grid.layout == "ngp":
        return min(-(-dense // _EIGHT) * _EIGHT, 1 << grid.log2_rows)
    return dense if is_dense(grid, scale) else (1 << grid.log2_rows) + int(scale)


def row_of(vertex: Tensor, grid: HashGrid, scale: float) -> Tensor:
    """Where vertices [N,D] lie in their level's table."""
    x, *across = vertex.unbind(1)
    if is_dense(grid, scale):
        row = x + sum(at * line_of(scale) ** k for k, at in enumerate(across, 1))
        # of the layout "ngp" the last vertex may lie past the end
        return row % rows_of(grid, scale)
    if grid.layout == "ngp":
        for at, prime in zip(across, PRIMES, strict=False):
            x = x ^ (at * prime & 0xFFFFFFFF)
        return x % rows_of(grid, scale)
    # lines along x in a row, starting where they are hashed to
    start = sum(at * stride for at, stride in zip(across, STRIDES[vertex.shape[1]], strict=True)) & 0xFFFFFFFF
    return x + (start >> (32 - grid.log2_rows))
