# SPDX-License-Identifier: Apache-2.0
"""Triangles: opening the canonical face, refining it, and sewing patches to it.

Inside this package lengths are centimetres, x to the image's right, y up, z to the camera (head space times 10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array

from avatar3d.face.groups import INNER_LIPS, LEFT_EYE, RIGHT_EYE

_BULGE = 0.35  # how far edge midpoints leave the chord towards the curved surface


def without_openings(triangles: np.ndarray) -> np.ndarray:
    """The canonical triangles less those that fill the eyes and the mouth."""
    loops = [np.array(loop) for loop in (RIGHT_EYE, LEFT_EYE, INNER_LIPS)]
    filling = np.any([np.isin(triangles, loop).all(1) for loop in loops], axis=0)
    return triangles[~filling]


def face_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Normals [M,3], twice as long as the triangle's area."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    u, v = b - a, c - a
    return np.stack(
        [
            u[:, 1] * v[:, 2] - u[:, 2] * v[:, 1],
            u[:, 2] * v[:, 0] - u[:, 0] * v[:, 2],
            u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0],
        ],
        1,
    )


class Refined:
    """One round of Phong tessellation (Boubekeur & Alexa, 2008): the given vertices stay, edge midpoints are added."""

    def __init__(self, triangles: np.ndarray, vertices: int) -> None:
        self.coarse = triangles
        self.vertices = vertices
        ends = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), 1)
        self.edges, place = np.unique(ends, axis=0, return_inverse=True)
        ab, bc, ca = vertices + place.reshape(3, -1)
        a, b, c = triangles.T
        corners = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        self.triangles = np.stack([np.stack(corner, 1) for corner in corners], 1).reshape(-1, 3)

    @property
    def total(self) -> int:
        """Vertices after refining."""
        return self.vertices + len(self.edges)

    def midpoint(self, a: int, b: int) -> int:
        """The number of the vertex between two neighbours."""
        low, high = min(a, b), max(a, b)
        return self.vertices + int(np.nonzero((self.edges == (low, high)).all(1))[0][0])

    def linear(self, values: np.ndarray) -> np.ndarray:
        """Values [V,D] with their means over the edges appended."""
        return np.concatenate([values, values[self.edges].mean(1)])

    def curved(self, points: np.ndarray) -> np.ndarray:
        """Points [V,3] with edge midpoints appended, pushed out towards the tangent planes of both ends."""
        flat = face_normals(points, self.coarse)
        corners = self.coarse.reshape(-1)
        normals = np.stack([np.bincount(corners, np.repeat(flat[:, k], 3), self.vertices) for k in range(3)], 1).astype(
            points.dtype
        )
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
        start, end = self.edges.T
        middle = 0.5 * (points[start] + points[end])
        lift = np.zeros_like(middle)
        for tip in (start, end):
            lift += ((middle - points[tip]) * normals[tip]).sum(1, keepdims=True) * normals[tip]
        return np.concatenate([points, middle - _BULGE * lift])


@dataclass(frozen=True)
class Patch:
    """A grid of points with its share of the atlas. Front faces: rows run down, columns run to the right."""

    points: np.ndarray  # [h,w,3] cm
    tile: str
    shade: np.ndarray | float = 1.0  # [h,w], [h,1] or one number: light that gets there
    inside_out: bool = False
    uv: np.ndarray | None = None  # [h,w,2] 0..1 of the tile; None: the whole tile
    cut_out: bool = False  # the tile has holes
    welded: bool = True  # shares normals with what touches it at rest

    def triangles(self) -> np.ndarray:
        """Corners [2 (h-1) (w-1),3] as numbers into the grid, row by row."""
        h, w = self.points.shape[:2]
        index = np.arange(h * w).reshape(h, w)
        a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
        halves = [np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3)]
        both = np.concatenate(halves)
        return both[:, ::-1] if self.inside_out else both

    def tile_uv(self) -> np.ndarray:
        """Places [h,w,2] in the tile."""
        if self.uv is not None:
            return self.uv
        h, w = self.points.shape[:2]
        return np.stack(np.meshgrid(np.linspace(0.01, 0.99, w), np.linspace(0.01, 0.99, h)), -1)


@dataclass
class Surface:
    """Everything that is drawn, as one list of vertices; the refined face comes first."""

    points: np.ndarray  # [N,3] float32 cm at rest
    uv: np.ndarray  # [N,2] float32 texels of the atlas
    shade: np.ndarray  # [N] float32
    triangles: np.ndarray  # [M,3]
    cut_out: np.ndarray  # [M] bool
    spans: dict[str, slice]  # vertices of each patch
    around: csr_array = field(repr=False)  # [W,M] 1 where a triangle touches a welded vertex
    weld: np.ndarray = field(repr=False)  # [N] its welded vertex

    def normals(self, points: np.ndarray) -> np.ndarray:
        """Unit normals [N,3] of moved points."""
        smooth = self.around @ face_normals(points, self.triangles)
        smooth /= np.sqrt((smooth * smooth).sum(1, keepdims=True)) + 1e-9
        return smooth[self.weld]


def sew(
    face_points: np.ndarray, face_uv: np.ndarray, face_triangles: np.ndarray,
    patches: Sequence[tuple[str, Patch]], tiles: dict[str, tuple[int, int, int, int]],
) -> Surface:  # fmt: skip
    """One surface of the refined face and named patches.

    Args:
        face_uv: [V,2] texels.
        tiles: left, top, width, height of each tile in texels.
    """
    points, uv, shade, triangles = [face_points], [face_uv], [np.ones(len(face_points))], [face_triangles]
    cut_out, apart, spans = [np.zeros(len(face_triangles), bool)], [np.zeros(len(face_points))], {}
    total = len(face_points)
    for number, (name, patch) in enumerate(patches, 1):
        h, w = patch.points.shape[:2]
        left, top, width, height = tiles[patch.tile]
        corners = patch.triangles()
        points.append(patch.points.reshape(-1, 3))
        uv.append((patch.tile_uv() * [width, height] + [left, top]).reshape(-1, 2))
        shade.append(np.broadcast_to(patch.shade, (h, w)).reshape(-1))
        triangles.append(corners + total)
        cut_out.append(np.full(len(corners), patch.cut_out))
        apart.append(np.full(h * w, 0 if patch.welded else number))
        spans[name] = slice(total, total + h * w)
        total += h * w
    everything = np.concatenate(points).astype(np.float32)
    corners = np.concatenate(triangles).astype(np.int64)
    weld, around = _neighbours(everything, np.concatenate(apart), corners)
    return Surface(
        everything, np.concatenate(uv).astype(np.float32), np.concatenate(shade).astype(np.float32), corners,
        np.concatenate(cut_out), spans, around, weld,
    )  # fmt: skip


def _neighbours(points: np.ndarray, apart: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, csr_array]:
    """Welds vertices that lie together at rest, and says which triangles touch each."""
    places = np.concatenate([np.round(points, 3), apart[:, None]], 1)
    _, weld = np.unique(places, axis=0, return_inverse=True)
    weld = weld.reshape(-1)
    touched = (weld[triangles].reshape(-1), np.repeat(np.arange(len(triangles)), 3))
    ones = np.ones(triangles.size, np.float32)
    return weld, csr_array((ones, touched), shape=(weld.max() + 1, len(triangles)))
