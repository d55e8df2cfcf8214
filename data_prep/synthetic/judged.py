# SPDX-License-Identifier: Apache-2.0
"""A track held against the truth of a made-up sighting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar3d.data_prep.quality import picture_of
from avatar3d.data_prep.synthetic.sighting import Sighting
from avatar3d.face.rig import rig_vertices
from avatar3d.geometry import matrix_from_quat, quat_from_matrix, rotvec_from_quat
from avatar3d.records import Track

_UPPER_LIP, _LOWER_LIP = 13, 14
_FACE = 468


@dataclass(frozen=True)
class Judged:
    """How far a track is from the truth."""

    focal_error_pct: float  # signed; of what was found, or of the usual one where it could not be observed
    focal_observable: bool
    rotation_error_deg: float  # mean over frames, the turn that all frames share taken out
    rotation_jitter_deg: float  # mean error of the turn from one frame to the next
    mouth_r: float  # correlation of the lips' opening
    mouth_gain: float  # found over true standard deviation of it
    blink_r: float  # of the worse eye, with the blinks that were put in
    landmark_rms_px: float  # of the rig against the noisy landmarks


def judged(track: Track, truth: Sighting) -> Judged:
    """Compares a track of `truth.landmarks` with what they were made from."""
    found = gap(rig_vertices(track.neutral, track.basis, track.motion.expression))
    true = gap(truth.vertices)
    seen = truth.landmarks.points[:, :_FACE, :2]
    return Judged(
        focal_error_pct=100 * (float(track.camera.K[0, 0]) / truth.focal_px - 1),
        focal_observable=track.focal_observable,
        rotation_error_deg=float(rotation_errors_deg(track.motion.head, truth.head).mean()),
        rotation_jitter_deg=float(rotation_jitter_deg(track.motion.head, truth.head).mean()),
        mouth_r=float(np.corrcoef(found, true)[0, 1]),
        mouth_gain=float(found.std() / true.std()),
        blink_r=min(float(np.corrcoef(eye, truth.blink)[0, 1]) for eye in track.motion.blink.T),
        landmark_rms_px=float(np.sqrt(np.square(picture_of(track) - seen).sum(-1).mean())),
    )


def gap(vertices: np.ndarray, upper: int = _UPPER_LIP, lower: int = _LOWER_LIP) -> np.ndarray:
    """Distance [T] u between two vertices of faces [T,V,3]; the middle of the inner lips unless told."""
    return np.linalg.norm(vertices[:, upper] - vertices[:, lower], axis=-1)


def rotations(head: np.ndarray) -> Tensor:
    """Rotation matrices [T,3,3] float64 of poses [T,7]."""
    return matrix_from_quat(torch.from_numpy(head[:, :4]).double())


def degrees(rotation: Tensor) -> np.ndarray:
    """Angles [T] deg of rotation matrices [T,3,3]."""
    return torch.rad2deg(rotvec_from_quat(quat_from_matrix(rotation)).norm(dim=-1)).numpy()


def rotation_errors_deg(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Angles [T] deg between poses [T,7], less the turn between the two head spaces, which is nobody's error."""
    offsets = rotations(true).transpose(1, 2) @ rotations(found)
    u, _, vt = torch.linalg.svd(offsets.mean(0))
    return degrees(offsets @ (u @ vt).T)


def rotation_jitter_deg(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Errors [T-1] deg of the turn from each frame to the next."""
    steps = [turn[1:] @ turn[:-1].transpose(1, 2) for turn in (rotations(found), rotations(true))]
    return degrees(steps[0] @ steps[1].transpose(1, 2))
