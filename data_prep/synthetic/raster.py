# SPDX-License-Identifier: Apache-2.0
"""A z-buffer in numpy: every triangle becomes rows, every row becomes pixels, all at once; no loop per triangle.

Screen axes are x right, y down; pixel centres lie at +0.5; triangles that run counter-clockwise before y was turned
down are front faces. `closeness` is larger for what is nearer and affine on the screen (1/depth, or -depth without
perspective).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_SMALLEST_AREA_PX = 1e-6


@dataclass(frozen=True)
class Cover:
    """Fragments: which triangles touch which pixels."""

    planes: np.ndarray  # [K,3,3] float32: weight of corner c at pixel (x, y) = planes[:,0,c] x + [:,1,c] y + [:,2,c]
    triangle: np.ndarray  # [K] the kept triangles, as rows of the caller's table
    pixel: np.ndarray  # [P] row * width + column
    slot: np.ndarray  # [P] which of the K
    width: int  # px

    def interpolate(self, corners: np.ndarray) -> np.ndarray:
        """Values [P,D] at the fragments, affine on the screen; corners [K,3,D]."""
        slopes = np.matmul(self.planes, corners)[self.slot]  # [P,3,D]
        x = (self.pixel % self.width + np.float32(0.5))[:, None].astype(np.float32)
        y = (self.pixel // self.width + np.float32(0.5))[:, None].astype(np.float32)
        return slopes[:, 0] * x + slopes[:, 1] * y + slopes[:, 2]


def cover(xy: np.ndarray, triangles: np.ndarray, width: int, height: int) -> Cover:
    """All fragments of all front faces; xy [N,2] px, triangles [M,3]."""
    x, y = xy[triangles, 0].astype(np.float32), xy[triangles, 1].astype(np.float32)
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    inside = (x.max(1) > 0) & (x.min(1) < width) & (y.max(1) > 0) & (y.min(1) < height)
    kept = np.nonzero((area < -_SMALLEST_AREA_PX) & inside)[0]
    x, y, area = x[kept], y[kept], area[kept]
    after, before = [1, 2, 0], [2, 0, 1]
    edges = [
        y[:, before] - y[:, after],
        x[:, after] - x[:, before],
        x[:, before] * y[:, after] - x[:, after] * y[:, before],
    ]
    planes = np.stack(edges, 1) / -area[:, None, None]
    row_owner, row = _rows(y, height)
    first, count = _columns(planes, row_owner, row, width)
    owner, step = _spread(count)
    pixel = (row * width + first)[owner] + step
    return Cover(planes, kept, pixel, row_owner[owner], width)


def nearest(fragments: Cover, closeness: np.ndarray, pixels: int) -> tuple[Cover, np.ndarray]:
    """The nearest fragment of each covered pixel, and the z-buffer [pixels] (-inf where nothing is).

    Args:
        closeness: [K,3] at the corners of the kept triangles.
    """
    here = fragments.interpolate(closeness[..., None])[:, 0]
    buffer = np.full(pixels, -np.inf, np.float32)
    np.maximum.at(buffer, fragments.pixel, here)
    wins = here >= buffer[fragments.pixel]
    winner = np.full(pixels, -1, np.int64)
    winner[fragments.pixel[wins]] = fragments.slot[wins]
    pixel = np.nonzero(winner >= 0)[0]
    return Cover(fragments.planes, fragments.triangle, pixel, winner[pixel], fragments.width), buffer


def without(fragments: Cover, candidates: np.ndarray, hollow: Callable[[Cover], np.ndarray]) -> Cover:
    """Fragments less those that a cut-out texture leaves open.

    Args:
        candidates: [K] bool, kept triangles that have holes.
        hollow: for some fragments [Q], whether each falls into a hole.
    """
    index = np.nonzero(candidates[fragments.slot])[0]
    tested = Cover(fragments.planes, fragments.triangle, fragments.pixel[index], fragments.slot[index], fragments.width)
    stays = np.ones(len(fragments.pixel), bool)
    stays[index[hollow(tested)]] = False
    return Cover(fragments.planes, fragments.triangle, fragments.pixel[stays], fragments.slot[stays], fragments.width)


def _spread(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[2,0,3] -> owners [0,0,2,2,2] and running numbers within each [0,1,0,1,2]."""
    owner = np.repeat(np.arange(len(count)), count)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)


def _rows(y: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Owner and number of every pixel row that a triangle's centre lines may cross; y [K,3]."""
    first = np.clip(np.ceil(y.min(1) - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(y.max(1) - 0.5), 0, height).astype(np.int64)
    owner, step = _spread(np.maximum(last - first, 0))
    return owner, first[owner] + step


def _columns(planes: np.ndarray, owner: np.ndarray, row: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """First column and number of columns within the triangle, per row."""
    y = (row + 0.5).astype(np.float32)
    left, right = np.full(len(row), -1e9, np.float32), np.full(len(row), 1e9, np.float32)
    for corner in range(3):
        slope, tilt, offset = (planes[:, k, corner][owner] for k in range(3))
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = -(tilt * y + offset) / slope
        left = np.where(slope > 1e-12, np.maximum(left, crossing), left)
        right = np.where(slope < -1e-12, np.minimum(right, crossing), right)
    first = np.clip(np.ceil(left - 0.5), 0, width).astype(np.int64)
    last = np.clip(np.ceil(right - 0.5), 0, width).astype(np.int64)
    return first, np.maximum(last - first, 0)
