# SPDX-License-Identifier: Apache-2.0
"""Landmarks to a personal rig and its motion: focal length, head pose, mean face, a linear basis of expressions.

No face model is needed: the person's own minutes say how that face moves. Everything is solved in closed form by turns
(`_solver`), so a minute of video takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avatar3d.data_prep._eyes import blink_of, frontal, lid_gaps, raw_gaze
from avatar3d.data_prep._focal import USUAL, Scene, find_focal
from avatar3d.data_prep._frames import Posed, pose_frames, residuals
from avatar3d.data_prep._known import checked, in_head_space
from avatar3d.data_prep._morphable import fit_model, named_map, principal
from avatar3d.data_prep._rig_fit import Fit, agreeing, code_weights, fit_rig
from avatar3d.data_prep._sight import Sight, spread
from avatar3d.data_prep._smooth import bridged
from avatar3d.data_prep._solver import Poses, Rig, similarity, whitened
from avatar3d.data_prep._trust import confidence_of
from avatar3d.data_prep.quality import picture_of, track_quality
from avatar3d.errors import InputError
from avatar3d.face.arkit import SCORES
from avatar3d.face.canonical import CanonicalFace
from avatar3d.face.correspond import at_landmarks
from avatar3d.face.groups import APERTURE_PAIRS
from avatar3d.face.rigid import rigid_weights
from avatar3d.geometry import intrinsics, quat_from_matrix
from avatar3d.records import (
    Camera,
    Capture,
    FaceModel,
    KnownPoses,
    Landmarks,
    Motion,
    Progress,
    Track,
    Watch,
    held_out_start,
    unwatched,
)
from avatar3d.threads import torch_threads

__all__ = ["TRACK_VERSION", "TrackSettings", "picture_of", "track", "track_quality"]

# a tenth of it lets scores that hardly vary in the capture move lips by 25 mm; ten times as much halves the opening
_ARKIT_RIDGE = 1e-3
TRACK_VERSION = 2  # of what a track holds: one of another version is made again
_FEWEST_FRAMES = 50
_KNOWN_FRAMES = 300  # that say how another tool's head space lies in ours


@dataclass(frozen=True)
class TrackSettings:
    """Settings of the tracker."""

    components: int = 16  # size of the expression basis
    focal_ratio: float | None = None  # focal length / picture width where it is known; None: measured
    fit_frames: int = 1500  # at most so many frames, spread evenly, shape the rig; poses are solved for all
    longest_bridge: int = 5  # frames without a face that are bridged; longer gaps get confidence 0
    smoothing: float = 3.0  # strength of the prior on accelerations over the measured one; 3: the steadiest skin by eye


def track(
    capture: Capture,
    landmarks: Landmarks,
    face: CanonicalFace,
    settings: TrackSettings = TrackSettings(),
    watch: Watch = unwatched,
    known: KnownPoses | None = None,
    model: FaceModel | None = None,
) -> Track:
    """Solves a capture's landmarks for the person's rig and motion.

    Focal length, mean face, basis and ARKit map come from frames [0, held_out_start(T)) alone; the later ones get pose
    and expression with the rig frozen. The neutral is the mean face of those training frames, in canonical head space
    (similarity-aligned to the canonical face on bone, which sets the scale); expression has zero mean and unit variance
    over them, components ordered by energy, each with the sign that opens the mouth.

    Frames without a usable face are bridged where the gap is short (low confidence) and get confidence 0 where it is
    long; their pose stays finite, and no row ever shifts. Nothing is smoothed across a cut.

    Args:
        known: a camera and poses of another tool. They are taken as they are: only their head space is exchanged for
            ours (the camera's space is scaled with it, so that every point stays where it is in the picture). Frames
            without a pose are bridged or left out.
        model: a face model in place of the personal basis: identity is solved once, expression frame by frame within
            the model's bounds. The track holds the leading components of that motion, as it does of a personal one.

    Raises:
        InputError: too few frames show a face, or the known poses do not fit the pictures.
    """
    with torch_threads(1), torch.no_grad():
        return _track(capture, landmarks, face, settings, watch, known, model)


def _track(
    capture: Capture,
    landmarks: Landmarks,
    face: CanonicalFace,
    settings: TrackSettings,
    watch: Watch,
    known: KnownPoses | None,
    model: FaceModel | None,
) -> Track:
    frames = len(landmarks.points)
    training = np.arange(frames) < held_out_start(frames)
    # the held-out part is a shot of its own, so that nothing of it reaches a training frame
    cuts = (*capture.cuts, held_out_start(frames))
    watch(Progress("track", 0.0, "focal length"))
    view = _look(capture, landmarks, face, settings, training, known)
    note = f"focal length {float(view.K[0, 0]) / capture.frames.shape[2]:.2f} picture widths"
    watch(Progress("track", 0.2, note + ("" if view.observable else " (assumed)")))
    chosen = view.chosen
    given = view.given and view.given[0][torch.from_numpy(chosen)]
    fit = _fitted(view, view.sight.face()[chosen], given, settings, face, model)
    watch(Progress("track", 0.6, "poses"))
    posed = pose_frames(fit, view.sight.face(), training, cuts, settings.smoothing, view.given)
    watch(Progress("track", 0.9, "eyes"))
    say = posed.usable & training
    rig, poses, codes, named = _settled(fit, posed, say, settings, model)
    fit = replace(fit, rig=rig)
    residual = residuals(fit, view.sight.face(), poses, codes, view.sight.found)
    confidence = confidence_of(residual, posed.usable, training, cuts, settings.longest_bridge)
    blink, gaze = _eyes(fit, view.sight, poses, posed.usable, training, cuts)
    motion = Motion(
        expression=codes.numpy().astype(np.float32),
        blink=blink.astype(np.float32),
        gaze=gaze.astype(np.float32),
        head=torch.cat([quat_from_matrix(poses.rotation), poses.translation], 1).numpy().astype(np.float32),
        fps=capture.fps,
    )
    watch(Progress("track", 1.0))
    height, width = capture.frames.shape[1:3]
    return Track(
        camera=Camera(view.K, torch.eye(4), width, height),
        neutral=rig.neutral.numpy().astype(np.float32),
        basis=rig.basis.numpy().astype(np.float32),
        motion=motion,
        landmarks=landmarks,
        confidence=confidence.astype(np.float32),
        fitted_frames=held_out_start(frames),
        focal_observable=view.observable,
        arkit_map=_arkit_map(landmarks.scores, codes.numpy(), say, named).astype(np.float32),
        face_model="personal" if model is None else model.name,
        fault=posed.fault,
    )


@dataclass(frozen=True)
class _View:
    """The camera, and what it saw."""

    sight: Sight
    scene: Scene
    chosen: np.ndarray  # rows that shape the rig
    K: Tensor  # [3,3] px
    observable: bool  # the focal length was measured, or is known
    given: tuple[Poses, np.ndarray] | None  # known poses in our head space, and the frames [T] that have one

    @property
    def focal(self) -> float:
        """u of the picture."""
        return float(self.K[0, 0]) / self.sight.px_per_u[0]


def _look(
    capture: Capture,
    landmarks: Landmarks,
    face: CanonicalFace,
    settings: TrackSettings,
    training: np.ndarray,
    known: KnownPoses | None,
) -> _View:
    height, width = capture.frames.shape[1:3]
    sight = Sight.of(landmarks, training, face, (width / 2, height / 2))
    canonical, bone = torch.from_numpy(face.vertices).double(), torch.from_numpy(rigid_weights(face))
    scene = Scene(canonical, bone, width / sight.px_per_u[0])
    if known is not None:
        theirs, there = checked(known, len(sight))
        chosen = _chosen(sight.found & training & there, settings)
        sight = sight.through(known.K)
        focal = float(known.K[0, 0]) / sight.px_per_u[0]
        some = spread(chosen, _KNOWN_FRAMES)
        to_ours = in_head_space(scene, sight.face()[some], theirs[torch.from_numpy(some)], focal)
        return _View(sight, scene, chosen, known.K.float(), True, (to_ours.of_poses(theirs), there))
    chosen = _chosen(sight.found & training, settings)
    usual = (settings.focal_ratio or USUAL) * scene.width
    chosen = chosen[agreeing(scene, sight.face()[chosen], usual, settings.components).numpy()]
    ratio, observable = settings.focal_ratio, True
    if ratio is None:
        ratio, observable = find_focal(scene, sight.face()[chosen])
    return _View(sight, scene, chosen, intrinsics(ratio * width, width, height), observable, None)


def _chosen(usable: np.ndarray, settings: TrackSettings) -> np.ndarray:
    chosen = spread(np.flatnonzero(usable), settings.fit_frames)
    if len(chosen) < max(_FEWEST_FRAMES, 3 * settings.components):
        raise InputError(
            f"only {len(chosen)} frames of the capture show a face", "film for longer with the face in the picture"
        )
    return chosen


def _fitted(
    view: _View,
    seen: Tensor,
    given: Poses | None,
    settings: TrackSettings,
    face: CanonicalFace,
    model: FaceModel | None,
) -> Fit:
    if model is None:
        rig = fit_rig(view.scene, seen, view.focal, settings.components, given)
        return Fit(view.scene, rig, view.focal, code_weights(view.scene))
    person = fit_model(view.scene, seen, view.focal, at_landmarks(model, face), given)
    return Fit(view.scene, person.rig, view.focal, person.weights, person.prior)


def _settled(
    fit: Fit, posed: Posed, say: np.ndarray, settings: TrackSettings, model: FaceModel | None
) -> tuple[Rig, Poses, Tensor, np.ndarray]:
    """Rig, poses and codes as a track holds them, and what ARKit's names mean to them [53,K] before it was measured."""
    if model is None:
        rig, codes = _canonicalised(fit.rig, posed.codes, say)
        return rig, posed.poses, codes, np.zeros((len(SCORES) + 1, codes.shape[1]))
    to_ours = similarity(fit.rig.neutral, fit.scene.canonical, fit.scene.bone)
    whole = Rig(to_ours(fit.rig.neutral), to_ours.of_fields(fit.rig.basis))
    rig, codes = _canonicalised(*principal(whole, posed.codes, torch.from_numpy(say), settings.components), say)
    return rig, to_ours.of_poses(posed.poses), codes, named_map(model, whole, rig).numpy()


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


def _eyes(
    fit: Fit, sight: Sight, poses: Poses, usable: np.ndarray, training: np.ndarray, cuts: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Blink [T,2] and gaze [T,4] of all frames."""
    gaps, gaze = np.zeros((len(sight), 2, 7)), np.zeros((len(sight), 4))
    for rows in sight.blocks():
        pose, seen = poses[rows], sight[rows]
        # the mean face's depths: how lids move in depth is the least certain part of the rig
        depth = (fit.rig.neutral @ pose.rotation[:, 2, :, None])[..., 0] + pose.translation[:, 2:]
        right, left = depth[:, [33, 133]].mean(1, keepdim=True), depth[:, [362, 263]].mean(1, keepdim=True)
        depth = torch.cat([depth, right.expand(-1, 5), left.expand(-1, 5)], 1)
        points = frontal((seen / fit.focal).numpy(), depth.numpy(), pose.rotation.numpy(), pose.translation.numpy())
        gaps[rows], gaze[rows] = lid_gaps(points), raw_gaze(points)
    say = usable & training
    return bridged(blink_of(gaps, say), usable, cuts), bridged(gaze - np.median(gaze[say], axis=0), usable, cuts)


def _arkit_map(scores: np.ndarray, codes: np.ndarray, training: np.ndarray, named: np.ndarray) -> np.ndarray:
    """Ridge regression [53,K] towards `named`: expression = [52 scores, 1] @ map; the constant is not penalised."""
    rows = training & np.isfinite(scores).all(1)
    inputs = np.concatenate([scores[rows], np.ones((rows.sum(), 1))], 1).astype(np.float64)
    ridge = np.diag([_ARKIT_RIDGE * rows.sum()] * 52 + [1e-9])
    return named + np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ (codes[rows] - inputs @ named))
