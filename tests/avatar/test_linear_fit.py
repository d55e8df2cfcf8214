# SPDX-License-Identifier: Apache-2.0
"""Training a linear head on the made-up person: it learns, resumes, repeats itself, and keeps its books."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import SETTINGS, MadeUp, film

from avatar3d.avatar._fit_settings import FitSettings
from avatar3d.avatar._linear_fit import LinearFit
from avatar3d.avatar.linear import LinearHead
from avatar3d.contracts import Tools
from avatar3d.density import Relocation
from avatar3d.fit import Budget, Stage, StepReport, fit
from avatar3d.perceptual import gradient_loss
from avatar3d.records import Camera, Gaussians, Image, Motion
from avatar3d.render.native import Native

STAGES = [Stage("shape", 0.5, {"picture": 1.0}), Stage("detail", 1.0, {"picture": 1.0, "perceptual": 0.1})]
SMALL = FitSettings(patch_share=0.25)


def _task(made_up: MadeUp, settings: FitSettings = SMALL) -> LinearFit:
    head = LinearHead.from_track(made_up.capture, made_up.track, made_up.triangles, SETTINGS)
    return LinearFit(head, made_up.capture, made_up.track, Tools(Native(), gradient_loss), settings).painted()


def _run(task: LinearFit, steps: int, **options: object) -> list[StepReport]:
    return list(fit(task, STAGES, Budget(steps=steps), reviews=0, **options))  # type: ignore[arg-type]


def _psnr(a: np.ndarray, b: np.ndarray, region: np.ndarray) -> float:
    error = np.square(a.astype(float) - b.astype(float)) / 255**2
    return float(-10 * np.log10(error[region].mean()))


def _hull(made_up: MadeUp, frames: range) -> np.ndarray:
    """[T,H,W] bool: a box about each face."""
    inside = np.zeros((len(frames), *made_up.capture.frames.shape[1:3]), bool)
    for row, frame in enumerate(frames):
        low, high = (f(made_up.track.landmarks.points[frame, :468, :2], 0).astype(int) for f in (np.min, np.max))
        inside[row, low[1] : high[1], low[0] : high[0]] = True
    return inside


@pytest.fixture(scope="module")
def learned(made_up: MadeUp) -> LinearHead:
    """Trained for 300 steps."""
    task = _task(made_up)
    _run(task, 300)
    return task.trained()


def test_it_beats_the_mean_image_by_6_db_on_frames_it_never_saw(made_up: MadeUp, learned: LinearHead) -> None:
    start, frames = made_up.track.fitted_frames, made_up.capture.frames
    held_out = range(start, len(frames))
    hull = _hull(made_up, held_out)
    mean_image = np.broadcast_to(frames[:start].mean(0), frames[start:].shape)
    drawn = film(learned, made_up.track.motion)[start:]
    assert _psnr(drawn, frames[start:], hull) > _psnr(mean_image, frames[start:], hull) + 6


def test_training_moves_it_towards_the_film(made_up: MadeUp, learned: LinearHead) -> None:
    fresh = _task(made_up).trained()
    frames = made_up.capture.frames[:10]
    motion = made_up.track.motion[slice(0, 10)]
    everywhere = np.ones(frames.shape[:3], bool)
    assert _psnr(film(learned, motion), frames, everywhere) > _psnr(film(fresh, motion), frames, everywhere) + 3


def test_one_shot_colours_are_those_of_the_film(made_up: MadeUp) -> None:
    head = LinearHead(made_up.truth.parts, made_up.truth.width, made_up.truth.height)
    known = head.parts["colours"].clone()
    head.parts["colours"] = torch.full_like(known, 0.5)
    task = LinearFit(head, made_up.capture, made_up.track, Tools(Native())).painted()
    error = (task.learned["colours"] - known).abs().mean(1)
    assert error[~task.unseen].median() < 0.12
    assert (known - 0.5).abs().mean() > 0.2
    # what is hidden in every frame keeps its grey
    assert task.unseen.any()
    assert torch.equal(task.learned["colours"][task.unseen], torch.full((int(task.unseen.sum()), 3), 0.5))


def test_a_resumed_run_takes_the_steps_it_would_have_taken(made_up: MadeUp, tmp_path: Path) -> None:
    whole = _task(made_up)
    _run(whole, 40)
    checkpoint = tmp_path / "checkpoint.safetensors"
    for report in fit(_task(made_up), STAGES, Budget(steps=40), reviews=0, checkpoint=checkpoint):
        if report.step == 23:
            break
    second = _task(made_up)
    reports = _run(second, 40, checkpoint=checkpoint)
    assert [reports[0].step, reports[-1].step] == [24, 40]
    expected = whole.snapshot()
    for name, tensor in second.snapshot().items():
        assert torch.allclose(tensor.float(), expected[name].float(), atol=1e-5), name


def _turned(made_up: MadeUp) -> Motion:
    head = made_up.track.motion.head.copy()
    head[:, 4] += 0.02
    return replace(made_up.track.motion, head=head)


def test_a_motion_measured_again_on_the_way_is_followed_and_kept_by_a_resumed_run(
    made_up: MadeUp, tmp_path: Path
) -> None:
    asked: list[int] = []

    def once(head: LinearHead) -> Motion:
        asked.append(len(head))
        return _turned(made_up)

    def never(_: LinearHead) -> Motion:
        raise AssertionError("measured twice")

    checkpoint = tmp_path / "checkpoint.safetensors"
    first = _task(made_up)
    first.tools = replace(first.tools, retrack=once)
    for report in fit(first, STAGES, Budget(steps=20), reviews=0, checkpoint=checkpoint):
        if report.step == 2:
            assert not asked
        if report.step == 3:  # the first step from a tenth on
            assert torch.equal(first.poses, torch.from_numpy(_turned(made_up).head))
            assert not first.corrections.values[:, :6].any()
        if report.step == 12:
            break
    second = _task(made_up)
    second.tools = replace(second.tools, retrack=never)
    _run(second, 20, checkpoint=checkpoint)
    assert len(asked) == 1
    assert torch.equal(second.poses, torch.from_numpy(_turned(made_up).head))


def test_relocations_that_the_clock_passed_over_are_not_caught_up_with(
    made_up: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, at = _task(made_up), [0.061, 0.062, 0.10, 0.31, 0.311, 0.312, 0.34, 0.8]
    optimiser, moved = torch.optim.Adam(task.param_groups()), list[float]()
    for progress in at:
        monkeypatch.setattr(task, "_relocate", lambda _, now=progress: moved.append(now))
        task.after_step(STAGES[0], progress, 1, optimiser)
    assert moved == [0.061, 0.10, 0.31, 0.34]


def test_bodies_that_were_measured_are_trained_on_and_foretold_from_the_head(made_up: MadeUp) -> None:
    motion = made_up.track.motion
    rest = made_up.truth.parts["rest_pose"].numpy()
    body = np.tile(rest, (len(motion), 1)).astype(np.float32)
    body[:, 4:] += 2 * (motion.head[:, 4:] - rest[4:])  # twice as far as the head goes, of all things
    measured = replace(motion, body=body)
    task = _task(made_up)
    task.tools = replace(task.tools, retrack=lambda _: measured)
    _run(task, 10)
    assert task.bodies is not None
    assert torch.allclose(task.bodies[:, 3:], torch.from_numpy(body[:, 4:] - rest[4:]), atol=1e-6)
    assert task.corrections.values[:, 6:].abs().max() < 0.01
    foretold = task.trained().body(motion)[:, 4:6] - rest[4:6]
    assert np.corrcoef(foretold.ravel(), (body[:, 4:6] - rest[4:6]).ravel())[0, 1] > 0.99
    again = _task(made_up)
    again.restore(task.snapshot())
    assert again.bodies is not None
    assert torch.equal(again.bodies, task.bodies)


def test_the_same_seed_repeats_and_another_does_not(made_up: MadeUp) -> None:
    losses = [[report.loss for report in _run(_task(made_up), 12, seed=seed)] for seed in (5, 5, 6)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert losses[0] != pytest.approx(losses[2], abs=1e-3)


def test_a_batch_drawn_in_one_call_is_the_one_drawn_picture_by_picture(
    made_up: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    class Counting(Native):
        def __call__(self, gaussians: Gaussians, camera: Camera) -> Image:
            calls.append(gaussians.means.ndim)
            return super().__call__(gaussians, camera)

    found = []
    for together in (True, False):
        monkeypatch.setattr(LinearFit, "batches", together)
        task = _task(made_up, replace(SMALL, hidden_every=0))
        task.tools = replace(task.tools, draw=Counting())
        losses = [report.loss for report in _run(task, 6, batch=3)]
        found.append((losses, {name: tensor.detach().clone() for name, tensor in task.learned.items()}))
    assert calls == [3] * 6 + [2] * 18
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    # sums of another order, made larger where a gradient is next to nothing by Adam's steps of up to 1e-2
    for name, tensor in found[0][1].items():
        assert torch.allclose(tensor, found[1][1][name], rtol=1e-3, atol=1e-4), name


def test_relocated_gaussians_take_over_parameters_and_moments(made_up: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Relocation(dead=torch.tensor([3, 8]), source=torch.tensor([100, 200]))
    monkeypatch.setattr("avatar3d.avatar._picture_fit.plan_relocation", lambda *_: plan)
    task = _task(made_up, replace(SMALL, relocate_from=0.5, relocate_every=9.0, relocate_until=1.0))
    states: dict[str, dict[str, torch.Tensor]] = {}
    watched = task.after_step

    def after_step(stage: Stage, progress: float, step: int, optimiser: torch.optim.Optimizer) -> None:
        watched(stage, progress, step, optimiser)
        if task.demand.abs().sum() == 0:  # relocation has just emptied it
            for name in ("means", "quats", "colours"):
                states[name] = {key: value.clone() for key, value in optimiser.state[task.learned[name]].items()}
            states["now"] = {name: tensor.detach().clone() for name, tensor in task.learned.items()}
            states["tables"] = {key: value.clone() for key, value in task.moments.items()}

    monkeypatch.setattr(task, "after_step", after_step)
    _run(task, 10)
    now = states["now"]
    for name in ("quats", "colours", "skin_logits", "log_scales", "opacity_logits"):
        assert torch.equal(now[name][plan.dead], now[name][plan.source]), name
    assert torch.equal(now["tables"][:, plan.dead], now["tables"][:, plan.source])
    for name in ("means", "quats", "colours"):
        for key in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(states[name][key][plan.dead], states[name][key][plan.source]), (name, key)
    assert torch.equal(states["tables"]["exp_avg_sq"][:, plan.dead], states["tables"]["exp_avg_sq"][:, plan.source])
    assert not torch.equal(now["means"][plan.dead], now["means"][plan.source])


DENSER = replace(SMALL, relocate_until=0.0, renew_every=4, renew_from=6, renew_until=0.8, most=2350, pixels_each=1)


def _as_many(task: LinearFit) -> set[int]:
    """The lengths of everything that has a row per Gaussian."""
    rows = [task.head.parts[name] for name in task.head.per_gaussian] + [task.demand, task.unseen]
    tables = [task.learned["tables"], *task.moments.values()]
    return {len(tensor) for tensor in rows} | {tensor.shape[1] for tensor in tables}


def test_density_control_changes_the_number_of_gaussians_and_everything_follows(made_up: MadeUp) -> None:
    task = _task(made_up, DENSER)
    start = len(task.head)
    numbers = []
    for report in fit(task, STAGES, Budget(steps=30), reviews=0):
        (number,) = _as_many(task)
        numbers.append(number)
        assert report.step < 8 or number <= DENSER.most
    changed = [step for step in range(1, 30) if numbers[step] != numbers[step - 1]]
    assert changed and set(changed) <= {7, 11, 15, 19, 23}, "only when it is due, and not near the end"
    assert numbers[0] == start != numbers[-1]
    assert task.learned["means"].grad is not None and len(task.learned["means"].grad) == numbers[-1]
    head = task.trained()
    assert torch.isfinite(torch.from_numpy(film(head, made_up.track.motion).astype(np.float32))).all()


def test_a_resumed_run_has_the_gaussians_it_had_when_it_was_interrupted(made_up: MadeUp, tmp_path: Path) -> None:
    whole, checkpoint = _task(made_up, DENSER), tmp_path / "checkpoint.safetensors"
    expected = _run(whole, 30)
    for report in fit(_task(made_up, DENSER), STAGES, Budget(steps=30), reviews=0, checkpoint=checkpoint):
        if report.step == 13:
            break
    second = _task(made_up, DENSER)
    rest = _run(second, 30, checkpoint=checkpoint)
    assert len(second.head) != len(_task(made_up, DENSER).head)
    assert [report.loss for report in rest] == [report.loss for report in expected[13:]]
    for name, tensor in whole.snapshot().items():
        assert torch.equal(tensor, second.snapshot()[name]), name


def test_body_corrections_that_follow_the_head_are_folded_into_the_map(made_up: MadeUp) -> None:
    task = _task(made_up)
    truth = 0.05 * torch.randn(19, 6, generator=torch.Generator().manual_seed(2))
    wanted = task.features @ truth
    task.corrections.values[:, 6:] = wanted
    before = task.learned["body_map"].detach().clone()
    folded = task.features @ (task.trained().parts["body_map"] - before)
    usable = task.frames.usable
    left = (folded - wanted)[usable].square().sum() / (wanted - wanted[usable].mean(0))[usable].square().sum()
    assert 1 - left > 0.8


def test_gaussians_that_draw_nothing_or_were_never_seen_are_left_out(made_up: MadeUp) -> None:
    task = _task(made_up)
    task.unseen.fill_(False)
    task.unseen[[2, 5]] = True
    task.learned["opacity_logits"].data[7] = -9.0
    kept = task.trained()
    assert len(kept) == len(task.head) - 3
    rows = torch.ones(len(task.head), dtype=torch.bool)
    rows[[2, 5, 7]] = False
    assert torch.equal(kept.parts["means"], task.learned["means"][rows])
    assert kept.parts["tables"].shape[1] == len(kept)


def test_frames_without_confidence_are_never_drawn(made_up: MadeUp) -> None:
    confidence = made_up.track.confidence.copy()
    confidence[10:30] = 0
    task = LinearFit(made_up.truth, made_up.capture, replace(made_up.track, confidence=confidence), Tools(Native()))
    assert task.chances[10:30].sum() == 0
    assert task.chances[made_up.track.fitted_frames :].sum() == 0
    assert task.chances.sum() == pytest.approx(1)
