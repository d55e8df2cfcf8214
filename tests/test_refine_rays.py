# SPDX-License-Identifier: Apache-2.0
"""Refining a motion with a head that is drawn by rays, of which only some pixels are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import MadeUp, make
from torch import Tensor
from torch.nn.functional import interpolate

from avatar3d.avatar._frames import Frames
from avatar3d.avatar._looks import Some, looks_of
from avatar3d.geometry import invert, matrix_from_pose
from avatar3d.records import Camera, Motion, Radiance
from avatar3d.refine import moved, refine
from avatar3d.render.volume import Volume

FRAMES = 24
SIDE_U = 4.0
NOISE = np.array([0.006] * 3 + [0.006, 0.006, 0.02] + [0.25, 0.25] + [0.0, 0.0, 0.0, 0.0])  # rad, u, expression


class Balls:
    """A contracts.Head of soft coloured balls in head space; both expressions move one of them."""

    renderer = "volume"

    def __init__(self, camera: Camera, small: bool = False, averages: bool = False) -> None:
        self.camera, self.small, self.averages = camera, small, averages
        self.background = torch.full((camera.height, camera.width, 3), 0.3)
        g = torch.Generator().manual_seed(4)
        self.middles = (torch.rand(14, 3, generator=g) - 0.5) * torch.tensor([1.6, 1.8, 0.8])
        self.colours = torch.rand(14, 3, generator=g)

    def encode(self, motion: Motion, cuts: Sequence[int] = ()) -> Tensor:
        face = motion.expression[:, :2]
        if self.averages:  # over three frames of a shot
            frames = np.arange(len(face))
            begins, ends = np.isin(frames, [0, *cuts]), np.isin(frames + 1, [len(face), *cuts])
            face = (face + face[frames - ~begins] + face[frames + ~ends]) / 3
        return torch.from_numpy(np.concatenate([face, motion.head], 1).astype(np.float32))

    def pose(self, code: Tensor) -> Radiance:
        expression, head = code.split([2, 7])
        at = self.middles + torch.cat([0.1 * expression, torch.zeros(12)])[:, None] * torch.tensor([0.0, 1.0, 0.0])
        cube = matrix_from_pose(invert(head))
        low = torch.full((3, 1), SIDE_U / 2)

        def density(points: Tensor) -> tuple[Tensor, Tensor]:
            far = ((points * SIDE_U - SIDE_U / 2)[:, None] - at).norm(dim=2)
            share = torch.sigmoid((0.25 - far) * 25)
            return 20 * share.sum(1), (share[..., None] * self.colours).sum(1) / share.sum(1, keepdim=True).clamp_min(
                1e-6
            )

        def nothing(_origin: Tensor, ways: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return torch.zeros_like(ways), ways.new_zeros(len(ways)), ways.new_zeros(len(ways))

        return Radiance(
            cube_from_world=torch.cat([torch.cat([cube[:3, :3], cube[:3, 3:] + low], 1) / SIDE_U, cube[3:]]),
            occupied=torch.ones(8, 8, 8, dtype=torch.bool),
            step_u=0.08,
            most=80,
            density=density,
            colour=lambda given: given,
            behind=nothing,
            points=at,
            enlarge=_doubled if self.small else None,
        )


def _doubled(picture: Tensor) -> Tensor:
    return interpolate(picture[None], scale_factor=2, mode="bilinear")[0]


@pytest.fixture(scope="module")
def scene(face_task: Path) -> MadeUp:
    """The made-up person's motion and landmarks, and a film of balls that move so."""
    made_up = make(face_task, FRAMES)
    head = Balls(made_up.track.camera)
    with torch.no_grad():
        film = [
            Volume()(head.pose(code), head.camera).over(head.background) for code in head.encode(made_up.track.motion)
        ]
    frames = (torch.stack(film).clamp(0, 1) * 255).round().byte().numpy()
    return replace(made_up, capture=replace(made_up.capture, frames=frames))


@pytest.mark.parametrize("small", [False, True])
def test_a_perturbed_motion_comes_back(scene: MadeUp, small: bool) -> None:
    noise = NOISE * np.random.default_rng(0).normal(size=(FRAMES, len(NOISE)))
    noisy = replace(scene.track, motion=moved(scene.track.motion, noise))
    found = refine(Balls(scene.track.camera, small), scene.capture, noisy, Volume()).motion
    before, after = (_errors(one, scene.track.motion) for one in (noisy.motion, found))
    # pictures of 32 px hardly say how a head is turned
    left = np.array([0.9 if small else 0.5, 0.5, 0.5, 0.5, 0.5])
    assert (after < left * before).all(), (before, after)


def _errors(motion: Motion, truth: Motion) -> np.ndarray:
    """Mean errors of the turn, of the shifts across and down, and of both expressions."""
    turn = 2 * np.linalg.norm(motion.head[:, :4] - truth.head[:, :4], axis=1, keepdims=True)
    rest = motion.head[:, 4:6] - truth.head[:, 4:6], (motion.expression - truth.expression)[:, :2]
    return np.abs(np.concatenate([turn, *rest], 1)).mean(0)


def test_a_head_that_averages_over_frames_is_not_driven_too_far(scene: MadeUp) -> None:
    off = np.zeros((FRAMES, len(NOISE)))
    off[:, 6] = 0.4 * np.sin(np.arange(FRAMES) * 0.3)
    shifted = replace(scene.track, motion=moved(scene.track.motion, off))
    found = refine(Balls(scene.track.camera, averages=True), scene.capture, shifted, Volume()).motion
    before, after = (_errors(one, scene.track.motion)[3] for one in (shifted.motion, found))
    assert after < before / 2


def test_some_pixels_stand_for_all_of_them(scene: MadeUp) -> None:
    head, frames = Balls(scene.track.camera), Frames(scene.capture, scene.track)
    some = looks_of(head, Volume(), frames, head.encode(scene.track.motion)[0], 3000)
    assert isinstance(some, Some)
    real, weight = some.real(3), some.weight(3)
    assert real.shape == (3, len(weight))
    whole = frames.face_weight(3, 0.2)
    assert float(weight.sum()) == pytest.approx(float(whole.sum()), rel=0.03)
    mean = (weight * real).sum(1) / weight.sum()
    assert torch.allclose(mean, (whole * frames.target(3, 0)).sum((1, 2)) / whole.sum(), atol=0.02)


def test_where_it_is_drawn_is_where_it_was_filmed(scene: MadeUp) -> None:
    frames, codes = Frames(scene.capture, scene.track), Balls(scene.track.camera).encode(scene.track.motion)
    for small in (False, True):
        look = looks_of(Balls(scene.track.camera, small), Volume(), frames, codes[0], 3000)
        with torch.no_grad():
            here, other = ((look.drawn(codes[at], 5) - look.real(5)).abs().mean() for at in (5, 15))
        assert float(here) < 0.006 * (2 if small else 1) < float(other)
