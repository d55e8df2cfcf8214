# SPDX-License-Identifier: Apache-2.0
"""Heads seen from where nobody filmed them: solid all the same."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from made_up import SETTINGS, SIZE, MadeUp

from avatar3d.avatar._aside import Aside, see_through
from avatar3d.avatar._fit_settings import FitSettings
from avatar3d.avatar._turned import turned
from avatar3d.avatar.linear import LinearHead
from avatar3d.contracts import Tools
from avatar3d.fit import Budget, Stage, fit
from avatar3d.geometry import apply_pose, matrix_from_quat, project
from avatar3d.render.native import Native
from avatar3d.seeds import seeded

LOOKS = 40
OFTEN = replace(SETTINGS, fit=FitSettings(aside_every=4))
SIDES_DEG = (-30.0, -20.0, 20.0, 30.0)


def aside(made_up: MadeUp) -> Aside:
    return Aside(made_up.track.neutral, made_up.truth.parts["rest_pose"], made_up.track.camera)


def test_what_is_solid_is_where_the_points_are_seen(made_up: MadeUp) -> None:
    from_sides = aside(made_up)
    for seed in range(LOOKS):
        with seeded(seed):
            view, solid = from_sides.look(0)
        assert solid.shape == (SIZE, SIZE)
        seen = project(apply_pose(view, torch.from_numpy(made_up.track.neutral)), made_up.track.camera.K)
        within = seen.mean(0) + 0.93 * (seen - seen.mean(0))  # a pixel of the outline may go either way
        x, y = within.long().clamp(0, SIZE - 1).unbind(1)
        assert solid[y, x].all()
        rows, columns = solid.nonzero().unbind(1)
        low, high = seen.min(0).values, seen.max(0).values
        assert columns.min() > low[0] - 1.5 and columns.max() < high[0] + 1
        assert rows.min() > low[1] - 1.5 and rows.max() < high[1] + 1


def test_half_the_size_shows_the_same_region(made_up: MadeUp) -> None:
    with seeded(3):
        view, whole = aside(made_up).look(0)
    with seeded(3):
        again, half = aside(made_up).look(1)
    assert torch.equal(view, again)
    assert half.shape == (SIZE // 2, SIZE // 2)
    assert abs(float(half.mean() - whole.mean())) < 0.05


def test_sides_follow_from_the_seed_and_go_far_to_both_sides(made_up: MadeUp) -> None:
    from_sides, yaws = aside(made_up), []
    for seed in range(LOOKS):
        with seeded(seed):
            view, _ = from_sides.look(0)
        with seeded(seed):
            assert torch.equal(from_sides.look(0)[0], view)
        ahead = matrix_from_quat(view[:4])[:, 2]
        yaws.append(math.degrees(math.atan2(ahead[0], -ahead[2])))
    assert min(yaws) < -25 and max(yaws) > 25
    assert max(map(abs, yaws)) < 45


def test_only_what_is_solid_must_not_be_seen_through() -> None:
    alpha, solid = torch.full((4, 6), 0.25), torch.zeros(4, 6)
    solid[1:3, 2:5] = 1
    alpha[1:3, 2:5] = 0.9
    assert abs(float(see_through(alpha, solid)) - 0.1) < 1e-6
    assert see_through(alpha, torch.zeros(4, 6)) == 0


def _seen_through_pct(made_up: MadeUp, weights: dict[str, float]) -> float:
    """Share of a trained face that is not opaque from the sides."""
    task = LinearHead.learner(made_up.capture, made_up.track, made_up.triangles, Tools(Native()), OFTEN)
    list(fit(task, [Stage("all", 1.0, weights)], Budget(steps=90), reviews=0))
    head, shares = task.trained(), []
    code = head.encode(made_up.track.motion)[0, : head.codes]
    for side in SIDES_DEG:
        view = turned(head.parts["rest_pose"], torch.tensor([0.0, math.radians(side), 0.0, 0.0, 0.0, 0.0]))
        with torch.no_grad():
            alpha = Native()(head.assemble(head.deform(code), view, view), head.camera).alpha
        face = project(apply_pose(view, torch.from_numpy(made_up.track.neutral)), head.camera.K).long()
        x, y = face.clamp(0, SIZE - 1).unbind(1)
        shares.append(float((alpha[y, x] < 0.95).float().mean()))
    return 100 * float(np.mean(shares))


def test_training_makes_a_head_solid_from_sides_that_no_frame_shows(made_up: MadeUp) -> None:
    veiled = _seen_through_pct(made_up, {"picture": 1.0})
    solid = _seen_through_pct(made_up, {"picture": 1.0, "solid": 0.3})
    assert solid < 0.7 * veiled
