# SPDX-License-Identifier: Apache-2.0
"""The room where a head always stands before it, and where it does not."""

from __future__ import annotations

from dataclasses import replace

import torch
from made_up import SETTINGS, SIZE, MadeUp

from avatar3d.avatar._backdrop import Backdrop
from avatar3d.avatar.linear import LinearHead
from avatar3d.contracts import Tools
from avatar3d.fit import Budget, Stage, fit
from avatar3d.render.native import Native


def test_it_is_kept_where_every_frame_covers_it_and_learned_where_one_does_not() -> None:
    plate, learned = torch.full((8, 8, 3), 0.5), torch.full((8, 8, 3), 0.9)
    backdrop = Backdrop(plate)
    covered = torch.ones(8, 8)
    covered[:, 4:] = 0
    backdrop.look(torch.ones(8, 8))
    backdrop.look(covered)
    backdrop.look(torch.ones(4, 4))  # the frames of a coarse picture count as well
    backdrop.keep(learned)
    assert (learned[:, :4] == 0.5).all()
    assert (learned[:, 4:] == 0.9).all()


def test_a_coarse_picture_shows_what_lies_under_its_pixels() -> None:
    learned = torch.ones(8, 8, 3)
    backdrop = Backdrop(torch.zeros(8, 8, 3))
    small = torch.ones(4, 4)
    small[0, 0] = 0
    backdrop.look(small)
    backdrop.keep(learned)
    assert (learned[:2, :2] == 1).all()
    assert learned.sum() == 12


def test_where_the_capture_knows_no_room_all_is_learned() -> None:
    learned = torch.rand(8, 8, 3)
    backdrop, before = Backdrop(None), learned.clone()
    backdrop.look(torch.ones(8, 8))
    backdrop.keep(learned)
    assert torch.equal(learned, before)


def test_training_keeps_the_room_behind_the_face(made_up: MadeUp) -> None:
    plate = (made_up.truth.background.numpy() * 255).round().astype("uint8")
    capture = replace(made_up.capture, background=plate)
    task = LinearHead.learner(capture, made_up.track, made_up.triangles, Tools(Native()), SETTINGS)
    start = task.learned["background"].detach().clone()
    list(fit(task, [Stage("all", 1.0, {"picture": 1.0})], Budget(steps=60), reviews=0))
    moved = (task.learned["background"].detach() - start).abs().amax(2)
    middle = slice(SIZE * 7 // 16, SIZE * 9 // 16)
    # Adam's steps since the last time it was taken back
    assert moved[middle, middle].max() < 0.03
    assert moved[:6].max() > 0
