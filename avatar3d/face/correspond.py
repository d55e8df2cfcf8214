# SPDX-License-Identifier: Apache-2.0
"""MediaPipe's 468 vertices on the surface of another face: where each one lies, found once from the two shapes.

A few of them are known by name (lips, lids, brows, nose). Those in between on the rims of lips and lids follow the
model's own edges, so that the upper lip never lands on the lower one. All others are carried along by a smooth warp of
the canonical face and laid on the nearest skin that looks the same way.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import scipy.spatial
import torch

from avatar3d.face.canonical import CanonicalFace
from avatar3d.face.groups import INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from avatar3d.face.nearest import CANDIDATES, closest_shares
from avatar3d.face.rig import triangles_within
from avatar3d.geometry import similarity
from avatar3d.records import FaceModel

_RIMS = (RIGHT_EYE, LEFT_EYE, OUTER_LIPS, INNER_LIPS)
_STIFFNESS = (3.0, 1.0, 0.3, 0.1, 0.1, 0.03, 0.03, 0.03)  # of the warp, falling as the surfaces come together
_KNOWN, _NEAR = 10.0, 0.3  # weight of known points, and of the nearest skin
_SAME_WAY = 0.3  # cosine between normals from which on two surfaces look the same way


def at_landmarks(model: FaceModel, face: CanonicalFace) -> FaceModel:
    """The model sampled at MediaPipe's 468 vertices, with the canonical face's triangles."""
    corners, shares = correspondence(model, face)

    def sampled(field: np.ndarray) -> np.ndarray:
        return np.einsum("vc,vc...->v...", shares, field[corners]).astype(np.float32)

    every = np.arange(len(corners))
    return replace(
        model,
        neutral=sampled(model.neutral),
        triangles=face.triangles,
        identity=sampled(model.identity),
        expression=sampled(model.expression),
        landmarks=every,
        corners=np.repeat(every[:, None], 3, 1),
        shares=np.eye(3, dtype=np.float32)[np.zeros(len(every), int)],
    )


def correspondence(model: FaceModel, face: CanonicalFace) -> tuple[np.ndarray, np.ndarray]:
    """Corners [468,3] int64 and barycentric shares [468,3] float32 of the canonical vertices on the model's neutral."""
    corners, shares = model.corners, model.shares
    known, corners, shares = _with_rims(model, face)
    points = (model.neutral[corners].astype(np.float64) * shares[..., None]).sum(1)
    surface = _Surface(model.neutral.astype(np.float64), model.triangles)
    warped = _warped(face, known, points, surface)
    every_corner, every_share, _ = surface.nearest(warped, _vertex_normals(warped, face.triangles))
    every_corner[known], every_share[known] = corners, shares
    return every_corner, every_share.astype(np.float32)


def _with_rims(model: FaceModel, face: CanonicalFace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The known landmarks and, between two of them on a rim, those that lie on the shortest way along edges."""
    placed = {int(name): (c, s) for name, c, s in zip(model.landmarks, model.corners, model.shares, strict=True)}
    graph = _edge_graph(model.neutral, model.triangles)
    for rim in _RIMS:
        stations = [at for at, name in enumerate(rim) if name in placed]
        for start, stop in zip(stations, [*stations[1:], stations[0] + len(rim)], strict=True):
            between = [rim[at % len(rim)] for at in range(start, stop + 1)]
            if len(between) > 2 and len(stations) > 2:
                placed |= _along(between, placed, graph, model.neutral, face.vertices)
    names = np.array(sorted(placed))
    return names, np.stack([placed[n][0] for n in names]), np.stack([placed[n][1] for n in names])


_Placed = dict[int, tuple[np.ndarray, np.ndarray]]


def _along(
    names: list[int], placed: _Placed, graph: scipy.sparse.csr_matrix, vertices: np.ndarray, canonical: np.ndarray
) -> _Placed:
    """Places of names[1:-1] on the path from the first to the last, at their shares of the rim's length."""
    first, last = (int(placed[name][0][placed[name][1].argmax()]) for name in (names[0], names[-1]))
    _, before = scipy.sparse.csgraph.dijkstra(graph, indices=first, return_predecessors=True)
    path = [last]
    while path[-1] != first and before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    path = path[::-1]
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(vertices[path], axis=0), axis=1))])
    rim = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(canonical[names], axis=0), axis=1))])
    found = {}
    for name, at in zip(names[1:-1], (rim / rim[-1] * lengths[-1])[1:-1], strict=True):
        edge = int(np.clip(np.searchsorted(lengths, at) - 1, 0, len(path) - 2))
        share = (at - lengths[edge]) / (lengths[edge + 1] - lengths[edge])
        found[name] = (
            np.array([path[edge], path[edge + 1], path[edge + 1]]),
            np.array([1 - share, share, 0], np.float32),
        )
    return found


def _edge_graph(vertices: np.ndarray, triangles: np.ndarray) -> scipy.sparse.csr_matrix:
    edges = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    lengths = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    half = scipy.sparse.csr_matrix((lengths, edges.T), shape=(len(vertices), len(vertices)))
    return half + half.T


def _warped(face: CanonicalFace, known: np.ndarray, points: np.ndarray, surface: _Surface) -> np.ndarray:
    """The canonical vertices [468,3] bent smoothly onto the surface, the known ones to their points."""
    start = face.vertices.astype(np.float64)
    start = _similar(start, start[known], points)
    # the triangles that close mouth and eyes would tie the upper lip to the lower one
    closing = np.any([triangles_within(face.triangles, rim) for rim in (RIGHT_EYE, LEFT_EYE, INNER_LIPS)], axis=0)
    laplacian = _laplacian(face.triangles[~closing], len(start))
    bending = laplacian.T @ laplacian
    pinned = np.zeros(len(start))
    pinned[known] = _KNOWN
    goal = np.zeros_like(start)
    goal[known] = _KNOWN * (points - start[known])
    warped = start + np.linalg.solve(_STIFFNESS[0] * bending + np.diag(pinned + 1e-6), goal)
    for stiffness in _STIFFNESS:
        _, _, nearest = surface.nearest(warped, _vertex_normals(warped, face.triangles))
        drawn = np.where(pinned > 0, 0.0, _NEAR)
        matrix = stiffness * bending + np.diag(pinned + drawn)
        warped = start + np.linalg.solve(matrix, goal + drawn[:, None] * (nearest - start))
    return warped


def _laplacian(triangles: np.ndarray, count: int) -> np.ndarray:
    """[V,V] each vertex minus the mean of its neighbours."""
    joined = np.zeros((count, count))
    for one, other in ((0, 1), (1, 2), (2, 0)):
        joined[triangles[:, one], triangles[:, other]] = joined[triangles[:, other], triangles[:, one]] = 1
    return np.eye(count) - joined / np.maximum(joined.sum(1, keepdims=True), 1)


def _similar(points: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Points [V,3] after the similarity that brings `here` [N,3] closest to `there` [N,3]."""
    known = torch.from_numpy(here), torch.from_numpy(there.astype(here.dtype))
    scale, turn, shift = (part.numpy() for part in similarity(*known, known[0].new_ones(len(here))))
    moved: np.ndarray = scale * points @ turn + shift
    return moved


def _vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = vertices[triangles].transpose(1, 0, 2)
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], np.cross(b - a, c - a))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


class _Surface:
    """The skin of a model, asked for its nearest point."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        self.triangles = triangles
        self.corners = vertices[triangles]
        a, b, c = self.corners.transpose(1, 0, 2)
        normals = np.cross(b - a, c - a)
        self.normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        self.tree = scipy.spatial.cKDTree(self.corners.mean(1))

    def nearest(self, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Corners [P,3], shares [P,3] and places [P,3] of the nearest skin that looks the way of `normals` [P,3]."""
        near = self.tree.query(points, min(CANDIDATES, len(self.triangles)))[1]
        shares = closest_shares(points[:, None], self.corners[near])
        places = (shares[..., None] * self.corners[near]).sum(-2)
        away = np.linalg.norm(places - points[:, None], axis=-1)
        other_way = (self.normals[near] * normals[:, None]).sum(-1) < _SAME_WAY
        best = (away + np.where(other_way, 1e3, 0.0)).argmin(1)
        rows = np.arange(len(points))
        return self.triangles[near[rows, best]], shares[rows, best], places[rows, best]
