# SPDX-License-Identifier: Apache-2.0
"""Refining a motion on the made-up person, whose true motion and true head are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import MadeUp, film, make

from avatar3d.geometry import quat_multiply, rotvec_from_quat
from avatar3d.records import Motion, Progress, Track
from avatar3d.refine import POSE, moved, refine
from avatar3d.render.native import Native

FRAMES = 40
NOISE = np.array([0.006] * 3 + [0.006, 0.006, 0.02] + [0.25, 0.25] + [0.0, 0.0, 0.0, 0.0])  # rad, u, expression


@pytest.fixture(scope="module")
def filmed(face_task: Path) -> MadeUp:
    return make(face_task, FRAMES)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return NOISE * np.random.default_rng(0).normal(size=(FRAMES, len(NOISE)))


@pytest.fixture(scope="module")
def noisy(filmed: MadeUp, noise: np.ndarray) -> Track:
    return replace(filmed.track, motion=moved(filmed.track.motion, noise))


@pytest.fixture(scope="module")
def refined(filmed: MadeUp, noisy: Track) -> Motion:
    return _refined(filmed, noisy)


def _refined(filmed: MadeUp, track: Track, frames: range | None = None) -> Motion:
    return refine(filmed.truth, filmed.capture, track, Native(), frames).motion


def _error(motion: Motion, truth: Motion, turns: slice = slice(None)) -> np.ndarray:
    """Differences [T,6+K] of pose and expression."""
    a, b = (torch.from_numpy(one.head[turns, :4]).double() for one in (motion, truth))
    apart = rotvec_from_quat(quat_multiply(a, b * torch.tensor([1.0, -1, -1, -1]).double())).numpy()
    moved_u = motion.head[turns, 4:] - truth.head[turns, 4:]
    return np.concatenate([apart, moved_u, motion.expression[turns] - truth.expression[turns]], 1)


def _same(a: Motion, b: Motion, rows: slice | np.ndarray) -> bool:
    names = ("head", "expression", "blink", "gaze")
    return all(np.array_equal(getattr(a, name)[rows], getattr(b, name)[rows]) for name in names)


def test_a_perturbed_motion_comes_back(filmed: MadeUp, noisy: Track, refined: Motion) -> None:
    before, after = (np.sqrt(np.square(_error(m, filmed.track.motion)).mean(0)) for m in (noisy.motion, refined))
    assert (after[:3] < before[:3] / 2.5).all()
    assert (after[3:5] < before[3:5] / 2.5).all()  # depth shows least
    assert (after[POSE:] < before[POSE:] / 2.5).all()


def _bodies(motion: Motion, head: np.ndarray, shift: np.ndarray) -> Motion:
    """A motion whose body stands at `head`, [7], moved by [T,3]."""
    poses = np.tile(head, (len(motion), 1))
    poses[:, 4:] += shift
    return replace(motion, body=poses.astype(np.float32))


def test_a_body_that_moves_by_itself_is_found(filmed: MadeUp, noisy: Track) -> None:
    t = np.arange(FRAMES)
    shift = np.stack([0.05 * np.sin(t * 0.15), 0.03 * np.sin(t * 0.23), 0 * t], 1)
    true = _bodies(filmed.track.motion, filmed.truth.parts["rest_pose"].numpy(), shift)
    capture = replace(filmed.capture, frames=film(filmed.truth, true))
    found = refine(filmed.truth, capture, noisy, Native()).motion
    assert found.body is not None and true.body is not None
    before, after = (np.abs(body - true.body)[:, 4:6] for body in (filmed.truth.body(noisy.motion), found.body))
    assert (after.mean(0) < before.mean(0) / 1.8).all()
    assert np.abs(found.head[:, 4:6] - true.head[:, 4:6]).mean() < 0.003


def test_the_head_becomes_steadier(filmed: MadeUp, noisy: Track, refined: Motion) -> None:
    shaken, held, true = (
        np.square(np.diff(motion.head[:, 4:6], 3, axis=0)).mean()
        for motion in (noisy.motion, refined, filmed.track.motion)
    )
    assert abs(held - true) < 0.1 * (shaken - true)


def test_no_frame_takes_a_neighbours_pose(filmed: MadeUp, refined: Motion) -> None:
    still = np.abs(_error(refined, filmed.track.motion)[:, 6]).mean()
    for shift in (-1, 1):
        other = Motion(*(np.roll(getattr(refined, n), shift, 0) for n in ("expression", "blink", "gaze", "head")), 25.0)
        assert np.abs(_error(other, filmed.track.motion)[:, 6]).mean() > 3 * still


def test_lost_frames_and_frames_not_asked_for_stay(filmed: MadeUp, noisy: Track) -> None:
    confidence = noisy.confidence.copy()
    confidence[[12, 13, 20]] = 0
    lost = replace(noisy, confidence=confidence)
    found = _refined(filmed, lost, range(10, 30))
    kept = np.ones(FRAMES, bool)
    kept[10:30] = False
    kept[[12, 13, 20]] = True
    assert _same(found, noisy.motion, kept)
    before, after = (np.abs(_error(m, filmed.track.motion)[~kept]).mean(0) for m in (noisy.motion, found))
    assert (after[:3] < before[:3]).all()


def test_nothing_to_refine_is_no_error(filmed: MadeUp, noisy: Track) -> None:
    blind = replace(noisy, confidence=np.zeros(FRAMES, np.float32))
    assert refine(filmed.truth, filmed.capture, blind, Native()) is blind
    assert _refined(filmed, noisy, range(5, 5)) is noisy.motion


def test_the_same_again(filmed: MadeUp, noisy: Track) -> None:
    once = _refined(filmed, noisy, range(8, 20))
    with torch.no_grad():  # as between two steps of a training
        twice = _refined(filmed, noisy, range(8, 20))
    assert _same(once, twice, slice(None))


def test_a_cut_is_not_smoothed_over(filmed: MadeUp, noisy: Track) -> None:
    # the shots of two halves, played one after the other with a jump between
    order = np.concatenate([np.arange(20, 40), np.arange(0, 20)])
    names = ("expression", "blink", "gaze", "head")
    played = [Motion(*(getattr(m, n)[order] for n in names), 25.0) for m in (noisy.motion, filmed.track.motion)]
    points = noisy.landmarks.points[order]
    track = replace(noisy, motion=played[0], landmarks=replace(noisy.landmarks, points=points))
    capture = replace(filmed.capture, frames=filmed.capture.frames[order], cuts=(20,))
    found = refine(filmed.truth, capture, track, Native()).motion
    before, after = (_error(m, played[1], slice(18, 22)) for m in (played[0], found))
    assert np.sqrt(np.square(after[:, :3]).mean()) < np.sqrt(np.square(before[:, :3]).mean()) / 2


def test_it_says_how_far_it_is(filmed: MadeUp, noisy: Track) -> None:
    seen: list[Progress] = []
    refine(filmed.truth, filmed.capture, noisy, Native(), range(3), watch=seen.append)
    assert [round(one.done, 3) for one in seen] == [round(k / 6, 3) for k in range(1, 7)]
    assert {one.stage for one in seen} == {"refine"}
