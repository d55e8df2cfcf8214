# SPDX-License-Identifier: Apache-2.0
"""Damaged frames: every other frame keeps its own pose, whatever happens to some, and each damage has its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.data_prep._trust import confidence_of, strangers
from avatar3d.data_prep.synthetic.sighting import SIZE, Sighting, sighting, without
from avatar3d.data_prep.track import TrackSettings, track, track_quality
from avatar3d.face.canonical import CanonicalFace, load_canonical
from avatar3d.face.rig import rig_vertices
from avatar3d.geometry import quat_multiply, rotvec_from_quat
from avatar3d.records import FAULTS, Landmarks, Track, held_out_start

FRAMES = 200
SETTINGS = TrackSettings(components=12, focal_ratio=1200 / SIZE)

Damage = Callable[[Landmarks, np.ndarray, np.random.Generator], Landmarks]


@pytest.fixture(scope="module")
def face(face_task: Path) -> CanonicalFace:
    return load_canonical(face_task)


@pytest.fixture(scope="module")
def person(face: CanonicalFace) -> Sighting:
    return sighting(face, frames=FRAMES, seed=3)


@pytest.fixture(scope="module")
def other(face: CanonicalFace) -> Sighting:
    return sighting(face, frames=FRAMES, seed=7)


@pytest.fixture(scope="module")
def whole(person: Sighting, face: CanonicalFace) -> Track:
    return track(person.capture, person.landmarks, face, SETTINGS)


def moved(seen: Landmarks, rows: np.ndarray, points: np.ndarray) -> Landmarks:
    """The same landmarks but for some frames."""
    every = seen.points.copy()
    every[rows, :, :2] = points
    return replace(seen, points=every)


def dropped(seen: Landmarks, rows: np.ndarray, rng: np.random.Generator) -> Landmarks:
    return without(seen, rows.tolist())


def repeated(seen: Landmarks, rows: np.ndarray, rng: np.random.Generator) -> Landmarks:
    return moved(seen, rows, seen.points[rows[0] - 1, :, :2])


def scattered(seen: Landmarks, rows: np.ndarray, rng: np.random.Generator) -> Landmarks:
    return moved(seen, rows, rng.uniform(0, SIZE, (len(rows), 478, 2)))


def undefined(seen: Landmarks, rows: np.ndarray, rng: np.random.Generator) -> Landmarks:
    return moved(seen, rows, np.nan)


def blurred(seen: Landmarks, rows: np.ndarray, rng: np.random.Generator) -> Landmarks:
    return moved(seen, rows, seen.points[rows, :, :2] + rng.normal(0, 3.5, (len(rows), 478, 2)))


def covered(seen: Landmarks, rows: np.ndarray, rng: np.random.Generator) -> Landmarks:
    """A hand comes over the mouth: a third of the landmarks goes with it, smoothly."""
    points = seen.points[rows, :, :2].astype(float)
    apart = np.linalg.norm(points - points[:, [14]].mean(0), axis=-1)
    near = np.clip(1.5 - apart / np.quantile(apart, 1 / 3), 0, 1)[..., None]
    angle = rng.uniform(0, 2 * np.pi)
    push = rng.uniform(25, 40) * np.sin(np.linspace(0.3, np.pi - 0.3, len(rows)))[:, None, None]
    return moved(seen, rows, points + near * push * (np.cos(angle), np.sin(angle)))


def turns_apart(first: Track, second: Track) -> np.ndarray:
    """[T] deg between the heads of two tracks."""
    a, b = (torch.from_numpy(each.motion.head[:, :4]).double() for each in (first, second))
    turn = rotvec_from_quat(quat_multiply(a, b * b.new_tensor([1.0, -1.0, -1.0, -1.0])))
    return np.rad2deg(turn.norm(dim=1).numpy())


def opening(solved: Track) -> np.ndarray:
    vertices = rig_vertices(solved.neutral, solved.basis, solved.motion.expression)
    return np.linalg.norm(vertices[:, 13] - vertices[:, 14], axis=-1)


def assert_others_stay(again: Track, whole: Track, rows: np.ndarray, turn_deg: float = 0.25) -> None:
    others = np.setdiff1d(np.arange(FRAMES), rows)
    for values in (again.motion.head, again.motion.expression, again.motion.blink, again.motion.gaze):
        assert len(values) == FRAMES and np.isfinite(values).all()
    assert turns_apart(again, whole)[others].max() < turn_deg
    mouths = opening(again)[others], opening(whole)[others]
    assert np.abs(mouths[0] - mouths[1]).max() < 0.03
    # a row that had slipped by one would show: the mouth moves more than this from frame to frame
    assert np.abs(np.diff(mouths[1])).max() > 0.04
    assert (again.confidence[others] > 0.5).all()


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (dropped, "no face found"),
        (repeated, "picture repeated"),
        (scattered, "another face"),
        (undefined, "no face found"),
        (blurred, "blurred"),
    ],
)
def test_every_other_frame_keeps_its_pose(
    damage: Damage, fault: str, count: int, person: Sighting, whole: Track, face: CanonicalFace
) -> None:
    rng = np.random.default_rng([count, FAULTS.index(fault)])
    start = int(rng.integers(1, held_out_start(FRAMES) - count))
    rows = np.arange(start, start + count)
    again = track(person.capture, damage(person.landmarks, rows, rng), face, SETTINGS)
    assert_others_stay(again, whole, rows)
    assert (again.confidence[rows] < 0.2).all()
    assert (again.confidence[rows] == 0).all() == (count > SETTINGS.longest_bridge)
    reasons = {bad["frame"]: bad["reason"] for bad in track_quality(again)["bad_frames"]}
    assert set(reasons) == set(rows.tolist())
    assert all(reason.startswith(fault) for reason in reasons.values())
    if count == 1:
        assert turns_apart(again, whole)[rows].max() < 1.0


@pytest.mark.parametrize(("count", "scale", "shift"), [(1, 1.0, 0.0), (8, 1.0, 0.0), (8, 0.7, 200.0), (20, 0.7, 200.0)])
def test_somebody_else_is_not_followed(
    count: int, scale: float, shift: float, person: Sighting, other: Sighting, whole: Track, face: CanonicalFace
) -> None:
    rows = np.arange(60, 60 + count)
    theirs = other.landmarks.points[rows, :, :2] * scale + (shift, 0.0)
    again = track(person.capture, moved(person.landmarks, rows, theirs), face, SETTINGS)
    assert_others_stay(again, whole, rows)
    assert (again.confidence[rows] < 0.2).all()
    reasons = {bad["reason"] for bad in track_quality(again)["bad_frames"]}
    assert all(reason.startswith("another face") for reason in reasons)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_hand_over_the_mouth_does_not_turn_the_head(
    seed: int, person: Sighting, whole: Track, face: CanonicalFace
) -> None:
    rows = np.arange(held_out_start(FRAMES) + 2, FRAMES - 2)
    rng = np.random.default_rng(seed)
    again = track(person.capture, covered(person.landmarks, rows, rng), face, SETTINGS)
    assert_others_stay(again, whole, rows, 0.5)  # the hand is there in a frame's neighbours, less and less
    assert turns_apart(again, whole)[rows].max() < 4.0
    assert again.confidence[rows].min() < 0.2
    reasons = [bad["reason"] for bad in track_quality(again)["bad_frames"]]
    assert sum(reason.startswith("face covered") for reason in reasons) > len(reasons) / 2


def test_a_video_of_few_frames_a_second_repeats_pictures_without_fault(person: Sighting, face: CanonicalFace) -> None:
    every_third = np.arange(2, FRAMES, 3)
    points = person.landmarks.points.copy()
    points[every_third] = points[every_third - 1]
    solved = track(person.capture, replace(person.landmarks, points=points), face, SETTINGS)
    assert (solved.confidence == 1).all()


def test_leaps_part_one_person_from_another() -> None:
    place = np.zeros((100, 2))
    place[20:26] = 3.0
    place[70:, 0] = 2.0
    usable = np.ones(100, bool)
    usable[24] = False
    strange = strangers(place, usable, ())
    # who is elsewhere until the end stays: that was a cut
    assert np.flatnonzero(strange).tolist() == [20, 21, 22, 23, 25]
    assert not strangers(place, usable, (20, 26, 70)).any()


def test_confidence_says_how_far_landmarks_lie() -> None:
    error = np.array([1.0, 1.0, 1.0, 2.5, 3.5355, 5.0, 80.0])
    usable = error < 50
    confidence = confidence_of(error, usable, np.arange(7) < 3, (), 5)
    assert np.allclose(confidence, [1, 1, 1, 1, 0.5, 0.25, 0.0], atol=1e-3)
    assert confidence_of(error, np.array([1, 1, 1, 1, 0, 1, 1], bool), usable, (), 5)[4] == pytest.approx(0.1)
