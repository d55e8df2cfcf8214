# SPDX-License-Identifier: Apache-2.0
"""The tracker with a camera and poses that another tool measured, in a head space of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.data_prep._focal import Scene
from avatar3d.data_prep._known import in_head_space
from avatar3d.data_prep._sight import Sight
from avatar3d.data_prep._solver import Poses
from avatar3d.data_prep.synthetic.sighting import SIZE, Sighting, sighting
from avatar3d.data_prep.track import TrackSettings, track, track_quality
from avatar3d.errors import InputError
from avatar3d.face.canonical import CanonicalFace, load_canonical
from avatar3d.face.rigid import rigid_weights
from avatar3d.geometry import apply_pose, intrinsics, invert, matrix_from_quat, project, quat_from_rotvec, quat_multiply
from avatar3d.records import KnownPoses, Landmarks, Track

FEW = TrackSettings(components=8)


@pytest.fixture(scope="module")
def face(face_task: Path) -> CanonicalFace:
    return load_canonical(face_task)


@pytest.fixture(scope="module")
def person(face: CanonicalFace) -> Sighting:
    return sighting(face, frames=150, yaw_deg=15.0)


@pytest.fixture(scope="module")
def plain(person: Sighting, face: CanonicalFace) -> Track:
    return followed(person, face, KnownPoses(camera(person), person.head))


def camera(person: Sighting) -> torch.Tensor:
    return intrinsics(person.focal_px, SIZE, SIZE).double()


def followed(person: Sighting, face: CanonicalFace, known: KnownPoses, seen: Landmarks | None = None) -> Track:
    return track(person.capture, seen or person.landmarks, face, FEW, known=known)


def elsewhere(head: np.ndarray, seed: int) -> tuple[np.ndarray, float, torch.Tensor]:
    """Poses [T,7] in another head space and unit: `scale` of theirs to ours, and our head space seen from theirs."""
    rng = np.random.default_rng(seed)
    scale = float(10 ** rng.uniform(-2, 2))
    turn = quat_from_rotvec(torch.from_numpy(rng.standard_normal(3)))
    theirs_from_ours = torch.cat([turn, torch.from_numpy(rng.uniform(-2, 2, 3))])  # in our unit
    back = invert(theirs_from_ours)
    pose = torch.from_numpy(head)
    quats = quat_multiply(pose[:, :4], back[:4].expand(len(pose), 4))
    shift = apply_pose(pose, back[None, 4:].expand(len(pose), 1, 3))[:, 0]
    return torch.cat([quats, shift / scale], 1).numpy(), scale, theirs_from_ours


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_any_head_space_gives_the_same_track(person: Sighting, face: CanonicalFace, plain: Track, seed: int) -> None:
    theirs, _, _ = elsewhere(person.head, seed)
    again = followed(person, face, KnownPoses(camera(person), theirs))
    assert np.abs(again.neutral - plain.neutral).max() < 1e-4
    turn = matrix_from_quat(torch.from_numpy(again.motion.head[:, :4]))
    assert (turn - matrix_from_quat(torch.from_numpy(plain.motion.head[:, :4]))).abs().max() < 1e-4
    assert np.abs(again.motion.head[:, 4:] - plain.motion.head[:, 4:]).max() < 1e-3
    assert (again.confidence == 1).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_point_stays_where_it_is_in_the_picture(person: Sighting, face: CanonicalFace, seed: int) -> None:
    theirs, scale, theirs_from_ours = elsewhere(person.head, seed)
    sight = Sight.of(person.landmarks, np.ones(150, bool), face, (SIZE / 2, SIZE / 2)).face()
    scene = Scene(
        torch.from_numpy(face.vertices).double(), torch.from_numpy(rigid_weights(face)), SIZE / sight.px_per_u[0]
    )
    pose = torch.from_numpy(theirs)
    poses = Poses(matrix_from_quat(pose[:, :4]), pose[:, 4:])
    to_ours = in_head_space(scene, sight[:], poses, person.focal_px / sight.px_per_u[0])
    points = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (20, 3))) / scale
    before = project(apply_pose(pose, points), camera(person))
    ours = to_ours.of_poses(poses)
    moved = to_ours(points) @ ours.rotation.transpose(1, 2) + ours.translation[:, None]
    assert (project(moved, camera(person)) - before).abs().max() < 1e-4
    assert float(to_ours.scale) == pytest.approx(scale, rel=0.05)
    # but for how the mean face lies in our space: points are rows here, so this turn takes theirs to ours
    assert torch.allclose(to_ours.turn, matrix_from_quat(theirs_from_ours[:4]), atol=0.1)


def test_known_poses_are_kept_and_explain_the_landmarks(person: Sighting, plain: Track) -> None:
    true = matrix_from_quat(torch.from_numpy(person.head[:, :4]))
    found = matrix_from_quat(torch.from_numpy(plain.motion.head[:, :4]).double())
    offsets = true.transpose(1, 2) @ found
    assert (offsets - offsets[0]).abs().max() < 1e-5
    assert track_quality(plain)["landmark_rms_px"] < 1.1
    assert plain.focal_observable


def test_the_optical_axis_need_not_meet_the_middle(person: Sighting, face: CanonicalFace, plain: Track) -> None:
    points = person.landmarks.points.copy()
    points[..., 0] += 40.0
    points[..., 1] = (points[..., 1] - SIZE / 2) * 1.25 + SIZE / 2
    K = torch.tensor([[person.focal_px, 0, SIZE / 2 + 40], [0, person.focal_px * 1.25, SIZE / 2], [0, 0, 1]])
    again = followed(person, face, KnownPoses(K, person.head), replace(person.landmarks, points=points))
    assert np.abs(again.motion.head - plain.motion.head).max() < 1e-3
    assert torch.equal(again.camera.K, K)
    assert track_quality(again)["landmark_rms_px"] < 1.25


def test_frames_without_a_pose_are_bridged_or_left_out(person: Sighting, face: CanonicalFace) -> None:
    head = person.head.copy()
    head[[0, 40, 41, *range(80, 100)]] = np.nan
    solved = followed(person, face, KnownPoses(camera(person), head))
    assert np.isfinite(solved.motion.head).all()
    assert (solved.confidence[80:100] == 0).all() and (solved.confidence[40:42] > 0).all()
    assert (solved.confidence[40:42] < 0.2).all() and solved.confidence[60] == 1


def test_poses_that_do_not_fit_are_refused(person: Sighting, face: CanonicalFace) -> None:
    head = person.head.copy()
    head[:, 4:] = np.random.default_rng(0).uniform(-3, 3, (150, 3))
    with pytest.raises(InputError, match="do not put the face"):
        followed(person, face, KnownPoses(camera(person), head))
    with pytest.raises(InputError, match="shape"):
        followed(person, face, KnownPoses(camera(person), person.head[:-1]))
    with pytest.raises(InputError, match="none of the known poses"):
        followed(person, face, KnownPoses(camera(person), np.full((150, 7), np.nan)))
    with pytest.raises(InputError, match="pinhole"):
        followed(person, face, KnownPoses(-camera(person), person.head))
