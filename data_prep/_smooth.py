# SPDX-License-Identifier: Apache-2.0
"""Poses over time: gaps bridged, noise taken out, shot by shot."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from avatar3d.data_prep._solver import Poses
from avatar3d.geometry import matrix_from_quat, quat_from_matrix, rotvec_from_quat

_TAILS = 4.0  # degrees of freedom of the Student-t prior: few = heavy tails
_LEAST_MOTION = 1e-3  # share of the observed second differences that is motion at least
_HOLD = 1e-4  # how strongly a frame without a face is held at its bridged pose, against one with a face


def shots(frames: int, cuts: tuple[int, ...]) -> list[slice]:
    """The ranges between cuts."""
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < frames), frames]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def bridged(values: np.ndarray, known: np.ndarray, cuts: tuple[int, ...]) -> np.ndarray:
    """Rows [T,C] with the unknown ones interpolated within their shot and held at its ends.

    A shot without a known row takes the row nearest in time.
    """
    out = values.copy()
    every = np.flatnonzero(known)
    for shot in shots(len(values), cuts):
        rows = np.arange(shot.start, shot.stop)
        anchors = rows[known[shot]]
        if len(anchors) == 0:
            anchors = every[[np.abs(every - shot.start).argmin()]]
        missing = rows[~known[shot]]
        for column in range(values.shape[1]):
            out[missing, column] = np.interp(missing, anchors, values[anchors, column])
    return out


def bridged_poses(poses: Poses, known: np.ndarray, cuts: tuple[int, ...]) -> Poses:
    """Poses with the unknown ones between their neighbours (quaternions blended and normalised)."""
    quats = quat_from_matrix(poses.rotation).numpy().copy()
    rows = np.flatnonzero(known)
    for before, here in pairwise(rows):
        if quats[before] @ quats[here] < 0:
            quats[here] *= -1
    state = bridged(np.concatenate([quats, poses.translation.numpy()], 1), known, cuts)
    return Poses(matrix_from_quat(torch.from_numpy(state[:, :4])), torch.from_numpy(state[:, 4:]))


def gap_lengths(known: np.ndarray, cuts: tuple[int, ...]) -> np.ndarray:
    """[T] how many frames the gap has that an unknown frame lies in; T + 1 where it is open at an end of its shot."""
    lengths = np.zeros(len(known), int)
    for shot in shots(len(known), cuts):
        start = shot.start
        while start < shot.stop:
            stop = start
            while stop < shot.stop and known[stop] == known[start]:
                stop += 1
            if not known[start]:
                open_ended = start == shot.start or stop == shot.stop
                lengths[start:stop] = len(known) + 1 if open_ended else stop - start
            start = stop
    return lengths


@dataclass(frozen=True)
class Steadiness:
    """How a head accelerates and how noisily that was seen, per frame^2: rotation (rad) and translation (u), 3 + 3."""

    acceleration: np.ndarray  # [6] variance of the head's own second differences
    noise: np.ndarray  # [6] variance of the poses' error
    information: np.ndarray  # [6,6] what one frame's landmarks say of its pose: the mean of their normal equations


def measure_steadiness(poses: Poses, matrix: Tensor, known: np.ndarray, cuts: tuple[int, ...]) -> Steadiness:
    """Tells motion from noise by how second differences of unsmoothed poses agree from frame to frame.

    White noise of variance n has second differences with autocovariances 6n, -4n, n; a head's own accelerations (a)
    last longer than two frames and add a, ra, ra. So n = (c2 - c1) / 5 and a = c0 - 6n.

    Args:
        matrix: [T,6,6] of `pose_normals`.
        known: [T] the frames to learn from.
    """
    lagged: list[list[np.ndarray]] = [[], [], []]
    for shot in shots(len(known), cuts):
        if shot.stop - shot.start < 5:
            continue
        bend = _accelerations(poses[shot])
        whole = known[shot][:-2] & known[shot][1:-1] & known[shot][2:]
        for lag, products in enumerate(lagged):
            last = len(bend) - lag
            both = whole[:last] & whole[lag:]
            products.append((bend[:last] * bend[lag:])[both])
    c0, c1, c2 = (np.concatenate(products).mean(0) for products in lagged)
    noise = np.clip((c2 - c1) / 5, 1e-3 * c0, None)
    information = matrix[torch.from_numpy(known)].mean(0).numpy()
    return Steadiness(np.clip(c0 - 6 * noise, _LEAST_MOTION * c0, None), noise, information)


def smoothing_step(
    poses: Poses,
    matrix: Tensor,
    vector: Tensor,
    known: np.ndarray,
    cuts: tuple[int, ...],
    steadiness: Steadiness,
    strength: float,
) -> Poses:
    """One Gauss-Newton step of the data's normal equations plus a prior on accelerations; never across a cut.

    Accelerations are taken as Student-t distributed with the measured variance: a head that really jerks is followed,
    one that holds still is held still.

    Args:
        matrix, vector: [T,6,6] and [T,6] of `pose_normals`, anything where not `known`.
        strength: multiplies the prior; 1 = as measured.

    The second difference of rotation is that of relative rotations, so it holds for a head turned any way.
    """
    # what one pose component is worth once the others are free, against how far it is really off
    trust = steadiness.noise / np.linalg.inv(steadiness.information).diagonal()
    scale = steadiness.acceleration * (_TAILS - 2) / _TAILS
    matrix, vector = matrix.clone(), vector.clone()
    lost = torch.from_numpy(~known)
    matrix[lost], vector[lost] = torch.from_numpy(np.diag(steadiness.information.diagonal() * _HOLD)), 0.0
    steps = []
    for shot in shots(len(poses), cuts):
        bend = _accelerations(poses[shot]) if shot.stop - shot.start >= 3 else np.zeros((0, 6))
        calm = (_TAILS + 6) / (_TAILS + (bend**2 / scale).sum(1, keepdims=True))
        prior = strength * calm * trust / scale
        steps.append(_solve_shot(matrix[shot].numpy(), vector[shot].numpy(), bend, prior))
    return poses.moved(torch.from_numpy(np.concatenate(steps)))


def _solve_shot(matrix: np.ndarray, vector: np.ndarray, bend: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Steps [T,6] for accelerations [T-2,6] with weights [T-2,6]: block-pentadiagonal, a band of half-width 12."""
    frames = len(matrix)
    band = np.zeros((13, frames, 6))  # band[12 - d, j] is the entry d rows above the diagonal, in column j
    for row in range(6):
        for column in range(row, 6):
            band[12 - (column - row), :, column] = matrix[:, row, column]
    right = vector.copy()
    if len(bend):
        for offset, factor in ((0, 1.0), (1, -2.0), (2, 1.0)):
            rows = slice(offset, frames - 2 + offset)
            right[rows] -= factor * prior * bend
            band[12, rows] += factor**2 * prior
        band[6, 1 : frames - 1] -= 2 * prior
        band[6, 2:frames] -= 2 * prior
        band[0, 2:frames] += prior
    return scipy.linalg.solveh_banded(band.reshape(13, -1), right.reshape(-1)).reshape(frames, 6)


def _accelerations(poses: Poses) -> np.ndarray:
    """Second differences [T-2,6] of rotation (rad) and translation (u)."""
    relative = poses.rotation[1:] @ poses.rotation[:-1].transpose(1, 2)
    turn = rotvec_from_quat(quat_from_matrix(relative))
    return torch.cat([turn.diff(dim=0), poses.translation.diff(n=2, dim=0)], 1).numpy()
