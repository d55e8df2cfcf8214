# SPDX-License-Identifier: Apache-2.0
"""A player's short ways show what the long one does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from heads import CODES, COUNT, SIDE, code, head

from avatar3d.avatar.linear import LinearHead
from avatar3d.contracts import Film, Linear
from avatar3d.geometry import intrinsics
from avatar3d.player import Player
from avatar3d.records import Camera, Gaussians, Image
from avatar3d.render.native import Native


class Plainly:
    """A renderer that only draws."""

    def __call__(self, gaussians: Gaussians, camera: Camera) -> Image:
        return Native()(gaussians, camera)


class Unposable:
    """A head that is not known to be linear."""

    def __init__(self, whole: LinearHead) -> None:
        self.camera, self.background, self.pose = whole.camera, whole.background, whole.pose


def apart(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


def test_all_ways_show_the_same() -> None:
    whole = head()
    assert isinstance(whole, Linear) and isinstance(Native(), Film) and not isinstance(Plainly(), Film)
    camera = replace(whole.camera, cam_from_world=torch.eye(4) + 0.02 * torch.eye(4).roll(1, 1))
    wide = Camera(whole.camera.K * torch.tensor([[2.0], [2.0], [1.0]]), torch.eye(4), 2 * SIDE, 2 * SIDE)
    for seen_from, room in ((None, None), (camera, torch.tensor([0.2, 0.5, 0.9])), (wide, torch.zeros(3))):
        shown = [
            Player(one, draw).frame(code(), seen_from, room)  # type: ignore[arg-type]
            for one in (whole, Unposable(whole))
            for draw in (Native(), Plainly())
        ]
        assert shown[0].shape == ((2 * SIDE,) * 2 if seen_from is wide else (SIDE,) * 2) + (3,)
        assert shown[0].std() > 20
        assert all(apart(frame, shown[0]) <= 1 for frame in shown)


def test_gaussians_without_tables_are_told_apart() -> None:
    rest = head(moving=100).at_rest()
    assert rest.tables.shape == (CODES, 100, 9) and len(rest.means) == COUNT
    assert head(moving=0).at_rest().tables.shape == (CODES, 0, 9)
    part = head(moving=100)
    assert apart(Player(part, Native()).frame(code()), Player(part, Plainly()).frame(code())) <= 1


def test_a_player_shows_the_head_as_it_was() -> None:
    whole = head()
    player = Player(whole, Native())
    before = player.frame(code())
    whole.parts["means"] += 0.3
    whole.parts["tables"] *= 2
    assert apart(player.frame(code()), before) == 0


def test_a_background_of_another_size_is_made_anew() -> None:
    player = Player(head(), Native())
    small = Camera(intrinsics(30.0, 20, 20), torch.eye(4), 20, 20)
    grey = torch.full((3,), 0.5)
    assert player.frame(code(), background=grey).shape == (SIDE, SIDE, 3)
    assert player.frame(code(), small, grey).shape == (20, 20, 3)
    assert (player.frame(code(), background=torch.ones(3))[0, 0] != player.frame(code(), background=grey)[0, 0]).any()
