# SPDX-License-Identifier: Apache-2.0
"""Masks of heads of a known size: the outline is theirs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import SIZE, MadeUp

from avatar3d.avatar._outline import head_outline
from avatar3d.avatar._scatter import CORE, SHELL, Counts, scatter, skull_rays
from avatar3d.geometry import apply_pose, project
from avatar3d.records import Capture

SCALE = 4  # of the masks: an outline is found to about a pixel


def masked(made_up: MadeUp, larger: float, below: float = 0.0) -> tuple[Capture, MadeUp]:
    """Masks that show all that is within `larger` times an average head's outline; and whatever is far down."""
    track, side = made_up.track, SIZE * SCALE
    centre, rays = skull_rays(track.neutral.astype(np.float64), 180)
    K = track.camera.K.clone()
    K[:2] *= SCALE
    track = replace(track, camera=replace(track.camera, K=K, width=side, height=side))
    y, x = np.mgrid[:side, :side] + 0.5
    masks = np.zeros((len(track.motion), side, side), np.uint8)
    for mask, pose in zip(masks, track.motion.head, strict=True):
        rim = torch.from_numpy(np.concatenate([[centre], centre + larger * rays]).astype(np.float32))
        seen = project(apply_pose(torch.from_numpy(pose), rim), K).numpy()
        off = np.stack([x, y], -1) - seen[0]
        around = np.arctan2(seen[1:, 1] - seen[0, 1], seen[1:, 0] - seen[0, 0])
        order = around.argsort()
        reach = np.linalg.norm(seen[1:] - seen[0], axis=1)[order]
        inside = np.linalg.norm(off, axis=-1) < np.interp(
            np.arctan2(off[..., 1], off[..., 0]), around[order], reach, period=2 * np.pi
        )
        mask[inside | (y > side * (1 - below))] = 255
    return replace(made_up.capture, masks=masks), replace(made_up, track=track)


@pytest.mark.parametrize("larger", [0.85, 1.0, 1.25])
def test_the_outline_is_as_large_as_the_masks_are(made_up: MadeUp, larger: float) -> None:
    outline = head_outline(*_parts(masked(made_up, larger)))
    assert outline is not None
    assert np.abs(outline - larger).max() < 0.06


def test_where_shoulders_are_in_the_way_it_goes_on_as_beside(made_up: MadeUp) -> None:
    outline = head_outline(*_parts(masked(made_up, 1.15, below=0.4)))
    assert outline is not None
    assert np.abs(outline - 1.15).max() < 0.12


def test_without_masks_or_an_outline_in_sight_nothing_is_said(made_up: MadeUp) -> None:
    assert head_outline(made_up.capture, made_up.track) is None
    everywhere = np.full((len(made_up.track.motion), SIZE, SIZE), 255, np.uint8)
    assert head_outline(replace(made_up.capture, masks=everywhere), made_up.track) is None


def test_the_shell_fills_the_outline_and_the_core_stays_within(made_up: MadeUp) -> None:
    neutral, basis = made_up.track.neutral.astype(np.float64), made_up.track.basis.astype(np.float64)
    counts, faces = Counts(100, 2000, 10, 50, 600), made_up.triangles
    reach = {}
    for wide in (1.0, 1.4):
        points = scatter(
            neutral, basis, faces, counts, lambda p: np.ones(len(p), bool), np.random.default_rng(0), np.full(72, wide)
        )
        centre, rays = skull_rays(neutral, 360)
        off = points.points - centre
        angle = np.arctan2(off[:, 1], off[:, 0]) % (2 * np.pi)
        average = np.interp(angle, np.arange(360) * 2 * np.pi / 360, np.linalg.norm(rays, axis=1), period=2 * np.pi)
        far = np.linalg.norm(off[:, :2], axis=1) / average
        above = off[:, 1] > 0
        reach[wide] = {group: far[(points.group == group) & above].max() for group in (SHELL, CORE)}
        assert reach[wide][CORE] < 0.86 * wide
    assert reach[1.4][SHELL] == pytest.approx(1.4 * reach[1.0][SHELL], rel=0.06)


def _parts(case: tuple[Capture, MadeUp]) -> tuple[Capture, object]:
    return case[0], case[1].track
