# SPDX-License-Identifier: Apache-2.0
"""The tri-plane head: what moves and what does not, and what its training asks of a stage."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from made_up import COUNTS, MadeUp

from avatar3d.avatar._driven import started
from avatar3d.avatar._scatter import HEAD, MOUTH, SHELL, TORSO
from avatar3d.avatar._triplane_fit import TriplaneFit
from avatar3d.avatar.triplane import TriplaneHead, TriplaneSettings
from avatar3d.contracts import Tools
from avatar3d.density import Relocation
from avatar3d.fit import Budget, Stage, fit
from avatar3d.render.native import Native

SETTINGS = TriplaneSettings(COUNTS, expression=2, taught_steps=150)
TERMS = {"picture": 1.0, "motion": 1e-3, "attention": 1e-3}


def _task(made_up: MadeUp) -> TriplaneFit:
    return TriplaneHead.learner(
        made_up.capture, made_up.track, made_up.triangles, Tools(Native()), replace(SETTINGS, taught_steps=2)
    )


@pytest.fixture(scope="module")
def head(made_up: MadeUp) -> TriplaneHead:
    """Taught the tracker's motion."""
    still = TriplaneHead.from_track(made_up.capture, made_up.track, made_up.triangles, SETTINGS)
    return still.taught(started(made_up.capture, made_up.track, made_up.triangles, SETTINGS, 0))


def test_taught_it_repeats_the_trackers_motion(head: TriplaneHead, made_up: MadeUp) -> None:
    points = started(made_up.capture, made_up.track, made_up.triangles, SETTINGS, 0).points
    codes = head.encode(made_up.track.motion)[made_up.track.fitted_frames :, : head.codes]
    wanted = torch.einsum("te,enc->tnc", codes[:, :2], torch.from_numpy(points.tables))
    found = torch.stack([head.deform(code)[:, :3] for code in codes])
    face = head.parts["group"] <= SHELL
    left = (found - wanted)[:, face].square().sum() / wanted[:, face].square().sum()
    assert left < 0.1


def test_colours_and_the_torso_stay_as_they_are(head: TriplaneHead, made_up: MadeUp) -> None:
    offsets = head.deform(head.encode(made_up.track.motion)[20, : head.codes])
    group = head.parts["group"]
    assert offsets.shape == (len(head), 12)
    assert not offsets[:, 6:9].any()
    assert not offsets[group == TORSO].any()
    assert not offsets[group == MOUTH, 3:].any()
    assert all(offsets[group == part, :3].any() for part in (HEAD, SHELL, MOUTH))


def test_the_mouth_moves_mainly_up_and_down(head: TriplaneHead) -> None:
    moved = head.channels("mouth", torch.ones(1, 3))[0, :3]
    assert moved[1] == pytest.approx(5 * moved[0])
    assert moved[0] == moved[2]


def test_a_still_head_is_looked_at_once(head: TriplaneHead, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = TriplaneHead.restore(head.config(), head.tensors())
    looks: list[str] = []
    look = TriplaneHead.look
    monkeypatch.setattr(
        TriplaneHead, "look", lambda self, branch, rows: (looks.append(branch), look(self, branch, rows))[1]
    )
    code = torch.zeros(head.codes)
    assert torch.equal(fresh.deform(code), fresh.deform(code))
    assert sorted(looks) == ["face", "mouth"]


def test_gradients_reach_the_codes(head: TriplaneHead) -> None:
    code = torch.zeros(head.codes, requires_grad=True)
    (by_code,) = torch.autograd.grad(head.deform(code).square().sum(), code)
    assert by_code[:6].all()


def test_training_and_drawing_move_it_alike(made_up: MadeUp) -> None:
    task = _task(made_up)
    list(fit(task, [Stage("all", 1.0, TERMS)], Budget(steps=3), reviews=0))
    code = task.codes[20]
    with torch.no_grad():
        moved = task.offsets(code)
    drawn = TriplaneHead.restore({"width": 64, "height": 64}, task.head.tensors()).deform(code)
    assert torch.allclose(moved, drawn, atol=1e-6)


def _gradients(made_up: MadeUp, stage: Stage, step: int) -> tuple[torch.Tensor, dict[str, torch.Tensor | None]]:
    """Of a picture by the offsets' positions of every Gaussian's field, and by what the fields learn."""
    task = _task(made_up)
    terms = task.losses(stage, 0.5, step, [0])
    sum(stage.weights[name] * term for name, term in terms.items() if name in stage.weights).backward()
    return task.head.parts["group"], {name: tensor.grad for name, tensor in task.learned.items() if "/" in name}


def test_a_still_stage_teaches_the_fields_nothing(made_up: MadeUp) -> None:
    _, gradients = _gradients(made_up, Stage("warm-up", 1.0, TERMS, own={"still": 1}), 0)
    assert all(gradient is None or not gradient.any() for gradient in gradients.values())


def test_hair_learns_its_motion_in_some_steps_alone(made_up: MadeUp) -> None:
    stage = Stage("face", 1.0, {"picture": 0.0, "attention": 1.0}, own={"hair_every": 7})
    found = []
    for step in (6, 7):
        _, gradients = _gradients(made_up, stage, step)
        lower = gradients["face/lower"]  # which only hair is asked to keep small
        found.append(lower is not None and bool(lower.any()))
    assert found == [False, True]


@pytest.mark.parametrize(("what", "values"), [("opening_every", "openings"), ("blink_every", "blinks")])
def test_windows_slide_from_shut_to_wide(made_up: MadeUp, what: str, values: str) -> None:
    task = _task(made_up)
    stage = Stage("face", 0.6, TERMS, own={what: 15, "since": 0.2})
    early, late = (
        torch.stack([getattr(task, values)[task.frame_for(stage, progress, 30)] for _ in range(20)])
        for progress in (0.2, 0.6)
    )
    assert early.max() < 0.35
    assert late.min() > 0.75


def test_relocated_gaussians_move_with_their_new_group(made_up: MadeUp) -> None:
    task = _task(made_up)
    stage = Stage("all", 1.0, TERMS)
    task.losses(stage, 0.5, 1, [0])
    group = task.head.parts["group"]
    within = (task.head.parts["means"].abs() < 1).all(1)
    dead, source = ((group == TORSO) & within).nonzero()[:1, 0], (group == HEAD).nonzero()[:1, 0]
    group[dead] = group[source]
    task.own_relocation(Relocation(dead, source))
    with torch.no_grad():
        assert task.offsets(task.codes[20])[dead].any()
