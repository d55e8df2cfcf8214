# SPDX-License-Identifier: Apache-2.0
"""Focal length and rigid shape together: a grid over the focal length, a parabola through its best three."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar3d.data_prep._solver import (
    PointNormals,
    Poses,
    Rig,
    aligned,
    refine_poses,
    reprojection,
    solve_rig,
    starting_poses,
)
from avatar3d.geometry import quat_from_matrix, rotvec_from_quat

GRID = (1.25, 1.75, 2.25, 2.75, 3.5, 4.5, 6.0)  # focal length / picture width
USUAL = 2.2  # where the head's turns do not tell
_LEAST_SPREAD = 0.005  # of the cost over the grid
_LEAST_TURN_DEG = 12.0  # p2..p98 of yaw, or of pitch: with less, how faces move speaks louder than perspective
_FRAMES = 150
_PULL = 5e-5  # of the rigid shape to the canonical face, per frame


@dataclass(frozen=True)
class Scene:
    """What every fit of one capture shares. Pictures are in u at the face's depth, see `_solver`."""

    canonical: Tensor  # [V,3] u
    bone: Tensor  # [V] rigid weights
    width: float  # the picture's width, u

    @property
    def face_width(self) -> float:
        return float(self.canonical[:, 0].max() - self.canonical[:, 0].min())


@dataclass(frozen=True)
class RigidFit:
    """A rigid face and its poses for one focal length."""

    neutral: Tensor  # [V,3] u
    poses: Poses
    cost: float  # mean squared residual of the rigid vertices, u^2


def fit_rigid(scene: Scene, seen: Tensor, focal: float, sweeps: int = 8) -> RigidFit:
    """Alternates poses and the rigid shape; the shape's own similarity is fixed by the canonical face each time."""
    no_codes = seen.new_zeros(len(seen), 0)
    poses = starting_poses(seen, focal, scene.face_width)
    neutral = scene.canonical
    unused = torch.zeros_like(neutral)
    for sweep in range(sweeps):
        poses = refine_poses(seen, Rig.rigid(neutral), no_codes, poses, focal, scene.bone, 4 if sweep == 0 else 2)
        normals = PointNormals.of(seen, poses, focal)
        free = solve_rig(normals, no_codes, scene.canonical, _PULL, unused).neutral
        neutral = aligned(free, scene.canonical, scene.bone)
    rig = Rig.rigid(neutral)
    poses = refine_poses(seen, rig, no_codes, poses, focal, scene.bone, 3)
    errors = reprojection(seen, rig, no_codes, poses, focal).square().sum(-1)
    return RigidFit(neutral, poses, float((errors * scene.bone).sum() / (scene.bone.sum() * len(seen))))


def find_focal(scene: Scene, seen: Tensor) -> tuple[float, bool]:
    """The focal length over the picture's width, and whether the capture shows it.

    A head that hardly turns looks the same through any lens: then the usual one is taken. So it is where the cost
    falls up to an end of the grid, which is the landmark detector's own idea of foreshortening and not the lens.
    """
    canonical = Rig.rigid(scene.canonical)
    no_codes = seen.new_zeros(len(seen), 0)
    focal = USUAL * scene.width
    start = starting_poses(seen, focal, scene.face_width)
    poses = refine_poses(seen, canonical, no_codes, start, focal, scene.bone, 4)
    turns = _turns(poses)
    if _turn_range_deg(turns) < _LEAST_TURN_DEG:
        return USUAL, False
    features = torch.cat([turns, 0.3 * poses.translation[:, 2:].log()], 1)
    spread_out = seen[farthest_first(features, _FRAMES)]
    costs = np.array([fit_rigid(scene, spread_out, ratio * scene.width).cost for ratio in GRID])
    best = int(costs.argmin())
    if costs.max() / costs.min() - 1 < _LEAST_SPREAD or best in (0, len(GRID) - 1):
        return USUAL, False
    return _valley(np.log(GRID[best - 1 : best + 2]), costs[best - 1 : best + 2]), True


def farthest_first(features: Tensor, count: int) -> Tensor:
    """Rows of `features` [T,C] that lie far from each other, greedily, beginning with row 0."""
    chosen = [0]
    distance = torch.full((len(features),), torch.inf, dtype=features.dtype)
    for _ in range(min(count, len(features)) - 1):
        distance = torch.minimum(distance, (features - features[chosen[-1]]).norm(dim=1))
        chosen.append(int(distance.argmax()))
    return torch.tensor(chosen)


def _valley(log_ratios: np.ndarray, costs: np.ndarray) -> float:
    """The lowest point of the parabola through three costs, back from the logarithm."""
    square, slope, _ = np.polyfit(log_ratios, costs, 2)
    return float(np.exp(-slope / (2 * square)))


def _turns(poses: Poses) -> Tensor:
    """Rotation vectors [T,3] (rad) away from facing the camera."""
    facing = torch.diag(poses.rotation.new_tensor([1.0, -1.0, -1.0]))
    return rotvec_from_quat(quat_from_matrix(poses.rotation @ facing))


def _turn_range_deg(turns: Tensor) -> float:
    low, high = torch.quantile(turns[:, :2], torch.tensor([0.02, 0.98], dtype=turns.dtype), dim=0)
    return float(torch.rad2deg(high - low).max())
