# SPDX-License-Identifier: Apache-2.0
"""Where in a frame a figure is measured. Every region comes from the real frame's own landmarks.

face: the convex hull of landmarks 0..467. head: the face united with an upright ellipse around it (hair, ears, some
neck). lips: a square around the outer lips. mouth: the polygon of the inner lips, empty where they touch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull

from avatar3d.face.groups import INNER_LIPS, OUTER_LIPS

_MESH = 468
_ELLIPSE_RADIUS = 0.8  # semi-axes, of the face box's width and height
_ELLIPSE_RISE = 0.10  # centre above the face box's, of its height
_LIPS_SIDE = 1.3  # of the larger side of the outer lips' box


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels; x1 and y1 are the first ones outside."""

    x0: int
    y0: int
    x1: int
    y1: int

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """The rectangle's part of a picture [H,W,...]; a view."""
        return picture[self.y0 : self.y1, self.x0 : self.x1]


@dataclass(frozen=True)
class Regions:
    """The regions of one frame."""

    face: np.ndarray  # [H,W] bool
    head: np.ndarray  # [H,W] bool
    mouth: np.ndarray  # [H,W] bool, may be empty
    head_box: Box  # around `head`
    lips_box: Box  # square, but for what the picture's edge cuts off


def find_regions(points: np.ndarray, height: int, width: int) -> Regions:
    """The regions of a frame of `height` x `width` px from its landmarks [478,2 or 3] px."""
    points = points[:, :2].astype(np.float64)
    y, x = np.ogrid[0:height, 0:width]
    x, y = x + 0.5, y + 0.5
    face = _inside_hull(points[:_MESH], x, y)
    low, high = points[:_MESH].min(0), points[:_MESH].max(0)
    head = face | _inside_ellipse(low, high, x, y)
    rows, columns = np.flatnonzero(head.any(1)), np.flatnonzero(head.any(0))
    return Regions(
        face=face,
        head=head,
        mouth=inside_polygon(points[list(INNER_LIPS)], x, y),
        head_box=_box(rows, columns),
        lips_box=_lips_box(points[list(OUTER_LIPS)], height, width),
    )


def inside_polygon(corners: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which pixel centres lie inside a polygon [N,2], by the even-odd rule.

    Args:
        x, y: coordinates that broadcast to the picture's shape, for example [1,W] and [H,1].
    """
    inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, 0), strict=True):
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return inside


def _inside_hull(points: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    inside = np.ones(np.broadcast_shapes(x.shape, y.shape), bool)
    for a, b, c in ConvexHull(points).equations:
        inside &= a * x + b * y + c <= 0
    return inside


def _inside_ellipse(low: np.ndarray, high: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    (centre_x, centre_y), (width, height) = (low + high) / 2, high - low
    across = (x - centre_x) / (_ELLIPSE_RADIUS * width)
    down = (y - centre_y + _ELLIPSE_RISE * height) / (_ELLIPSE_RADIUS * height)
    return across**2 + down**2 <= 1


def _box(rows: np.ndarray, columns: np.ndarray) -> Box:
    if not len(rows):
        return Box(0, 0, 0, 0)
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _lips_box(outer_lips: np.ndarray, height: int, width: int) -> Box:
    low, high = outer_lips.min(0), outer_lips.max(0)
    centre, half = (low + high) / 2, _LIPS_SIDE / 2 * (high - low).max()
    x0, y0 = (round(value) for value in centre - half)
    x1, y1 = (round(value) for value in centre + half)
    return Box(max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
