# SPDX-License-Identifier: Apache-2.0
"""Head motion taken from a clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar3d.geometry import compose, invert, quat_from_rotvec, quat_multiply, rotvec_from_quat
from avatar3d.motion._head_motion import longest_stretch, replay, rounded_triangle, still, turned, usual_pose
from avatar3d.records import Motion


def clip_of(frames: int, jump_at: int | None = None) -> Motion:
    """A head that sways; at `jump_at` the picture is cut."""
    rng = np.random.default_rng(0)
    time = np.arange(frames)[:, None] / 25
    turns = 0.2 * np.sin(time * np.array([[1.0, 0.7, 0.4]]) + rng.uniform(0, 6, (1, 3)))
    if jump_at is not None:
        turns[jump_at:] += np.array([0.3, -0.4, 0.1])
    quats = quat_from_rotvec(torch.from_numpy(turns)).numpy()
    quats[::2] *= -1  # the same rotations
    places = np.array([[0.1, 0.2, 6.0]]) + 0.3 * np.sin(time * np.array([[0.5, 0.8, 0.3]]))
    head = np.hstack([quats, places]).astype(np.float32)
    gaze = rng.standard_normal((frames, 4)).astype(np.float32)
    zeros = np.zeros((frames, 3), np.float32)
    return Motion(zeros, zeros[:, :2], gaze, head, 25.0)


def blank(frames: int) -> Motion:
    return clip_of(frames)


def angles(head: np.ndarray) -> np.ndarray:
    """Rotation steps [T-1] in rad."""
    cosine = np.abs((head[1:, :4].astype(np.float64) * head[:-1, :4]).sum(1)).clip(max=1)
    return 2 * np.arccos(cosine)


def test_a_replay_longer_than_the_clip_never_jumps() -> None:
    clip = clip_of(200)
    played = replay(blank(2000), clip, start=77)
    assert len(played) == 2000
    assert angles(played.head).max() < 1.05 * angles(clip.head).max() + 1e-3
    steps, usual = (np.abs(np.diff(part.head[:, 4:], axis=0)).max() for part in (played, clip))
    assert steps < 1.05 * usual
    # nor does its speed
    assert np.abs(np.diff(played.head[:, 4:], 2, axis=0)).max() < 0.5 * usual
    np.testing.assert_allclose(np.linalg.norm(played.head[:, :4], axis=1), 1, atol=1e-5)


def test_a_replay_shows_the_whole_clip() -> None:
    at = rounded_triangle(np.arange(1000), 200)
    assert at.min() >= 0 and at.max() <= 199
    assert at.min() < 0.5 and at.max() > 198.5
    assert np.abs(np.diff(at)).max() <= 1.0 + 1e-9
    assert np.abs(np.diff(at)).mean() > 0.8


def test_only_the_longest_stretch_without_a_cut_is_played() -> None:
    clip = clip_of(300, jump_at=100)
    stretch = longest_stretch(clip)
    np.testing.assert_array_equal(stretch.head, clip.head[100:])
    assert angles(replay(blank(900), clip).head).max() < 0.05


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_clips_can_be_played(frames: int) -> None:
    assert np.isfinite(replay(blank(10), clip_of(frames)).head).all()


def test_still_holds_one_pose_of_the_clip() -> None:
    clip = clip_of(200)
    held = still(blank(50), clip)
    assert (held.head == held.head[0]).all()
    assert np.abs(clip.head[:, 4:] - held.head[0, 4:]).sum(1).min() < 1e-6
    assert not held.gaze.any()


def test_a_recorded_body_goes_with_the_recorded_head() -> None:
    clip = clip_of(200)
    clip = replace(clip, body=clip.head * np.array([1, 1, 1, 1, 2, 2, 2], np.float32))
    for moved in (replay(blank(500), clip, start=33), still(blank(50), clip)):
        assert moved.body is not None
        np.testing.assert_allclose(moved.body[:, 4:], 2 * moved.head[:, 4:], atol=1e-5)
    assert turned(clip, clip_of(40)).body is None  # where a stranger's body stood, ours does not
    assert replay(clip, clip_of(40)).body is None


def test_turns_of_another_head_are_taken_on_from_ones_own_usual_pose() -> None:
    """A head that was filmed from the side, and nods twice: here it stands as it usually does, and nods twice."""
    angles = np.array([0.4, 0.4, 0.6, 0.4, 0.2, 0.4, 0.4])
    facing = np.array([0.0, 1.0, 0.0, 0.0])
    about_x = np.stack([np.cos(angles / 2), np.sin(angles / 2), 0 * angles, 0 * angles], 1)
    quats = quat_multiply(torch.from_numpy(facing).expand(7, 4), torch.from_numpy(about_x)).numpy()
    heads = np.concatenate([quats, np.zeros((7, 3))], 1).astype(np.float32)
    motion = replace(clip_of(7), head=heads)
    moved = turned(motion, clip_of(40)).head
    usual = usual_pose(clip_of(40))
    assert np.abs(moved[[0, 1, 3, 5]] - usual).max() < 1e-5
    apart = compose(invert(torch.from_numpy(usual)[None]), torch.from_numpy(moved[[2, 4]]))
    assert rotvec_from_quat(apart[:, :4])[:, 0].tolist() == pytest.approx([0.2, -0.2], abs=1e-4)
    assert (apart[:, 4:].norm(dim=1) > 0.1).all()  # the face moves about its neck
