# SPDX-License-Identifier: Apache-2.0
"""A z-buffer in numpy: every triangle becomes rows, every row becomes pixels, all at once; no loop per triangle.

Screen axes are x right, y down; pixel centres lie at +0.5; triangles that run counter-clockwise before y was turned
down are front faces. `closeness` is larger for what is nearer and affine on the screen (1/depth, or -depth without
perspective).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

_SMALLEST_AREA_PX = 1e-6
_SEAM_PX = 2e-4  # neighbours overlap by this, lest rounding leave a gap between them


@dataclass(frozen=True)
class Cover:
    """Fragments: which triangles touch which pixels."""

    planes: np.ndarray  # [3,3,K] float32: weight of corner c at (x, y) = planes[0,c] x + planes[1,c] y + planes[2,c]
    triangle: np.ndarray  # [K] the kept triangles, as rows of the caller's table
    slot: np.ndarray  # [P] which of the K
    pixel: np.ndarray  # [P] row * width + column
    x: np.ndarray  # [P] float32 px, from the triangle's first corner to the pixel's centre: small numbers stay exact
    y: np.ndarray  # [P] float32 px

    def interpolate(self, corners: np.ndarray) -> np.ndarray:
        """Values [P,D] at the fragments, affine on the screen; corners [K,3,D]."""
        weight = self.planes[..., None]
        slopes = [sum(weight[plane, corner] * corners[:, corner] for corner in range(3)) for plane in range(3)]
        width = corners.shape[2]
        here = np.concatenate(slopes, 1).take(self.slot, 0)
        value = here[:, :width] * self.x[:, None]
        value += here[:, width : 2 * width] * self.y[:, None]
        value += here[:, 2 * width :]
        return value

    def only(self, index: np.ndarray) -> Cover:
        """Some of the fragments."""
        return replace(self, slot=self.slot[index], pixel=self.pixel[index], x=self.x[index], y=self.y[index])


def cover(xy: np.ndarray, triangles: np.ndarray, width: int, height: int) -> Cover:
    """All fragments of all front faces; xy [N,2] px, triangles [M,3]."""
    x, y = (column.astype(np.float32)[triangles.T] for column in xy.T)
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    inside = (x.max(0) > 0) & (x.min(0) < width) & (y.max(0) > 0) & (y.min(0) < height)
    kept = np.nonzero((area < -_SMALLEST_AREA_PX) & inside)[0]
    x, y = x[:, kept], y[:, kept]
    after, before = [1, 2, 0], [2, 0, 1]
    corner_x, corner_y = x[0].copy(), y[0].copy()
    owner, row = _rows(y, height)
    x, y = x - corner_x, y - corner_y
    planes = np.stack([y[before] - y[after], x[after] - x[before], x[before] * y[after] - x[after] * y[before]])
    planes /= -area[kept]
    left, right = _span(planes, owner, (row + 0.5 - corner_y[owner]).astype(np.float32))
    first, count = _columns(left + corner_x[owner], right + corner_x[owner], width)
    span, step = _spread(count)
    column, row, slot = first[span] + step, row[span], owner[span]
    off_x, off_y = ((place + 0.5 - corner[slot]) for place, corner in ((column, corner_x), (row, corner_y)))
    return Cover(planes, kept, slot, row * width + column, off_x.astype(np.float32), off_y.astype(np.float32))


def nearest(fragments: Cover, closeness: np.ndarray, pixels: int) -> tuple[Cover, np.ndarray]:
    """The nearest fragment of each covered pixel, and the z-buffer [pixels] (-inf where nothing is).

    Args:
        closeness: [K,3] at the corners of the kept triangles.
    """
    here = fragments.interpolate(closeness[..., None].astype(np.float32))[:, 0]
    buffer = np.full(pixels, -np.inf, np.float32)
    np.maximum.at(buffer, fragments.pixel, here)
    wins = np.nonzero(here >= buffer[fragments.pixel])[0]
    winner = np.full(pixels, -1)
    winner[fragments.pixel[wins]] = wins
    return fragments.only(winner[winner >= 0]), buffer


def without(fragments: Cover, candidates: np.ndarray, hollow: Callable[[Cover], np.ndarray]) -> Cover:
    """Fragments less those that a cut-out texture leaves open.

    Args:
        candidates: [K] bool, kept triangles that have holes.
        hollow: for some fragments [Q], whether each falls into a hole.
    """
    tested = np.nonzero(candidates[fragments.slot])[0]
    stays = np.ones(len(fragments.pixel), bool)
    stays[tested[hollow(fragments.only(tested))]] = False
    return fragments.only(np.nonzero(stays)[0])


def _spread(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[2,0,3] -> owners [0,0,2,2,2] and running numbers within each [0,1,0,1,2]."""
    owner = np.repeat(np.arange(len(count)), count)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)


def _rows(y: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Owner and number of every pixel row that a triangle's centre lines may cross; y [3,K]."""
    first = np.clip(np.ceil(y.min(0) - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(y.max(0) - 0.5), 0, height).astype(np.int64)
    owner, step = _spread(np.maximum(last - first, 0))
    return owner, first[owner] + step


def _span(planes: np.ndarray, owner: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each row enters and leaves its triangle, px from the triangle's first corner."""
    left, right = np.full(len(y), -1e9, np.float32), np.full(len(y), 1e9, np.float32)
    for corner in range(3):
        slope, tilt, offset = (planes[k, corner][owner] for k in range(3))
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = -(tilt * y + offset) / slope
        left = np.where(slope > 1e-12, np.maximum(left, crossing), left)
        right = np.where(slope < -1e-12, np.minimum(right, crossing), right)
    return left - _SEAM_PX, right + _SEAM_PX


def _columns(left: np.ndarray, right: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """First column and number of columns whose centres lie between."""
    first = np.clip(np.ceil(left - 0.5), 0, width).astype(np.int64)
    last = np.clip(np.ceil(right - 0.5), 0, width).astype(np.int64)
    return first, np.maximum(last - first, 0)
