# SPDX-License-Identifier: Apache-2.0
"""Talking: as long as the sound, one frame at a time, on any background, from any side."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from avatar3d.camera_path import CameraPath
from avatar3d.geometry import intrinsics
from avatar3d.player import thickened
from avatar3d.records import FPS, Camera, Gaussians, Image, Motion, Sound, frame_count
from avatar3d.render.reference import Reference
from avatar3d.talk import Orbit, View, orbited, perform, resized, show, talk

SIZE = 32


class Ball:
    """A head of one Gaussian."""

    camera = Camera(intrinsics(60.0, SIZE, SIZE), torch.eye(4), SIZE, SIZE)
    background = torch.full((SIZE, SIZE, 3), 0.25)

    def encode(self, motion: Motion, cuts: Sequence[int] = ()) -> Tensor:
        return torch.from_numpy(motion.head[:, 4:])

    def pose(self, code: Tensor) -> Gaussians:
        one = torch.ones(1)
        unit = torch.tensor([[1.0, 0, 0, 0]])
        return Gaussians(code[None], unit, torch.zeros(1, 3), one, torch.ones(1, 3), one.to(torch.uint8))

    def config(self) -> dict[str, Any]:
        return {}

    def tensors(self) -> dict[str, Tensor]:
        return {}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        raise NotImplementedError


class Dot:
    """Draws the first Gaussian's mean as a white square, half covering, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, gaussians: Gaussians, camera: Camera) -> Image:
        self.calls += 1
        point = camera.cam_from_world @ torch.cat([gaussians.means[0], torch.ones(1)])
        x, y = ((camera.K @ point[:3])[:2] / point[2]).long().tolist()
        alpha = torch.zeros(camera.height, camera.width)
        alpha[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = 0.5
        return Image(alpha[..., None].expand(-1, -1, 3), alpha, alpha)


class Hum:
    """A voice that knows one expression."""

    listen = None

    def __call__(self, sound: Sound, seed: int = 0) -> Motion:
        frames = frame_count(sound)
        blank = np.zeros((frames, 7), np.float32)
        return Motion(blank[:, :3], blank[:, :2], blank[:, :4], blank, FPS)

    config, tensors, restore = Ball.config, Ball.tensors, Ball.restore


def clip(frames: int = 100) -> Motion:
    still = np.zeros((frames, 7), np.float32)
    still[:, 0], still[:, 6] = 1.0, 6.0
    still[:, 4] = 0.5 * np.sin(np.arange(frames) / 10)
    return Motion(still[:, :3], still[:, :2], still[:, :4], still, FPS)


def silence(seconds: float, rate: int = 16_000) -> Sound:
    return Sound(np.zeros(round(seconds * rate), np.float32), rate)


@pytest.mark.parametrize(("seconds", "rate"), [(0.5, 16_000), (1.013, 44_100), (2.0199, 48_000), (3.3, 22_050)])
def test_as_many_frames_as_the_sound_lasts(seconds: float, rate: int) -> None:
    sound = silence(seconds, rate)
    frames = list(talk(Ball(), Hum(), Dot(), sound, clip()))
    assert abs(len(frames) - sound.seconds * 25) <= 0.5
    assert {(frame.shape, frame.dtype) for frame in frames} == {((SIZE, SIZE, 3), np.dtype(np.uint8))}


def test_a_frame_is_drawn_when_it_is_asked_for() -> None:
    draw = Dot()
    frames = talk(Ball(), Hum(), draw, silence(60.0), clip())
    next(frames), next(frames)
    assert draw.calls == 2


def test_memory_does_not_grow_with_the_length() -> None:
    def peak(seconds: float) -> int:
        frames = talk(Ball(), Hum(), Dot(), silence(seconds), clip())
        tracemalloc.start()
        for _ in frames:
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1.0)  # what is imported and cached once
    # ten times the frames may keep their motion (some hundred bytes each), but not their pictures (3 kB each)
    assert peak(40.0) - peak(4.0) < 900 * 600


def test_the_seed_decides_where_the_head_begins() -> None:
    first, again, other = (perform(Hum(), silence(1.0), clip(), seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.head, again.head)
    assert (first.head != other.head).any()


def test_a_still_head_gives_the_same_picture_again_and_again() -> None:
    frames = list(talk(Ball(), Hum(), Dot(), silence(1.0), clip(), head_motion="still"))
    assert all((frame == frames[0]).all() for frame in frames)
    moving = list(talk(Ball(), Hum(), Dot(), silence(3.0), clip()))
    assert any((frame != moving[0]).any() for frame in moving)


def one(view: View) -> np.ndarray:
    return next(show(Ball(), Dot(), perform(Hum(), silence(0.1), clip(), "still"), view))


def test_backgrounds() -> None:
    original = one(View())
    assert original[0, 0].tolist() == [64, 64, 64]
    assert original.max() == round(255 * (0.5 + 0.5 * 0.25))
    assert one(View(background=torch.tensor([1.0, 0.0, 0.0])))[0, 0].tolist() == [255, 0, 0]
    picture = torch.zeros(50, 200, 3)
    picture[:, 74:126, 1] = 1  # only the middle of a wide picture is seen
    assert (one(View(background=picture))[0, :, 1] == 255).all()


def test_alpha_is_straight() -> None:
    frame = one(View(background="alpha"))
    assert frame.shape == (SIZE, SIZE, 4)
    covered = frame[..., 3] > 0
    assert 0 < covered.sum() <= 9
    assert (frame[covered] == [255, 255, 255, 128]).all()
    assert not frame[~covered].any()


def test_a_larger_picture_shows_the_same_view() -> None:
    small, large = one(View()), one(View(width=3 * SIZE))
    assert large.shape == (3 * SIZE, 3 * SIZE, 3)
    middle_small, middle_large = (np.argwhere(f[..., 0] == f[..., 0].max()).mean(0) + 0.5 for f in (small, large))
    np.testing.assert_allclose(middle_large, 3 * middle_small, atol=2.0)
    assert resized(Ball.camera, SIZE) is Ball.camera


def test_an_orbit_turns_about_the_head_and_comes_back() -> None:
    pivot = torch.tensor([0.3, -0.2, 6.0])
    orbit = Orbit(yaw_deg=20.0, pitch_deg=0.0, period_s=4.0)
    homogeneous = torch.cat([pivot, torch.ones(1)])
    for time_s in (0.0, 0.7, 1.0, 3.1):
        seen = orbited(Ball.camera, orbit, pivot, time_s).cam_from_world
        torch.testing.assert_close(seen @ homogeneous, homogeneous)
        torch.testing.assert_close(seen[:3, :3] @ seen[:3, :3].T, torch.eye(3))
    torch.testing.assert_close(orbited(Ball.camera, orbit, pivot, 4.0).cam_from_world, torch.eye(4))
    turned = orbited(Ball.camera, orbit, pivot, 1.0).cam_from_world[:3, :3]
    assert np.degrees(np.arccos((float(turned.trace()) - 1) / 2)) == pytest.approx(20.0, abs=1e-3)


def test_gradients_are_as_before_when_a_frame_has_been_drawn() -> None:
    frames = talk(Ball(), Hum(), Dot(), silence(1.0), clip())
    next(frames)
    assert torch.is_grad_enabled()


def test_an_enlarged_picture_is_the_small_one_enlarged() -> None:
    """A sheet of Gaussians that just touch at the trained size shows no gaps at four times that size."""
    side = torch.linspace(-0.9, 0.9, 48)
    grid = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).view(-1, 2)
    count, depth = len(grid), 6.0
    sheet = Gaussians(
        means=torch.cat([grid, torch.full((count, 1), depth)], 1),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        log_scales=torch.full((count, 3), -5.0),
        opacity_logits=torch.full((count,), 3.0),
        colours=torch.ones(count, 3),
        group=torch.zeros(count, dtype=torch.uint8),
    )
    camera = Camera(intrinsics(90.0, SIZE, SIZE), torch.eye(4), SIZE, SIZE)
    large = resized(camera, 4 * SIZE)
    inside = slice(8, SIZE - 8)
    small_alpha = Reference()(sheet, camera).alpha[inside, inside]
    bare = Reference()(sheet, large).alpha[4 * 8 : -4 * 8, 4 * 8 : -4 * 8]
    thick = Reference()(thickened(sheet, large, 4.0), large).alpha[4 * 8 : -4 * 8, 4 * 8 : -4 * 8]
    assert bare.min() < 0.1 < small_alpha.min()
    pooled = functional.avg_pool2d(thick[None, None], 4)[0, 0]
    torch.testing.assert_close(pooled, small_alpha, atol=0.06, rtol=0)
    assert thickened(sheet, camera, 1.0) is sheet


def test_a_path_goes_about_the_head_where_it_usually_stands() -> None:
    still = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 6.0]])  # of a head that stands before the camera
    path = CameraPath(still, torch.tensor([0.25]), 25.0, 48, 24)
    motion = perform(Hum(), silence(0.2), clip(), "still")
    frame = next(show(Ball(), Dot(), motion, View(background=torch.zeros(3), orbit=path)))
    assert frame.shape == (24, 48, 3) and frame[12, 24].max() > 0  # the Gaussian is the head's middle
    aside = replace(path, head_from_camera=still + torch.tensor([0, 0, 0, 0, 1.0, 0, 0]))
    frame = next(show(Ball(), Dot(), motion, View(24, torch.zeros(3), aside)))
    assert frame.shape == (12, 24, 3) and frame[6, 12].max() == 0 and frame[6].any()
