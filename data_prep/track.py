# SPDX-License-Identifier: Apache-2.0
"""Landmarks to a personal rig and its motion: focal length, head pose, mean face, a linear basis of expressions.

No face model is needed: the person's own minutes say how that face moves. Everything is solved in closed form by turns
(`_solver`), so a minute of video takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar3d.data_prep._eyes import blink_of, frontal, gaze_of
from avatar3d.data_prep._focal import Scene, find_focal, fit_rigid
from avatar3d.data_prep._smooth import bridged, bridged_poses, gap_lengths, measure_steadiness, shots, smoothing_step
from avatar3d.data_prep._solver import (
    PointNormals,
    Poses,
    Rig,
    pose_normals,
    principal_codes,
    refine_poses,
    reprojection,
    solve_codes,
    solve_rig,
    starting_poses,
    whitened,
)
from avatar3d.data_prep.quality import BRIDGED_CONFIDENCE, picture_of, track_quality
from avatar3d.errors import InputError
from avatar3d.face.canonical import CanonicalFace
from avatar3d.face.groups import APERTURE_PAIRS, LEFT_EYE, LIPS, RIGHT_EYE
from avatar3d.face.rigid import rigid_weights
from avatar3d.geometry import intrinsics, quat_from_matrix
from avatar3d.records import Camera, Capture, Landmarks, Motion, Progress, Track, Watch, held_out_start, unwatched
from avatar3d.threads import torch_threads

__all__ = ["TrackSettings", "picture_of", "track", "track_quality"]

_VERTICES = 468
_SWEEPS = 12  # of the alternation between rig and codes
_POSE_SWEEPS = (3, 6, 9)  # after which the poses are refreshed
_PULL = 2.5e-5  # of the mean face to the canonical one, per frame
_SOFT, _BONE, _DEPTH = 5e-6, 1.3e-2, 4e-3  # ridge on the basis, per frame: on what moves, on bone, in depth
_EVERYWHERE = 0.2  # added to the rigid weights once the expression is known
_CODE_RIDGE = 2.5e-5
_OUTLIER = 5.0  # times the median residual: this is not the face
_JUMP_U = 1.0  # a head does not leave its neighbours' median by 10 cm for an instant
_FEWEST_FRAMES = 50


@dataclass(frozen=True)
class TrackSettings:
    """Settings of the tracker."""

    components: int = 16  # size of the expression basis
    focal_ratio: float | None = None  # focal length / picture width where it is known; None: measured
    fit_frames: int = 1500  # at most so many frames, spread evenly, shape the rig; poses are solved for all
    longest_bridge: int = 5  # frames without a face that are bridged; longer gaps get confidence 0
    smoothing: float = 3.0  # strength of the prior on accelerations over the measured one; 3: the steadiest skin by eye


@dataclass(frozen=True)
class _Fit:
    """The frozen rig that every frame is then posed with."""

    scene: Scene
    rig: Rig
    focal: float  # u of the picture


def track(
    capture: Capture,
    landmarks: Landmarks,
    face: CanonicalFace,
    settings: TrackSettings = TrackSettings(),
    watch: Watch = unwatched,
) -> Track:
    """Solves a capture's landmarks for the person's rig and motion.

    Focal length, mean face, basis and ARKit map come from frames [0, held_out_start(T)) alone; the later ones get pose
    and expression with the rig frozen. The neutral is the mean face of those training frames, in canonical head space
    (similarity-aligned to the canonical face on bone, which sets the scale); expression has zero mean and unit variance
    over them, components ordered by energy, each with the sign that opens the mouth.

    Frames without a usable face are bridged where the gap is short (low confidence) and get confidence 0 where it is
    long; their pose stays finite, and no row ever shifts. Nothing is smoothed across a cut.

    Raises:
        InputError: too few frames show a face.
    """
    with torch_threads(1), torch.no_grad():
        return _track(capture, landmarks, face, settings, watch)


def _track(capture: Capture, landmarks: Landmarks, face: CanonicalFace, settings: TrackSettings, watch: Watch) -> Track:
    height, width = capture.frames.shape[1:3]
    frames = len(landmarks.points)
    training = np.arange(frames) < held_out_start(frames)
    # the held-out part is a shot of its own, so that nothing of it reaches a training frame
    cuts = (*capture.cuts, held_out_start(frames))
    px_per_u, points = _in_u(landmarks, training, width, height, face)
    seen = points[:, :_VERTICES]
    scene = Scene(torch.from_numpy(face.vertices).double(), torch.from_numpy(rigid_weights(face)), width / px_per_u)
    chosen = _spread(np.flatnonzero(landmarks.found & training), settings.fit_frames)
    if len(chosen) < max(_FEWEST_FRAMES, 3 * settings.components):
        raise InputError(
            f"only {len(chosen)} frames of the capture show a face", "film for longer with the face in the picture"
        )
    watch(Progress("track", 0.0, "focal length"))
    ratio, observable = (settings.focal_ratio, True) if settings.focal_ratio else find_focal(scene, seen[chosen])
    watch(Progress("track", 0.2, f"focal length {ratio:.2f} picture widths" + ("" if observable else " (assumed)")))
    fit = _Fit(scene, _fit_rig(scene, seen[chosen], ratio * scene.width, settings.components), ratio * scene.width)
    watch(Progress("track", 0.6, "poses"))
    usable, poses, codes = _solve_all(fit, seen, landmarks.found, training, cuts, settings)
    watch(Progress("track", 0.9, "eyes"))
    rig, codes = _canonicalised(fit.rig, codes, usable & training)
    residual = _residuals(_Fit(scene, rig, fit.focal), seen, poses, codes, landmarks.found)
    confidence = _confidence(residual, usable, training, cuts, settings.longest_bridge)
    blink, gaze = _eyes(_Fit(scene, rig, fit.focal), points, poses, usable, training, cuts)
    motion = Motion(
        expression=codes.numpy().astype(np.float32),
        blink=blink.astype(np.float32),
        gaze=gaze.astype(np.float32),
        head=torch.cat([quat_from_matrix(poses.rotation), poses.translation], 1).numpy().astype(np.float32),
        fps=capture.fps,
    )
    watch(Progress("track", 1.0))
    return Track(
        camera=Camera(intrinsics(ratio * width, width, height), torch.eye(4), width, height),
        neutral=rig.neutral.numpy().astype(np.float32),
        basis=rig.basis.numpy().astype(np.float32),
        motion=motion,
        landmarks=landmarks,
        confidence=confidence.astype(np.float32),
        fitted_frames=held_out_start(frames),
        focal_observable=observable,
        arkit_map=_arkit_map(landmarks.scores, codes.numpy(), usable & training).astype(np.float32),
    )


def _in_u(
    landmarks: Landmarks, training: np.ndarray, width: int, height: int, face: CanonicalFace
) -> tuple[float, Tensor]:
    """px per u at the face's depth, and all landmarks [T,478,2] in u from the picture's middle (0 where not found)."""
    points = landmarks.points[..., :2].astype(np.float64)
    extent = np.ptp(points[landmarks.found & training][:, :_VERTICES, 0], axis=1)
    if len(extent) == 0:
        raise InputError("no frame of the capture shows a face", "film the face from the front, large and well lit")
    px_per_u = float(np.median(extent) / np.ptp(face.vertices[:, 0]))
    centred = (points - (width / 2, height / 2)) / px_per_u
    return px_per_u, torch.from_numpy(np.where(landmarks.found[:, None, None], centred, 0.0))


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]


def _fit_rig(scene: Scene, seen: Tensor, focal: float, components: int) -> Rig:
    """Mean face and basis by alternation, from a rigid fit and the principal components of what it leaves over."""
    rigid = fit_rigid(scene, seen, focal)
    poses = rigid.poses
    errors = _frame_errors(reprojection(seen, Rig.rigid(rigid.neutral), seen.new_zeros(len(seen), 0), poses, focal))
    good = errors < _OUTLIER * errors.median()
    seen, poses = seen[good], poses[good]
    codes = principal_codes(_movement(seen, rigid.neutral, poses, focal), components)
    stiffness = torch.where(scene.bone > 0.5, _BONE, _SOFT).double()[:, None].repeat(1, 3)
    stiffness[:, 2] = stiffness[:, 2].clamp_min(_DEPTH)
    weights = _code_weights(scene)
    normals = PointNormals.of(seen, poses, focal)
    for sweep in range(_SWEEPS):
        rig = solve_rig(normals, codes, scene.canonical, _PULL, stiffness)
        codes = solve_codes(normals, rig, weights, _CODE_RIDGE)
        rig, codes = whitened(rig, codes)
        if sweep in _POSE_SWEEPS:
            poses = refine_poses(seen, rig, codes, poses, focal, scene.bone + _EVERYWHERE, 2)
            normals = PointNormals.of(seen, poses, focal)
    return rig


def _movement(seen: Tensor, neutral: Tensor, poses: Poses, focal: float) -> Tensor:
    """What the rigid face leaves over, [T,3V] u: residuals laid parallel to the picture at the face's depth."""
    missing = -reprojection(seen, Rig.rigid(neutral), seen.new_zeros(len(seen), 0), poses, focal)
    flat = torch.cat([missing, torch.zeros_like(missing[..., :1])], -1) * (poses.translation[:, 2:, None] / focal)
    return (flat @ poses.rotation).flatten(1)


def _code_weights(scene: Scene) -> Tensor:
    """[V] what counts when a frame's expression is read: lips and lids carry speech and blinks."""
    weights = torch.ones_like(scene.bone)
    weights[list(LIPS)] = 3.0
    weights[list(RIGHT_EYE + LEFT_EYE)] = 2.0
    return weights


def _solve_all(
    fit: _Fit,
    seen: Tensor,
    found: np.ndarray,
    training: np.ndarray,
    cuts: tuple[int, ...],
    settings: TrackSettings,
) -> tuple[np.ndarray, Poses, Tensor]:
    """Which frames are usable [T], poses and codes of all frames with the rig frozen, smoothed within shots."""
    poses, codes = _solve_apart(fit, seen[torch.from_numpy(found)])
    every_pose, every_code = _scattered(poses, codes, found)
    errors = _residuals(fit, seen, every_pose, every_code, found)
    usable = found & (errors < _OUTLIER * np.median(errors[found & training]))
    usable &= ~_jumps(every_pose.translation.numpy(), usable, cuts)
    every_code = torch.from_numpy(bridged(every_code.numpy(), usable, cuts))
    known = torch.from_numpy(usable)
    weights = fit.scene.bone + _EVERYWHERE
    matrix, _ = pose_normals(seen, fit.rig, every_code, every_pose, fit.focal, weights)
    steadiness = measure_steadiness(every_pose, matrix, usable & training, cuts)
    every_pose = bridged_poses(every_pose, usable, cuts)
    for _ in range(3):
        for _ in range(2):
            matrix, vector = pose_normals(seen, fit.rig, every_code, every_pose, fit.focal, weights)
            every_pose = smoothing_step(every_pose, matrix, vector, usable, cuts, steadiness, settings.smoothing)
        normals = PointNormals.of(seen[known], every_pose[known], fit.focal)
        every_code[known] = solve_codes(normals, fit.rig, _code_weights(fit.scene), _CODE_RIDGE)
    return usable, every_pose, torch.from_numpy(bridged(every_code.numpy(), usable, cuts))


def _solve_apart(fit: _Fit, seen: Tensor) -> tuple[Poses, Tensor]:
    """Poses and codes of frames [T,V,2], each for itself."""
    codes = seen.new_zeros(len(seen), fit.rig.basis.shape[2])
    poses = starting_poses(seen, fit.focal, fit.scene.face_width)
    poses = refine_poses(seen, fit.rig, codes, poses, fit.focal, fit.scene.bone, 5)
    for _ in range(3):
        normals = PointNormals.of(seen, poses, fit.focal)
        codes = solve_codes(normals, fit.rig, _code_weights(fit.scene), _CODE_RIDGE)
        poses = refine_poses(seen, fit.rig, codes, poses, fit.focal, fit.scene.bone + _EVERYWHERE, 2)
    return poses, codes


def _scattered(poses: Poses, codes: Tensor, found: np.ndarray) -> tuple[Poses, Tensor]:
    """Rows of found frames at their own places among all frames."""
    rows = torch.from_numpy(np.flatnonzero(found))
    rotation = torch.eye(3, dtype=codes.dtype).repeat(len(found), 1, 1)
    translation = codes.new_zeros(len(found), 3)
    translation[:, 2] = poses.translation[:, 2].median()
    every = codes.new_zeros(len(found), codes.shape[1])
    rotation[rows], translation[rows], every[rows] = poses.rotation, poses.translation, codes
    return Poses(rotation, translation), every


def _residuals(fit: _Fit, seen: Tensor, poses: Poses, codes: Tensor, found: np.ndarray) -> np.ndarray:
    """[T] root mean square reprojection error, u; infinite where no face was found."""
    errors = _frame_errors(reprojection(seen, fit.rig, codes, poses, fit.focal)).numpy()
    return np.where(found, errors, np.inf)


def _frame_errors(residuals: Tensor) -> Tensor:
    return residuals.square().sum(-1).mean(-1).sqrt()


def _jumps(translation: np.ndarray, usable: np.ndarray, cuts: tuple[int, ...], reach: int = 3) -> np.ndarray:
    """[T] frames whose head is suddenly elsewhere in the picture: another face was taken for this one."""
    jumps = np.zeros(len(usable), bool)
    for shot in shots(len(usable), cuts):
        rows = np.arange(shot.start, shot.stop)[usable[shot]]
        for at, row in enumerate(rows):
            near = translation[rows[max(0, at - reach) : at + reach + 1], :2]
            jumps[row] = np.linalg.norm(translation[row, :2] - np.median(near, axis=0)) > _JUMP_U
    return jumps


def _canonicalised(rig: Rig, codes: Tensor, training: np.ndarray) -> tuple[Rig, Tensor]:
    """Unit variance and zero mean over the training frames, ordered by energy, every component opening the mouth."""
    rows = torch.from_numpy(training)
    white_rig, white = whitened(rig, codes[rows])
    # the same affine map for all frames: solved on the training rows, where it is exact
    centre = codes[rows].mean(0)
    change = torch.linalg.lstsq(codes[rows] - centre, white).solution
    upper, lower = zip(*APERTURE_PAIRS, strict=True)
    opening = (white_rig.basis[list(upper), 1] - white_rig.basis[list(lower), 1]).sum(0)
    signs = torch.where(opening < 0, -1.0, 1.0).to(codes.dtype)
    return Rig(white_rig.neutral, white_rig.basis * signs), (codes - centre) @ change * signs


def _confidence(
    residual: np.ndarray, usable: np.ndarray, training: np.ndarray, cuts: tuple[int, ...], longest_bridge: int
) -> np.ndarray:
    """[T] 1 for a frame that fits as most do, falling with the square of its residual beyond 2.5 times the median."""
    typical = np.median(residual[usable & training])
    confidence = np.minimum(1.0, (2.5 * typical / np.maximum(residual, typical)) ** 2)
    bridge = ~usable & (gap_lengths(usable, cuts) <= longest_bridge)
    return np.where(usable, confidence, np.where(bridge, BRIDGED_CONFIDENCE, 0.0))


def _eyes(
    fit: _Fit,
    landmarks: Tensor,
    poses: Poses,
    usable: np.ndarray,
    training: np.ndarray,
    cuts: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Blink [T,2] and gaze [T,4] of all frames."""
    # the mean face's depths: how lids move in depth is the least certain part of the rig
    depth = (fit.rig.neutral @ poses.rotation[:, 2, :, None])[..., 0] + poses.translation[:, 2:]
    right, left = depth[:, [33, 133]].mean(1, keepdim=True), depth[:, [362, 263]].mean(1, keepdim=True)
    depth = torch.cat([depth, right.expand(-1, 5), left.expand(-1, 5)], 1)
    points = frontal((landmarks / fit.focal).numpy(), depth.numpy(), poses.rotation.numpy(), poses.translation.numpy())
    say = usable & training
    points[~usable] = points[say].mean(0)  # any finite face: these rows are bridged below
    return bridged(blink_of(points, say), usable, cuts), bridged(gaze_of(points, say), usable, cuts)


def _arkit_map(scores: np.ndarray, codes: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Ridge regression [53,K]: expression = [52 scores, 1] @ map; the constant is not penalised."""
    rows = training & np.isfinite(scores).all(1)
    inputs = np.concatenate([scores[rows], np.ones((rows.sum(), 1))], 1).astype(np.float64)
    ridge = np.diag([1e-2 * rows.sum()] * 52 + [1e-9])
    return np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ codes[rows])
