# SPDX-License-Identifier: Apache-2.0
"""Pose and expression of every frame with the rig frozen, block by block, so that memory stays bounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar3d.data_prep._rig_fit import EVERYWHERE, OUTLIER, Fit, frame_errors
from avatar3d.data_prep._sight import Sight
from avatar3d.data_prep._smooth import bridged, bridged_poses, measure_steadiness, shots, smoothing_step
from avatar3d.data_prep._solver import Poses, pose_normals, refine_poses, reprojection, starting_poses

_JUMP_U = 1.0  # a head does not leave its neighbours' median by 10 cm for an instant


@dataclass(frozen=True)
class Posed:
    """All frames of a capture."""

    poses: Poses
    codes: Tensor  # [T,K]
    usable: np.ndarray  # [T] bool; the others are bridged


def pose_frames(
    fit: Fit,
    sight: Sight,
    training: np.ndarray,
    cuts: tuple[int, ...],
    smoothing: float,
    given: tuple[Poses, np.ndarray] | None = None,
) -> Posed:
    """Poses and codes of all frames, smoothed within shots.

    Args:
        sight: the landmarks of the face [T,V].
        training: [T] bool, the frames that say what is usual.
        cuts: frames at which a new shot begins.
        smoothing: strength of the prior on accelerations over the measured one.
        given: poses that are known, and in which frames [T]; they stay as they are.
    """
    found = sight.found if given is None else sight.found & given[1]
    poses, codes = _solve_apart(fit, sight, found, given and given[0])
    errors = residuals(fit, sight, poses, codes, found)
    usable = found & (errors < OUTLIER * np.median(errors[found & training]))
    if given is not None:
        return Posed(bridged_poses(poses, usable, cuts), torch.from_numpy(bridged(codes.numpy(), usable, cuts)), usable)
    usable &= ~_jumps(poses.translation.numpy(), usable, cuts)
    return _smoothed(fit, sight, Posed(poses, codes, usable), training, cuts, smoothing)


def _smoothed(
    fit: Fit, sight: Sight, posed: Posed, training: np.ndarray, cuts: tuple[int, ...], smoothing: float
) -> Posed:
    usable, poses = posed.usable, posed.poses
    codes = torch.from_numpy(bridged(posed.codes.numpy(), usable, cuts))
    steadiness = measure_steadiness(poses, _normals(fit, sight, poses, codes)[0], usable & training, cuts)
    poses = bridged_poses(poses, usable, cuts)
    for _ in range(3):
        for _ in range(2):
            matrix, vector = _normals(fit, sight, poses, codes)
            poses = smoothing_step(poses, matrix, vector, usable, cuts, steadiness, smoothing)
        codes = _codes(fit, sight, poses, codes, usable)
    return Posed(poses, torch.from_numpy(bridged(codes.numpy(), usable, cuts)), usable)


def residuals(fit: Fit, sight: Sight, poses: Poses, codes: Tensor, found: np.ndarray) -> np.ndarray:
    """[T] root mean square reprojection error, u; infinite where no face was found."""
    parts = [
        frame_errors(reprojection(sight[rows], fit.rig, codes[rows], poses[rows], fit.focal)) for rows in sight.blocks()
    ]
    return np.where(found, torch.cat(parts).numpy(), np.inf)


def _solve_apart(fit: Fit, sight: Sight, found: np.ndarray, given: Poses | None) -> tuple[Poses, Tensor]:
    """Poses and codes of all frames, each for itself; frames without a face wait at the usual distance."""
    rows = np.flatnonzero(found)
    rotation = torch.eye(3, dtype=torch.float64).repeat(len(found), 1, 1)
    translation = torch.zeros(len(found), 3, dtype=torch.float64)
    codes = torch.zeros(len(found), fit.rig.basis.shape[2], dtype=torch.float64)
    for block in np.array_split(rows, max(1, len(rows) // 512)):
        seen, at = sight[block], torch.from_numpy(block)
        poses = None if given is None else given[at]
        poses, codes[at] = _solve_block(fit, seen) if poses is None else (poses, fit.codes(seen, poses))
        rotation[at], translation[at] = poses.rotation, poses.translation
    translation[~torch.from_numpy(found), 2] = translation[rows, 2].median()
    return Poses(rotation, translation), codes


def _solve_block(fit: Fit, seen: Tensor) -> tuple[Poses, Tensor]:
    codes = seen.new_zeros(len(seen), fit.rig.basis.shape[2])
    poses = starting_poses(seen, fit.focal, fit.scene.face_width)
    poses = refine_poses(seen, fit.rig, codes, poses, fit.focal, fit.scene.bone, 5)
    for _ in range(3):
        codes = fit.codes(seen, poses)
        poses = refine_poses(seen, fit.rig, codes, poses, fit.focal, fit.scene.bone + EVERYWHERE, 2)
    return poses, codes


def _normals(fit: Fit, sight: Sight, poses: Poses, codes: Tensor) -> tuple[Tensor, Tensor]:
    weights = fit.scene.bone + EVERYWHERE
    parts = [
        pose_normals(sight[rows], fit.rig, codes[rows], poses[rows], fit.focal, weights) for rows in sight.blocks()
    ]
    return torch.cat([matrix for matrix, _ in parts]), torch.cat([vector for _, vector in parts])


def _codes(fit: Fit, sight: Sight, poses: Poses, codes: Tensor, usable: np.ndarray) -> Tensor:
    """Codes with the usable rows read anew."""
    codes = codes.clone()
    for rows in sight.blocks():
        there = np.flatnonzero(usable[rows]) + rows.start
        codes[there] = fit.codes(sight[there], poses[torch.from_numpy(there)])
    return codes


def _jumps(translation: np.ndarray, usable: np.ndarray, cuts: tuple[int, ...], reach: int = 3) -> np.ndarray:
    """[T] frames whose head is suddenly elsewhere in the picture: another face was taken for this one."""
    jumps = np.zeros(len(usable), bool)
    for shot in shots(len(usable), cuts):
        rows = np.arange(shot.start, shot.stop)[usable[shot]]
        for at, row in enumerate(rows):
            near = translation[rows[max(0, at - reach) : at + reach + 1], :2]
            jumps[row] = np.linalg.norm(translation[row, :2] - np.median(near, axis=0)) > _JUMP_U
    return jumps
