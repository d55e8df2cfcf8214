# SPDX-License-Identifier: Apache-2.0
"""Pose and expression of every frame with the rig frozen, block by block, so that memory stays bounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar3d.data_prep._rig_fit import EVERYWHERE, Fit
from avatar3d.data_prep._sight import Sight
from avatar3d.data_prep._smooth import bridged, bridged_poses, measure_steadiness, smoothing_step
from avatar3d.data_prep._solver import Poses, pose_normals, refine_poses, reprojection, starting_poses
from avatar3d.data_prep._trust import SUSPECT, Doubt, Standing, landmark_weights, standing, strangers

_TURNS = 6  # of weighing landmarks and posing the face with them


@dataclass(frozen=True)
class Posed:
    """All frames of a capture."""

    poses: Poses
    codes: Tensor  # [T,K]
    usable: np.ndarray  # [T] bool; the others are bridged, or as good as their few landmarks allow
    fault: np.ndarray  # [T] uint8, positions in FAULTS


def pose_frames(
    fit: Fit,
    sight: Sight,
    training: np.ndarray,
    cuts: tuple[int, ...],
    smoothing: float,
    given: tuple[Poses, np.ndarray] | None = None,
) -> Posed:
    """Poses and codes of all frames, smoothed within shots.

    Frames whose landmarks lie far from the rig are posed again with each landmark weighed by how well it agrees with
    the others: a hand over the mouth does not turn the head.

    Args:
        sight: the landmarks of the face [T,V].
        training: [T] bool, the frames that say what is usual.
        cuts: frames at which a new shot begins.
        smoothing: strength of the prior on accelerations over the measured one.
        given: poses that are known, and in which frames [T]; they stay as they are.
    """
    found = sight.found if given is None else sight.found & given[1]
    poses, codes = _solve_apart(fit, sight, found, given and given[0])
    error = residuals(fit, sight, poses, codes, found)
    usual = float(np.median(error[found & training]))
    doubted = np.flatnonzero(found & (error > SUSPECT * usual))
    poses, codes, doubt, noise = _weighed(fit, sight, poses, codes, doubted, usual, given is not None)
    worth = np.where(found, error, np.inf)
    worth[doubted] = noise
    moved = np.zeros(len(sight), bool)
    if given is None:
        moved = strangers(poses.translation[:, :2].numpy(), found & (worth < SUSPECT * usual), cuts)
    stand = standing(sight, found, error, worth, usual, moved)
    posed = Posed(
        bridged_poses(poses, stand.seen, cuts),
        torch.from_numpy(bridged(codes.numpy(), stand.seen, cuts)),
        stand.usable,
        stand.fault,
    )
    if given is not None:
        return posed
    return _smoothed(fit, sight, posed, stand, doubt, training, cuts, smoothing)


def _smoothed(
    fit: Fit,
    sight: Sight,
    posed: Posed,
    stand: Standing,
    doubt: Doubt,
    training: np.ndarray,
    cuts: tuple[int, ...],
    smoothing: float,
) -> Posed:
    poses, codes, seen = posed.poses, posed.codes, stand.seen
    matrix, _ = _normals(fit, sight, poses, codes, doubt)
    steadiness = measure_steadiness(poses, matrix, stand.usable & training, cuts)
    for _ in range(3):
        matrix, vector = _normals(fit, sight, poses, codes, doubt)
        before = poses
        poses = smoothing_step(poses, matrix, vector, seen, cuts, steadiness, smoothing)
        # the prior's weights change with each step; what the landmarks say is nearly linear in one
        vector = vector - (matrix @ poses.since(before)[..., None])[..., 0]
        poses = smoothing_step(poses, matrix, vector, seen, cuts, steadiness, smoothing)
        codes = _codes(fit, sight, poses, codes, seen, doubt)
    codes = torch.from_numpy(bridged(codes.numpy(), seen, cuts))
    return Posed(poses, codes, posed.usable, posed.fault)


def residuals(fit: Fit, sight: Sight, poses: Poses, codes: Tensor, found: np.ndarray) -> np.ndarray:
    """[T] root mean square reprojection error, u; infinite where no face was found."""
    parts = [_distances(fit, sight[rows], poses[rows], codes[rows]).square().mean(1).sqrt() for rows in sight.blocks()]
    return np.where(found, torch.cat(parts).numpy(), np.inf)


def _distances(fit: Fit, seen: Tensor, poses: Poses, codes: Tensor) -> Tensor:
    return reprojection(seen, fit.rig, codes, poses, fit.focal).norm(dim=-1)


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
    poses = refine_poses(seen, fit.rig, codes, poses, fit.focal, fit.scene.bone, 4)
    for _ in range(2):
        codes = fit.codes(seen, poses)
        poses = refine_poses(seen, fit.rig, codes, poses, fit.focal, fit.scene.bone + EVERYWHERE, 2)
    return poses, codes


def _weighed(
    fit: Fit, sight: Sight, poses: Poses, codes: Tensor, doubted: np.ndarray, usual: float, keep: bool
) -> tuple[Poses, Tensor, Doubt, np.ndarray]:
    """Doubted frames solved anew with their landmarks weighed; with them the weights and the noise [R] u of each.

    Args:
        keep: the poses are known and stay.
    """
    rotation, translation, codes = poses.rotation.clone(), poses.translation.clone(), codes.clone()
    weights, noises = [torch.zeros(0, len(fit.scene.bone), dtype=torch.float64)], [np.zeros(0)]
    for block in np.array_split(doubted, len(doubted) // 512 + 1):
        at, seen = torch.from_numpy(block), sight[block]
        pose, code = poses[at], codes[at]
        for _ in range(_TURNS if len(block) else 0):
            trust, noise = landmark_weights(_distances(fit, seen, pose, code), usual)
            trust = trust * (SUSPECT * usual / noise[:, None]).square().clamp_max(1)
            if not keep:
                pose = refine_poses(seen, fit.rig, code, pose, fit.focal, (fit.scene.bone + EVERYWHERE) * trust, 2)
            code = fit.codes(seen, pose, trust)
        if len(block):
            rotation[at], translation[at], codes[at] = pose.rotation, pose.translation, code
            weights.append(trust)
            noises.append(noise.numpy())
    return Poses(rotation, translation), codes, Doubt(doubted, torch.cat(weights)), np.concatenate(noises)


def _normals(fit: Fit, sight: Sight, poses: Poses, codes: Tensor, doubt: Doubt) -> tuple[Tensor, Tensor]:
    parts, usual = [], fit.scene.bone + EVERYWHERE
    for rows in sight.blocks():
        trust = doubt.within(np.arange(rows.start, rows.stop))
        weights = usual if trust is None else usual * trust
        parts.append(pose_normals(sight[rows], fit.rig, codes[rows], poses[rows], fit.focal, weights))
    return torch.cat([matrix for matrix, _ in parts]), torch.cat([vector for _, vector in parts])


def _codes(fit: Fit, sight: Sight, poses: Poses, codes: Tensor, seen: np.ndarray, doubt: Doubt) -> Tensor:
    """Codes with the rows that are seen read anew."""
    codes = codes.clone()
    for rows in sight.blocks():
        there = np.flatnonzero(seen[rows]) + rows.start
        codes[there] = fit.codes(sight[there], poses[torch.from_numpy(there)], doubt.within(there))
    return codes
