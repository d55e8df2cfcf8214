# SPDX-License-Identifier: Apache-2.0
"""Poses that another tool measured, in its own head space of any axes and scale, taken over into ours."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from avatar3d.data_prep._focal import Scene
from avatar3d.data_prep._rig_fit import frame_errors, mean_shape
from avatar3d.data_prep._solver import Poses, Rig, Similarity, refine_poses, reprojection, similarity, starting_poses
from avatar3d.errors import InputError
from avatar3d.geometry import matrix_from_quat
from avatar3d.records import KnownPoses

_SWEEPS = 5
_FURTHEST = 0.1  # of the face's width: landmarks that lie so far from the posed face are not its own


def checked(known: KnownPoses, frames: int) -> tuple[Poses, np.ndarray]:
    """The poses in the tool's own space (identity where it has none), and which frames have one.

    Raises:
        InputError: not one row per frame, no pose at all, or a camera that is none.
    """
    if known.camera_from_head.shape != (frames, 7):
        raise InputError(
            f"known poses have the shape {tuple(known.camera_from_head.shape)}, expected ({frames}, 7)",
            "give one row (quaternion wxyz, translation) per frame of the capture, NaN where there is none",
        )
    matrix = known.K.double()
    if not bool(torch.isfinite(matrix).all()) or matrix[0, 0] <= 0 or matrix[1, 1] <= 0 or matrix[0, 1] != 0:
        raise InputError(
            f"the known camera matrix {known.K.tolist()} is not a pinhole camera's",
            "give [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in px of the capture",
        )
    rows = known.camera_from_head.astype(np.float64)
    there = np.isfinite(rows).all(1) & (np.linalg.norm(np.nan_to_num(rows[:, :4]), axis=1) > 0)
    if not there.any():
        raise InputError("none of the known poses is finite", "give at least one pose per usable frame")
    rows = np.where(there[:, None], rows, (1.0, 0, 0, 0, 0, 0, 0))
    pose = torch.from_numpy(rows)
    return Poses(matrix_from_quat(pose[:, :4]), pose[:, 4:]), there


def in_head_space(scene: Scene, seen: Tensor, theirs: Poses, focal: float) -> Similarity:
    """What takes their head space to ours, from frames [T] spread over the capture.

    A first idea comes from posing the canonical face in every frame; then the mean face is solved for in closed form
    with their poses, and brought onto the canonical one on bone, until it stays there.

    Raises:
        InputError: no similarity brings the face under the landmarks.
    """
    total = _first(scene, seen, theirs, focal)
    for _ in range(_SWEEPS):
        shape = mean_shape(scene, seen, total.of_poses(theirs), focal)
        total = _after(similarity(shape, scene.canonical, scene.bone), total)
    poses = total.of_poses(theirs)
    shape = mean_shape(scene, seen, poses, focal)
    errors = frame_errors(reprojection(seen, Rig.rigid(shape), seen.new_zeros(len(seen), 0), poses, focal))
    if not bool(poses.translation[:, 2].median() > 0) or not float(errors.median()) < _FURTHEST * scene.face_width:
        raise InputError(
            "the known poses do not put the face where the pictures show it",
            "check that poses, camera and pictures belong together, frame by frame, and the axes they are in",
        )
    return total


def _first(scene: Scene, seen: Tensor, theirs: Poses, focal: float) -> Similarity:
    """Turn, scale and shift from our own poses of the canonical face: R' = R Q and t' = s t - R' b for all frames."""
    start = starting_poses(seen, focal, scene.face_width)
    canonical, none = Rig.rigid(scene.canonical), seen.new_zeros(len(seen), 0)
    ours = refine_poses(seen, canonical, none, start, focal, scene.bone, 5)
    u, _, vt = torch.linalg.svd((theirs.rotation.transpose(1, 2) @ ours.rotation).sum(0))
    turn = u @ torch.diag(torch.cat([u.new_ones(2), torch.det(u @ vt).reshape(1)])) @ vt
    rotation = theirs.rotation @ turn
    rows = torch.cat([theirs.translation[..., None], -rotation], 2).flatten(0, 1)  # of the unknowns (s, b)
    # how far apart the two origins are hardly shows in a head that hardly turns: then they are near each other
    ridge = 1e-3 * len(seen) * torch.diag(rows.new_tensor([0.0, 1.0, 1.0, 1.0]))
    solved = torch.linalg.solve(rows.T @ rows + ridge, rows.T @ ours.translation.flatten())
    return Similarity(solved[0], turn, solved[1:])


def _after(second: Similarity, first: Similarity) -> Similarity:
    return Similarity(second.scale * first.scale, first.turn @ second.turn, second(first.shift))
