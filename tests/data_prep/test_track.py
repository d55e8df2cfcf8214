# SPDX-License-Identifier: Apache-2.0
"""The tracker on a made-up person whose truth is known, and on real footage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.data_prep._eyes import blink_of
from avatar3d.data_prep.synthetic.judged import degrees, gap, rotation_errors_deg, rotation_jitter_deg, rotations
from avatar3d.data_prep.synthetic.sighting import BLINK_EVERY, Sighting, sighting, without
from avatar3d.data_prep.track import TrackSettings, picture_of, track, track_quality
from avatar3d.errors import InputError
from avatar3d.face.canonical import CanonicalFace, load_canonical
from avatar3d.face.rig import rig_vertices
from avatar3d.records import Landmarks, Progress, Track, held_out_start

KNOWN_FOCAL = TrackSettings(focal_ratio=1200 / 512)


@pytest.fixture(scope="module")
def face(face_task: Path) -> CanonicalFace:
    return load_canonical(face_task)


@pytest.fixture(scope="module")
def person(face: CanonicalFace) -> Sighting:
    return sighting(face)


@pytest.fixture(scope="module")
def solved(person: Sighting, face: CanonicalFace) -> Track:
    return track(person.capture, person.landmarks, face)


@pytest.fixture(scope="module")
def solved_with_known_focal(person: Sighting, face: CanonicalFace) -> Track:
    return track(person.capture, person.landmarks, face, KNOWN_FOCAL)


def vertices_of(solved: Track) -> np.ndarray:
    return rig_vertices(solved.neutral, solved.basis, solved.motion.expression)


def apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angles [T] in degrees between the rotations of poses [T,7]."""
    return degrees(rotations(first) @ rotations(second).transpose(1, 2))


def test_focal_length_is_found_when_the_head_turns(solved: Track, person: Sighting) -> None:
    assert solved.focal_observable
    assert abs(float(solved.camera.K[0, 0]) / person.focal_px - 1) < 0.10


@pytest.mark.parametrize("yaw_deg", [3.0, 6.0])
def test_focal_length_is_called_unknown_when_it_does_not_show(face: CanonicalFace, yaw_deg: float) -> None:
    still = sighting(face, frames=150, yaw_deg=yaw_deg)
    solved = track(still.capture, still.landmarks, face, TrackSettings(components=8))
    assert not solved.focal_observable
    assert float(solved.camera.K[0, 0]) == pytest.approx(2.2 * 512)


def test_pose_is_right_and_steady(solved: Track, person: Sighting) -> None:
    assert rotation_errors_deg(solved.motion.head, person.head).mean() < 1.0
    assert rotation_jitter_deg(solved.motion.head, person.head).mean() < 0.12


def test_smoothing_takes_jitter_out(solved_with_known_focal: Track, person: Sighting, face: CanonicalFace) -> None:
    settings = TrackSettings(focal_ratio=KNOWN_FOCAL.focal_ratio, smoothing=1e-6)
    raw = track(person.capture, person.landmarks, face, settings)
    steady, shaken = (rotation_jitter_deg(each.motion.head, person.head) for each in (solved_with_known_focal, raw))
    assert steady.mean() < 0.8 * shaken.mean()


def test_mouth_opens_as_it_did(solved: Track, person: Sighting) -> None:
    found, true = gap(vertices_of(solved), 13, 14), gap(person.vertices, 13, 14)
    assert np.corrcoef(found, true)[0, 1] > 0.995
    assert 0.95 < found.std() / true.std() < 1.05


def test_the_first_component_opens_the_mouth(solved: Track, person: Sighting) -> None:
    assert np.corrcoef(solved.motion.expression[:, 0], gap(person.vertices, 13, 14))[0, 1] > 0.9


def test_lids_close_as_they_did(solved: Track, person: Sighting) -> None:
    found, true = gap(vertices_of(solved), 159, 145), gap(person.vertices, 159, 145)
    assert np.corrcoef(found, true)[0, 1] > 0.85
    assert_blinks(solved, person)


@pytest.mark.parametrize("seed", [2, 5])
def test_blinks_of_other_people_are_found(face: CanonicalFace, seed: int) -> None:
    person = sighting(face, seed=seed)
    assert_blinks(track(person.capture, person.landmarks, face, KNOWN_FOCAL), person)


def assert_blinks(solved: Track, person: Sighting) -> None:
    blink, closed = solved.motion.blink, person.blink > 0.9
    assert blink.min() >= 0 and blink.max() <= 1
    assert closed.sum() >= (len(closed) - 40) // BLINK_EVERY
    for eye in blink.T:
        assert np.corrcoef(eye, person.blink)[0, 1] > 0.95
        assert eye[closed].min() > 0.85
        assert np.median(eye[person.blink == 0]) < 0.1


def test_eyes_that_never_close_are_not_blinking() -> None:
    """Nothing to learn a blink from: lids that move a little are open lids."""
    gaps = 0.1 + 0.004 * np.random.default_rng(0).standard_normal((200, 2, 7))
    blink = blink_of(gaps, np.ones(200, bool))
    assert np.isfinite(blink).all() and blink.max() < 0.3


def test_a_mouth_moves_in_the_picture_plane_when_depth_does_not_show(face: CanonicalFace) -> None:
    still = sighting(face, yaw_deg=3.0)
    solved = track(still.capture, still.landmarks, face, KNOWN_FOCAL)
    assert np.corrcoef(gap(vertices_of(solved), 13, 14), gap(still.vertices, 13, 14))[0, 1] > 0.98


def test_expression_is_normalised_over_the_training_frames(solved: Track) -> None:
    codes = solved.motion.expression[: solved.fitted_frames].astype(np.float64)
    assert np.abs(codes.mean(0)).max() < 1e-4
    assert np.allclose(codes.T @ codes / len(codes), np.eye(codes.shape[1]), atol=1e-3)
    energy = np.square(solved.basis).sum((0, 1))
    assert (np.diff(energy) <= 0).all()


def test_the_rig_lands_on_the_landmarks(solved: Track, person: Sighting) -> None:
    seen = person.landmarks.points[:, :468, :2]
    rms = np.sqrt(np.square(picture_of(solved) - seen).sum(-1).mean())
    assert rms < 1.05  # the noise alone is sqrt(2 * 0.5) = 1 px
    quality = track_quality(solved)
    assert quality["landmark_rms_px_held_out"] < 1.15
    assert quality["bad_frames"] == []


def test_held_out_frames_shape_nothing(person: Sighting, solved_with_known_focal: Track, face: CanonicalFace) -> None:
    start = held_out_start(len(person.head))
    points = person.landmarks.points.copy()
    points[start:] *= 1.02
    points[start:, 13] += 5.0
    other = Landmarks(points, person.landmarks.scores, person.landmarks.found)
    again = track(person.capture, other, face, KNOWN_FOCAL)
    first = solved_with_known_focal
    assert np.array_equal(first.neutral, again.neutral)
    assert np.array_equal(first.basis, again.basis)
    assert np.array_equal(first.arkit_map, again.arkit_map)
    assert np.array_equal(first.motion.head[:start], again.motion.head[:start])
    assert not np.array_equal(first.motion.head[start:], again.motion.head[start:])


@pytest.mark.parametrize("lost", [0, 77, 150, 299])
def test_a_lost_frame_moves_no_other(
    lost: int, person: Sighting, solved_with_known_focal: Track, face: CanonicalFace
) -> None:
    again = track(person.capture, without(person.landmarks, [lost]), face, KNOWN_FOCAL)
    others = np.arange(len(person.head)) != lost
    assert apart(again.motion.head, solved_with_known_focal.motion.head)[others].max() < 0.25
    mouths = [gap(vertices_of(each), 13, 14)[others] for each in (again, solved_with_known_focal)]
    assert np.abs(mouths[0] - mouths[1]).max() < 0.02
    # a shift by one frame would show: heads and mouths move more than that
    assert np.abs(np.diff(mouths[1])).max() > 0.02
    assert again.confidence[lost] < 0.2


def test_gaps_are_bridged_or_left_out(person: Sighting, face: CanonicalFace) -> None:
    lost = without(without(person.landmarks, slice(60, 64)), slice(120, 150))
    solved = track(person.capture, lost, face, KNOWN_FOCAL)
    motion = solved.motion
    for rows in (motion.expression, motion.blink, motion.gaze, motion.head, solved.confidence):
        assert np.isfinite(rows).all() and len(rows) == 300
    assert (solved.confidence[60:64] > 0).all() and (solved.confidence[60:64] < 0.2).all()
    assert (solved.confidence[120:150] == 0).all()
    assert (solved.confidence[:60] > 0.2).all()
    offset = rotations(person.head[55:56]).transpose(1, 2) @ rotations(motion.head[55:56])
    bridge = rotations(person.head[60:64]).transpose(1, 2) @ rotations(motion.head[60:64])
    assert degrees(bridge @ offset.transpose(1, 2)).max() < 1.5
    reasons = {row["frame"]: row["reason"] for row in track_quality(solved)["bad_frames"]}
    assert reasons[61] == "no face found, bridged" and reasons[130] == "no face found"


def test_another_face_is_not_followed(person: Sighting, face: CanonicalFace) -> None:
    points = person.landmarks.points.copy()
    points[100:102] += (260.0, -80.0, 0.0)
    solved = track(
        person.capture, Landmarks(points, person.landmarks.scores, person.landmarks.found), face, KNOWN_FOCAL
    )
    assert (solved.confidence[100:102] < 0.2).all()
    assert np.linalg.norm(solved.motion.head[100, 4:] - solved.motion.head[97, 4:]) < 0.3


def test_nothing_is_smoothed_across_a_cut(face: CanonicalFace) -> None:
    cuts = (80, 160)
    person = sighting(face, frames=240, cuts=cuts)
    solved = track(person.capture, person.landmarks, face, KNOWN_FOCAL)
    steps = np.diff(person.head[:, 4], axis=0), np.diff(solved.motion.head[:, 4], axis=0)
    for cut in cuts:
        assert abs(steps[1][cut - 1] - steps[0][cut - 1]) < 0.1 * abs(steps[0][cut - 1])
    quality = track_quality(solved, cuts)
    assert quality["jitter_pct_iod"] < 0.5 * track_quality(solved)["jitter_pct_iod"]


def test_scores_drive_the_rig(solved: Track, person: Sighting) -> None:
    scores = np.concatenate([person.landmarks.scores, np.ones((300, 1), np.float32)], 1)
    driven = scores @ solved.arkit_map
    assert driven.shape == solved.motion.expression.shape
    vertices = rig_vertices(solved.neutral, solved.basis, driven)
    assert np.corrcoef(gap(vertices, 13, 14), gap(person.vertices, 13, 14))[0, 1] > 0.95


def test_too_few_faces_are_refused(person: Sighting, face: CanonicalFace) -> None:
    with pytest.raises(InputError, match="only 40 frames"):
        track(person.capture, without(person.landmarks, slice(40, None)), face)
    with pytest.raises(InputError, match="no frame"):
        track(person.capture, without(person.landmarks, slice(None)), face)


def test_threads_are_left_as_they_were(person: Sighting, face: CanonicalFace) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    messages: list[Progress] = []
    try:
        track(person.capture, person.landmarks, face, TrackSettings(focal_ratio=2.2, components=4), messages.append)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert [message.done for message in messages] == sorted(message.done for message in messages)
    assert messages[-1].done == 1.0


@pytest.mark.footage
def test_a_real_head_is_tracked(captures: Path, face_task: Path, face: CanonicalFace) -> None:
    pytest.importorskip("mediapipe")
    from avatar3d import media
    from avatar3d.data_prep.landmarks import detect
    from avatar3d.records import Capture

    frames = np.stack(list(media.frames(captures / "hill_wda_8s_512.mp4")))
    seen = detect(frames, face_task)
    solved = track(Capture(frames, None, 25.0, (), "footage"), seen, face)
    quality = track_quality(solved)
    assert quality["found"] == len(frames)
    assert quality["landmark_rms_px"] < 0.6
    assert quality["landmark_rms_px_held_out"] < 1.0
    assert quality["jitter_pct_iod"] < 0.9 * quality["jitter_pct_iod_seen"]
    assert quality["yaw_deg"][0] < -12 and quality["yaw_deg"][1] > 10
    blink_scores = seen.scores[:, [10, 9]]  # MediaPipe puts the left eye first
    for eye in range(2):
        assert np.corrcoef(solved.motion.blink[:, eye], blink_scores[:, eye])[0, 1] > 0.9
