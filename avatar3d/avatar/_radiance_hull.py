# SPDX-License-Identifier: Apache-2.0
"""What is known of a head before its radiance field learns anything: where it can be, and where its surface is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from avatar3d.avatar._driving import Start
from avatar3d.avatar._scatter import HEAD, MOUTH, SHELL, skull_rays

_REACH_U = {HEAD: 0.08, MOUTH: 0.08, SHELL: 0.16}  # about tracked points: the face is known best, hair least
_MARGIN_U = 0.05
_FURTHER_OUT = 2.0
_WITH_HEAD = 0.3  # of the head's pose that a point of the neck must follow to belong to the field
_SOFT_U = 0.05  # half the depth over which a surface begins
SOFT = {HEAD: 3.0, SHELL: 0.5}  # by how much the log of density is higher within than without
FIRM = {HEAD: 3.0, SHELL: 2.0}


def hull(start: Start, cells: int) -> tuple[Tensor, Tensor]:
    """The cube [4] about the tracked head (lowest corner and side, u), and which of its cells [R,R,R] are near the
    face, its hair and its neck.
    """
    parts = [_points(start, group) for group in _REACH_U]
    low, high = (edge(np.concatenate(parts), axis=0) for edge in (np.min, np.max))
    side = float((high - low).max()) + 2 * (max(_REACH_U.values()) + _MARGIN_U)
    cube = torch.tensor([*((low + high) / 2 - side / 2), side], dtype=torch.float32)
    middles = _spread((np.arange(cells) + 0.5) / cells, cube)
    near = [
        cKDTree(part).query(middles, distance_upper_bound=1.0)[0] < reach
        for part, reach in zip(parts, _REACH_U.values(), strict=True)
    ]
    return cube, torch.from_numpy(np.any(near, axis=0).reshape(cells, cells, cells))


def expected(start: Start, cube: Tensor, cells: int, sureness: Mapping[int, float]) -> Tensor:
    """What to add to the log of density [(cells+1)^3,1], by vertices with x running fastest: less before the surface of
    the tracked face and of the hair, more behind it.

    Args:
        sureness: how much, for both: SOFT, by which pictures may soon say otherwise, or FIRM.
    """
    at = _spread(np.arange(cells + 1) / cells, cube)
    corners = start.track.neutral[start.triangles].astype(np.float64)
    outwards = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outwards /= np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-12)
    outwards *= np.sign(outwards[:, 2].mean())  # a face looks along z
    shell, centre = _points(start, SHELL), skull_rays(start.track.neutral.astype(np.float64), 1)[0]
    far_face, face = cKDTree(corners.mean(1)).query(at)
    far_shell, hair = cKDTree(shell).query(at)
    ray = shell[hair] - centre
    above = ((at - shell[hair]) * (ray / np.maximum(np.linalg.norm(ray, axis=1, keepdims=True), 1e-12))).sum(1)
    before = ((at - corners.mean(1)[face]) * outwards[face]).sum(1)
    of_face = far_face < far_shell
    height, sure = np.where(of_face, before, above), np.where(of_face, sureness[HEAD], sureness[SHELL])
    found = -sure * (height / _SOFT_U).clip(-1, _FURTHER_OUT)
    return torch.from_numpy(found.reshape(cells + 1, cells + 1, cells + 1).T.reshape(-1, 1).astype(np.float32))


def _points(start: Start, group: int) -> np.ndarray:
    points = start.points
    return points.points[(points.group == group) & (points.skin > _WITH_HEAD)].astype(np.float64)


def _spread(along: np.ndarray, cube: Tensor) -> np.ndarray:
    """[M^3,3] u: points at all combinations of places [M] along the cube's sides, x slowest."""
    low, side = cube[:3].double().numpy(), float(cube[3])
    return np.stack(np.meshgrid(along, along, along, indexing="ij"), -1).reshape(-1, 3) * side + low
