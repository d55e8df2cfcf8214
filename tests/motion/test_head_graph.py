# SPDX-License-Identifier: Apache-2.0
"""A head that walks through its own clip: as smooth, never where it was not, livelier where it is louder."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar3d.geometry import quat_from_rotvec, quat_multiply
from avatar3d.motion._head_graph import loudness, walked
from avatar3d.records import SAMPLE_RATE, Motion, Sound


def clip_of(frames: int) -> Motion:
    """A head that goes from pose to pose and rests there, with small steps at first and larger ones later."""
    rng = np.random.default_rng(0)
    targets = rng.uniform(-0.2, 0.2, (frames // 25 + 2, 6)) * np.linspace(0.2, 1, frames // 25 + 2)[:, None]
    at, share = np.divmod(np.arange(frames) / 25, 1)
    gone = (share[:, None] / 0.6).clip(max=1)
    gone = gone**3 * (10 - 15 * gone + 6 * gone**2)  # without a jerk
    poses = targets[at.astype(int)] * (1 - gone) + targets[at.astype(int) + 1] * gone
    facing = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64).expand(frames, 4)
    quats = quat_multiply(facing, quat_from_rotvec(torch.from_numpy(poses[:, :3]))).numpy()
    head = np.hstack([quats, poses[:, 3:] + [0.1, 0.2, 6.0]]).astype(np.float32)
    zeros = np.zeros((frames, 4), np.float32)
    gaze = (0.1 * np.sin(np.arange(frames)[:, None] / 25 * np.arange(1, 5))).astype(np.float32)
    return Motion(zeros[:, :3], zeros[:, :2], gaze, head, 25.0)


def blank(frames: int) -> Motion:
    return clip_of(frames)


def places(motion: Motion) -> np.ndarray:
    return motion.head[:, 4:].astype(np.float64)


@pytest.mark.parametrize("seed", range(4))
def test_it_speeds_up_no_more_than_the_clip_does(seed: int) -> None:
    clip = clip_of(750)
    moved = walked(blank(3000), clip, np.full(3000, 0.5), seed)
    assert len(moved) == 3000
    for part in (places, lambda motion: motion.head[:, 1:4].astype(np.float64)):
        usual = np.quantile(np.abs(np.diff(part(clip), 2, axis=0)), 0.999, axis=0)
        assert (np.abs(np.diff(part(moved), 2, axis=0)).max(0) < 1.6 * usual + 1e-4).all()
        assert (np.abs(np.diff(part(moved), axis=0)).max(0) < 1.3 * np.abs(np.diff(part(clip), axis=0)).max(0)).all()
    np.testing.assert_allclose(np.linalg.norm(moved.head[:, :4], axis=1), 1, atol=1e-5)


def test_it_is_never_where_the_person_was_not() -> None:
    clip = clip_of(750)
    moved = walked(blank(3000), clip, np.full(3000, 0.5), 0)
    turn = places(clip).max(0) - places(clip).min(0)
    assert (places(moved) <= places(clip).max(0) + 1e-3 * turn).all()
    assert (places(moved) >= places(clip).min(0) - 1e-3 * turn).all()
    assert np.abs(moved.gaze).max() <= np.abs(clip.gaze).max() + 1e-6


def test_it_is_livelier_where_the_sound_is_louder() -> None:
    level = np.repeat([0.0, 1.0, 0.0, 1.0], 500)
    speed = np.linalg.norm(np.diff(places(walked(blank(2000), clip_of(1500), level, 1)), axis=0), axis=1)
    quiet, loud = speed[level[1:] == 0].mean(), speed[level[1:] == 1].mean()
    assert loud > 1.5 * quiet


def test_the_seed_decides_the_walk_and_nothing_else_does() -> None:
    one, same, other = (walked(blank(300), clip_of(750), np.full(300, 0.5), seed).head for seed in (0, 0, 5))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_a_recorded_body_goes_along() -> None:
    clip = clip_of(750)
    clip = replace(clip, body=clip.head)
    moved = walked(blank(400), clip, np.full(400, 0.5), 0)
    assert moved.body is not None
    np.testing.assert_allclose(moved.body, moved.head, atol=1e-5)
    assert walked(blank(400), clip_of(750), np.full(400, 0.5), 0).body is None


@pytest.mark.parametrize("frames", [1, 2, 3, 30])
def test_a_clip_too_short_for_a_graph_is_played_to_and_fro(frames: int) -> None:
    moved = walked(blank(100), clip_of(frames), np.full(100, 0.5), 0)
    assert len(moved) == 100 and np.isfinite(moved.head).all()


def test_loudness_is_a_place_among_the_sounds_own() -> None:
    rng = np.random.default_rng(0)
    level = np.repeat([0.0, 0.01, 0.3], 2 * SAMPLE_RATE)
    heard = loudness(Sound((level * rng.standard_normal(len(level))).astype(np.float32), SAMPLE_RATE))
    assert heard.shape == (150,)
    assert heard[:30].max() == 0 and heard[130:].min() > 0.7 and 0.2 < heard[75] < 0.8
    assert loudness(Sound(np.zeros(0, np.float32), SAMPLE_RATE)).shape == (0,)
