# SPDX-License-Identifier: Apache-2.0
"""How good a track is, in figures that a person can check against the picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from avatar3d.data_prep._trust import BRIDGED_CONFIDENCE
from avatar3d.face.groups import LEFT_LID_RATIO, LIPS, RIGHT_LID_RATIO
from avatar3d.face.rig import rig_vertices
from avatar3d.geometry import apply_pose, matrix_from_quat, project, quat_multiply, rotvec_from_quat
from avatar3d.records import FAULTS, Track

_DOUBTFUL = 0.5  # confidence of a frame whose residual is 3.5 times the usual one
# forehead, nose bridge and tip, between the brows, cheekbones: skin on bone, well inside the outline
STEADY = (10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 117, 346, 118, 347, 50, 280)
_VERTICES = 468
_BLOCK = 1500  # frames


def track_quality(track: Track, cuts: tuple[int, ...] = ()) -> dict[str, Any]:
    """Figures of a track: errors in px of the capture, jitter, and which frames are not to be trusted.

    `landmark_rms_px` is the root mean square distance of the rig's vertices from the landmarks, over training frames
    unless `held_out`; `jitter` the root mean square third difference over time (per frame^3) of the rigid vertices'
    pictures, in % of the distance between the eyes' outer corners, or of the head's rotation, deg; `_seen` is that of
    the landmarks themselves. Ranges are from the 2nd to the 98th percentile.
    """
    seen = _seen(track)
    found = track.landmarks.found
    training = found & (track.confidence > 0) & (np.arange(len(found)) < track.fitted_frames)
    held_out = found & (track.confidence > 0) & (np.arange(len(found)) >= track.fitted_frames)
    return {
        "frames": len(found),
        "found": int(found.sum()),
        "fitted_frames": track.fitted_frames,
        "focal_px": float(track.camera.K[0, 0]),
        "focal_observable": track.focal_observable,
        "landmark_rms_px": _root(seen.errors_px2[training]),
        "landmark_rms_px_lips": _root(seen.lip_errors_px2[training]),
        "landmark_rms_px_held_out": _root(seen.errors_px2[held_out]),
        "landmark_rms_px_lips_held_out": _root(seen.lip_errors_px2[held_out]),
        **_jitter(track, seen.steady_px, cuts),
        **_turns(track),
        "bad_frames": [{"frame": frame, "reason": reason} for frame, reason in _bad_frames(track)],
    }


def picture_of(track: Track, frames: slice | np.ndarray = slice(None)) -> np.ndarray:
    """Where the rig's vertices appear [T,468,2], px of the capture.

    Args:
        frames: which of them, as an index; a minute of 25 frames a second takes 11 MB.
    """
    motion = track.motion
    vertices = torch.from_numpy(rig_vertices(track.neutral, track.basis, motion.expression[frames]))
    points = apply_pose(torch.from_numpy(motion.head[frames]), vertices)
    return project(points, track.camera.K).numpy()


def frame_errors(track: Track) -> np.ndarray:
    """Root mean square distance [T] px of the rig's vertices from the landmarks; NaN where no face was found."""
    return np.sqrt(_seen(track).errors_px2)


@dataclass(frozen=True)
class _Seen:
    """Rig against landmarks; lengths in px of the capture."""

    errors_px2: np.ndarray  # [T] mean square over all vertices
    lip_errors_px2: np.ndarray  # [T] over the lips
    steady_px: np.ndarray  # [T,P+2,2] where `STEADY` and the eyes' outer corners of the rig appear


def _seen(track: Track) -> _Seen:
    """Block by block: the vertices of a long capture are many times what is kept of them."""
    kept = [*STEADY, RIGHT_LID_RATIO[0][0], LEFT_LID_RATIO[0][1]]
    parts = []
    for start in range(0, len(track.motion), _BLOCK):
        rows = slice(start, start + _BLOCK)
        drawn = picture_of(track, rows)
        apart = np.square(drawn - track.landmarks.points[rows, :_VERTICES, :2], dtype=np.float64).sum(-1)
        parts.append((apart.mean(1), apart[:, LIPS].mean(1), drawn[:, kept]))
    return _Seen(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _jitter(track: Track, steady_px: np.ndarray, cuts: tuple[int, ...]) -> dict[str, float | None]:
    known = track.landmarks.found & (track.confidence > 0)
    steady = np.ones(len(known), bool)
    steady[[cut for cut in cuts if cut < len(known)]] = False  # a difference that ends here reaches over the cut
    whole = known[3:] & known[2:-1] & known[1:-2] & known[:-3] & steady[3:] & steady[2:-1] & steady[1:-2]
    apart = np.median(np.linalg.norm(steady_px[:, -2] - steady_px[:, -1], axis=-1))
    seen = track.landmarks.points[:, list(STEADY), :2]
    quats = torch.from_numpy(track.motion.head[:, :4]).double()
    steps = rotvec_from_quat(quat_multiply(quats[1:], quats[:-1] * quats.new_tensor([1.0, -1.0, -1.0, -1.0])))
    shake = np.rad2deg(np.diff(steps.numpy(), n=2, axis=0))
    return {
        "jitter_pct_iod": _rms(_third(steady_px[:, :-2])[whole] / apart * 100),
        "jitter_pct_iod_seen": _rms(_third(seen)[whole] / apart * 100),
        "jitter_deg": _rms(np.linalg.norm(shake, axis=-1)[whole]),
    }


def _third(path: np.ndarray) -> np.ndarray:
    """Lengths [T-3,P] of the third differences of paths [T,P,2]."""
    return np.linalg.norm(np.diff(path, n=3, axis=0), axis=-1)


def _turns(track: Track) -> dict[str, list[float]]:
    """Ranges of yaw (to the image's right), pitch (down) and roll (clockwise in the image), deg."""
    rotation = matrix_from_quat(torch.from_numpy(track.motion.head[track.confidence > 0, :4]).double()).numpy()
    out = rotation[:, :, 2]  # where the face looks, in camera axes
    angles = {
        "yaw_deg": np.arctan2(out[:, 0], -out[:, 2]),
        "pitch_deg": np.arctan2(out[:, 1], np.hypot(out[:, 0], out[:, 2])),
        "roll_deg": np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0]),
    }
    return {name: np.rad2deg(np.quantile(angle, (0.02, 0.98))).round(2).tolist() for name, angle in angles.items()}


def _bad_frames(track: Track) -> Iterator[tuple[int, str]]:
    for frame in np.flatnonzero(track.confidence < _DOUBTFUL):
        confidence, found = track.confidence[frame], track.landmarks.found[frame]
        word = FAULTS[track.fault[frame]] if track.fault is not None else ""
        reason = word or ("landmarks fit badly" if found else FAULTS[1])
        if 0 < confidence <= np.float32(BRIDGED_CONFIDENCE):
            reason += ", bridged"
        elif confidence > 0:
            reason += f" (confidence {confidence:.2f})"
        yield int(frame), reason


def _root(squares: np.ndarray) -> float | None:
    return float(np.sqrt(squares.mean())) if squares.size else None


def _rms(values: np.ndarray) -> float | None:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean())) if values.size else None
