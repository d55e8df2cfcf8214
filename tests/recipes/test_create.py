# SPDX-License-Identifier: Apache-2.0
"""What create keeps of a capture, and what it refuses before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avatar3d.errors import InputError
from avatar3d.geometry import intrinsics
from avatar3d.recipes.create import CreateSettings, create, create_from, steady_clip, voice_warnings
from avatar3d.records import Camera, Landmarks, Motion, Track
from avatar3d.store import Work

T = 100


def track(untrusted: tuple[int, ...] = ()) -> Track:
    """A track whose frame numbers stand in the first column of its expression."""
    expression = np.arange(T, dtype=np.float32)[:, None]
    motion = Motion(expression, *(np.zeros((T, width), np.float32) for width in (2, 4, 7)), 25.0)
    confidence = np.ones(T, np.float32)
    confidence[list(untrusted)] = 0
    seen = Landmarks(np.zeros((T, 478, 3), np.float32), np.zeros((T, 52), np.float32), np.ones(T, bool))
    camera = Camera(intrinsics(20.0, 8, 8), torch.eye(4), 8, 8)
    basis = np.zeros((468, 3, 1), np.float32)
    return Track(camera, basis[..., 0], basis, motion, seen, confidence, 90, True, np.zeros((53, 1), np.float32))


def rows(clip: Motion) -> tuple[int, int]:
    numbers = clip.expression[:, 0]
    assert (np.diff(numbers) == 1).all()
    return int(numbers[0]), int(numbers[-1])


@pytest.mark.parametrize(
    ("cuts", "untrusted", "expected"),
    [
        ((), (), (0, 99)),
        ((30,), (), (30, 99)),
        ((70,), (), (0, 69)),
        ((), (0, 99), (1, 98)),
        ((), (40,), (41, 99)),
        ((20, 60), (45,), (60, 99)),
        ((50,), (50, 51, 52), (0, 49)),
    ],
)
def test_the_clip_is_the_longest_stretch_to_be_trusted(
    cuts: tuple[int, ...], untrusted: tuple[int, ...], expected: tuple[int, int]
) -> None:
    assert rows(steady_clip(track(untrusted), cuts)) == expected


def test_the_clip_is_no_longer_than_asked() -> None:
    assert rows(steady_clip(track(), (), longest_s=2.0)) == (0, 49)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/tmp"])
def test_a_name_that_is_no_folders_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--name"):
        create(tmp_path / "me.mp4", tmp_path / "out", CreateSettings(name=name))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_prepared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"capture\.json"):
        create_from(Work(tmp_path))


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"why": "the video has no sound"}, "no voice: the video has no sound"),
        ({"unheard_parts": {"aperture_r": 0.1}}, "only roughly (r 0.10"),
    ],
)
def test_a_voice_that_is_missing_or_weak_is_named(figures: dict[str, Any], said: str) -> None:
    (warning,) = voice_warnings(figures)
    assert said in warning


def test_a_good_voice_needs_no_warning() -> None:
    assert voice_warnings({"unheard_parts": {"aperture_r": 0.66}}) == []
