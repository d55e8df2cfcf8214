# SPDX-License-Identifier: Apache-2.0
"""The rigged head: bound to the person's mesh, moved by it, and kept near it while it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import COUNTS, MadeUp, film

from avatar3d.avatar._fit_settings import FitSettings
from avatar3d.avatar._scatter import HEAD, MOUTH, TORSO
from avatar3d.avatar.rigged import RiggedHead, RiggedSettings
from avatar3d.contracts import Tools
from avatar3d.density import Relocation
from avatar3d.face.groups import LEFT_EYE, RIGHT_EYE
from avatar3d.fit import Budget, Stage, fit
from avatar3d.geometry import apply_pose
from avatar3d.render.native import Native

SETTINGS = RiggedSettings(COUNTS, expression=2, fit=FitSettings(patch_share=0.25))
STAGES = [Stage("shape", 1.0, {"picture": 1.0, "strayed": 0.01, "swollen": 1.0})]


@pytest.fixture
def head(made_up: MadeUp) -> RiggedHead:
    return RiggedHead.from_track(made_up.capture, made_up.track, made_up.triangles, SETTINGS)


def _codes(head: RiggedHead, **said: float) -> torch.Tensor:
    codes = torch.zeros(head.codes)
    for name, value in said.items():
        codes[int(name.removeprefix("code"))] = value
    return codes


def test_at_rest_nothing_is_moved(head: RiggedHead) -> None:
    offsets = head.deform(torch.zeros(head.codes))
    assert offsets.shape == (len(head), 10)
    assert offsets.abs().max() < 1e-5


def test_gaussians_on_the_skin_go_where_the_tracker_sees_it_go(head: RiggedHead, made_up: MadeUp) -> None:
    track, parts = made_up.track, head.parts
    offsets = head.deform(_codes(head, code0=1.5))
    skin = (parts["group"] == HEAD) & (parts["triangle"] < len(parts["faces"]) - 3)
    corners = parts["faces"][parts["triangle"][skin]]
    rest = torch.from_numpy(track.neutral)[corners]
    # which share of each corner a Gaussian has: it lies on its triangle
    shares = torch.linalg.lstsq(rest.transpose(1, 2), parts["means"][skin][..., None]).solution[..., 0]
    moved = 1.5 * torch.from_numpy(track.basis[..., 0])[corners]
    assert torch.allclose(offsets[skin, :3], (shares[..., None] * moved).sum(1), atol=2e-4)
    assert offsets[skin, :3].norm(dim=1).max() > 0.05


def test_the_lower_teeth_go_with_the_chin_the_upper_and_the_body_stay(head: RiggedHead) -> None:
    offsets, parts = head.deform(_codes(head, code0=1.5)), head.parts
    mouth = parts["group"] == MOUTH
    lower = mouth & (parts["follow"] > 0)
    assert 0.3 < lower.sum() / mouth.sum() < 0.7
    assert offsets[lower, 1].max() < -0.05  # the made-up jaw opens downwards
    assert not offsets[mouth & ~lower].any()
    assert not offsets[parts["group"] == TORSO].any()


def test_eyeballs_turn_with_the_gaze_and_not_with_the_lids(head: RiggedHead, made_up: MadeUp) -> None:
    parts, gaze = head.parts, 4  # after two expressions and two lids
    eyeballs = parts["triangle"] >= len(parts["faces"]) - 2
    assert eyeballs.sum() > 5
    offsets = head.deform(_codes(head, code4=1.0))
    assert torch.equal(offsets[:, 0].abs() > 1e-6, eyeballs)
    neutral = made_up.track.neutral
    width = np.mean([np.ptp(neutral[list(ring), 0]) for ring in (RIGHT_EYE, LEFT_EYE)])
    across = offsets[eyeballs, 0].mean() / parts["code_scale"][gaze]
    assert float(across) == pytest.approx(width, rel=0.05)


def test_a_head_is_carried_as_a_whole_by_its_pose(head: RiggedHead, made_up: MadeUp) -> None:
    code = head.encode(made_up.track.motion)[3]
    codes, pose, _ = code.split([head.codes, 7, 7])
    skin = head.parts["skin_logits"] > 4
    there = apply_pose(pose, head.parts["means"] + head.deform(codes)[:, :3])
    assert torch.allclose(head.pose(code).means[skin], there[skin], atol=0.02)


def test_gaussians_grow_with_their_triangle(head: RiggedHead) -> None:
    parts = head.parts
    parts["vertex_tables"] = torch.zeros_like(parts["vertex_tables"])
    parts["vertex_tables"][0] = parts["vertices"]  # at a code of 1 the mesh is twice as large
    offsets = head.deform(_codes(head, code0=1.0))
    follows = parts["follow"] == 1
    assert torch.allclose(offsets[follows, 9], torch.full((int(follows.sum()),), float(np.log(2))), atol=1e-4)
    assert torch.allclose(offsets[follows, :3], parts["means"][follows], atol=1e-4)


def test_it_learns_to_look_like_the_film(made_up: MadeUp) -> None:
    task = RiggedHead.learner(made_up.capture, made_up.track, made_up.triangles, Tools(Native()), SETTINGS)
    seen, motion = made_up.capture.frames[:10].astype(float), made_up.track.motion[slice(0, 10)]
    before = np.square(film(task.trained(), motion) - seen).mean()
    list(fit(task, STAGES, Budget(steps=150), reviews=0))
    after = np.square(film(task.trained(), motion) - seen).mean()
    assert after < before / 3


def test_what_strays_or_swells_is_pulled_back(made_up: MadeUp) -> None:
    task = RiggedHead.learner(made_up.capture, made_up.track, made_up.triangles, Tools(Native()), SETTINGS)
    usual = task.own_terms(STAGES[0], task.head.pose(task.head.encode(made_up.track.motion)[0]))
    skin = int((task.head.parts["follow"] == 1).nonzero()[0])
    with torch.no_grad():
        task.learned["means"][skin, 2] += 1.0
        task.learned["log_scales"][skin] = 0.0
    moved = task.own_terms(STAGES[0], task.head.pose(task.head.encode(made_up.track.motion)[0]))
    for name in ("strayed", "swollen"):
        assert moved[name] > usual[name] + 1e-4
        (pull,) = torch.autograd.grad(moved[name], task.learned["means" if name == "strayed" else "log_scales"])
        assert pull[skin].norm() > 0


def test_relocated_gaussians_take_over_the_triangle_but_leave_none_bare(
    made_up: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SETTINGS, fit=FitSettings(patch_share=0.25, relocate_from=0.5, relocate_every=9.0))
    task = RiggedHead.learner(made_up.capture, made_up.track, made_up.triangles, Tools(Native()), settings)
    parts = task.head.parts
    triangle = parts["triangle"].clone()
    lonely = int((torch.bincount(triangle) == 1).nonzero()[0])
    last = int((triangle == lonely).nonzero()[0])
    crowd = (torch.bincount(triangle)[triangle] > 5).nonzero()[:, 0]
    plan = Relocation(dead=torch.tensor([last, int(crowd[0])]), source=crowd[[5, 9]])
    monkeypatch.setattr("avatar3d.avatar._picture_fit.plan_relocation", lambda *_: plan)
    list(fit(task, STAGES, Budget(steps=4), reviews=0))
    assert parts["triangle"][last] == lonely
    assert parts["triangle"][crowd[0]] == triangle[crowd[9]]
    assert parts["follow"][crowd[0]] == parts["follow"][crowd[9]]
