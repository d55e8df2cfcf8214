# SPDX-License-Identifier: Apache-2.0
"""The NeRF head and its training, in every variant."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_up import COUNTS, SIZE, MadeUp
from torch import Tensor

from avatar3d.avatar._radiance_fit import RadianceFit, RadianceFitSettings
from avatar3d.avatar._seen import Seen
from avatar3d.avatar.radiance import VARIANTS, RadianceHead, RadianceSettings
from avatar3d.contracts import Head, Tools
from avatar3d.errors import InputError
from avatar3d.fit import Budget, fit
from avatar3d.geometry import compose
from avatar3d.perceptual import gradient_loss
from avatar3d.records import Motion
from avatar3d.render.native import Native
from avatar3d.render.volume import Volume
from avatar3d.seeds import seeded

ALL_AT_ONCE = {"occupancy_every": 1, "occupancy_from": 0, "lit_every": 1, "lit_from": 0, "refine_from": 0.0}


def _small(variant: str) -> RadianceSettings:
    settings = VARIANTS[variant]()
    fit_settings = replace(settings.fit, samples=3000, **ALL_AT_ONCE)  # type: ignore[arg-type]
    return replace(settings, counts=COUNTS, expression=2, cells=24, step_u=0.08, most=8, fit=fit_settings)


def _task(made_up: MadeUp, variant: str = "rad-nerf", **changed: object) -> RadianceFit:
    tools = Tools(Volume(), gradient_loss)
    settings = replace(_small(variant), **changed)  # type: ignore[arg-type]
    task = RadianceHead.learner(made_up.capture, made_up.track, made_up.triangles, tools, settings)
    assert isinstance(task, RadianceFit)
    return task


def _states(task: RadianceFit) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in task.snapshot().items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_that_is_broken_off_ends_with_the_same_bits(variant: str, made_up: MadeUp, tmp_path: Path) -> None:
    stages, budget = RadianceHead.stages, Budget(steps=4)
    whole = _task(made_up, variant)
    reports = list(fit(whole, stages, budget, reviews=0))
    assert all(report.gradient > 0 for report in reports)
    assert {report.stage for report in reports} >= {"grow", "head", "lips"}
    broken = fit(_task(made_up, variant), stages, budget, reviews=0, checkpoint=tmp_path / "it")
    for _ in range(2):
        next(broken)
    broken.close()
    resumed = _task(made_up, variant)
    assert len(list(fit(resumed, stages, budget, reviews=0, checkpoint=tmp_path / "it"))) == 2
    ends = _states(resumed)
    assert all(torch.equal(tensor, ends[name]) for name, tensor in _states(whole).items())


@pytest.mark.parametrize("variant", ["rad-nerf", "geneface++"])
def test_everything_that_is_learned_gets_a_gradient(variant: str, made_up: MadeUp) -> None:
    task, stage = _task(made_up, variant), RadianceHead.stages[2]
    for name in {"enlarger/2", "field/attend"} & task.learned.keys():  # what begins at nothing lets nothing through
        task.learned[name].data.uniform_(-0.01, 0.01)
    task.codes[:, -8:-4] += 0.5  # lids and gaze of the made-up person are at rest in most frames
    terms = task.losses(stage, 0.8, 2, [5, 6])
    sum(weight * terms[name] for name, weight in stage.weights.items()).backward()
    for name, tensor in task.learned.items():
        assert tensor.grad is not None and tensor.grad.isfinite().all() and tensor.grad.abs().sum() > 0, name
    assert task.corrections.rows.grad is not None and (task.corrections.rows.grad.abs().sum(1) > 0).all()


def test_a_motion_that_is_measured_anew_is_trained_on_and_kept(made_up: MadeUp, tmp_path: Path) -> None:
    better = replace(made_up.track.motion, expression=made_up.track.motion.expression * 1.5)
    asked: list[RadianceHead] = []

    def once(head: Head) -> Motion:
        assert isinstance(head, RadianceHead)
        asked.append(head)
        return better

    first, second, stages = _task(made_up), _task(made_up), RadianceHead.stages
    for task in (first, second):
        task.tools = replace(task.tools, retrack=once)
    broken = fit(first, stages, Budget(steps=8), reviews=0, checkpoint=tmp_path / "it")
    for _ in range(4):
        next(broken)
    broken.close()
    list(fit(second, stages, Budget(steps=8), reviews=0, checkpoint=tmp_path / "it"))
    assert len(asked) == 1
    expected = second.head.encode(better)[:, : second.head.codes]
    assert torch.equal(second.codes, expected) and not torch.equal(_task(made_up).codes, expected)


def test_occupancy_never_loses_a_dense_cell(made_up: MadeUp) -> None:
    task = _task(made_up)
    hull = task.head.parts["occupied"].clone()
    task.learned["field/hull_planes"].data.fill_(20.0)
    task.measure_occupancy(1.0)
    for _ in range(8):
        task.measure_occupancy(0.5)
    task._empty()
    assert torch.equal(task.head.parts["occupied"], hull)
    # air in the left half
    cells = task.head.field.hull_cells + 1
    task.learned["field/hull_planes"].data.view(cells, cells, cells)[..., : cells // 2] = -20.0
    for _ in range(200):  # what was dense is remembered for a while
        task.measure_occupancy(1.0)
    task._empty()
    emptied = hull & ~task.head.parts["occupied"]
    assert emptied[:11].any() and torch.equal(task.head.parts["occupied"][13:], hull[13:])
    assert not task.head.parts["occupied"][:11].any()


def test_samples_are_spared_where_no_light_comes(made_up: MadeUp) -> None:
    task = _task(made_up)
    task.learned["field/hull_planes"].data.fill_(20.0)
    for _ in range(40):
        task._look_where_light_reaches()
    lit = task._worth_sampling()
    hull = task.head.parts["occupied"]
    assert 0 < lit.sum() < 0.8 * hull.sum()
    # the front of the face is looked at, and z goes towards the camera
    nose = hull.nonzero()[hull.nonzero()[:, 2].argmax()]
    assert lit[tuple(nose)]


def test_what_no_picture_shows_becomes_what_was_expected(made_up: MadeUp) -> None:
    task = _task(made_up)
    posed = task.head.pose(task.head.encode(made_up.track.motion)[0])
    assert not torch.equal(task.expected, task.learned["field/hull_planes"]), "firmer than it begins"
    with seeded(1):
        before = task._unseen_terms(posed)
    assert float(before["expected"].detach()) > 0.1
    task.learned["field/hull_planes"].data.copy_(task.expected)
    task.learned["field/density"].data.zero_()  # the network says nothing
    with seeded(1), torch.no_grad():
        after = task._unseen_terms(posed)
    assert float(after["expected"]) < 1e-6 and float(after["smooth"]) == 0


def test_the_torso_goes_with_the_body_and_the_field_with_the_head(made_up: MadeUp) -> None:
    head = _task(made_up).trained()
    g = torch.Generator().manual_seed(1)
    for name in ("torso/planes", "field/planes"):
        head.parts[name] = torch.randn(head.parts[name].shape, generator=g)
    code = head.encode(made_up.track.motion)[0]
    moved = code.clone()
    moved[-3] += 0.5
    here, there = (head.pose(one) for one in (code, moved))
    assert torch.equal(here.cube_from_world, there.cube_from_world)
    ways = torch.tensor([[0.0, 0.1, 1.0], [0.1, 0.2, 1.0], [0.0, 0.0, -1.0]])
    _, alpha, depth = here.behind(torch.zeros(3), ways)
    assert alpha[2] == depth[2] == 0, "nothing of it stands behind the camera"
    assert torch.allclose(depth[:2], head.parts["rest_pose"][6].expand(2), atol=1e-4)
    assert not torch.allclose(alpha, there.behind(torch.zeros(3), ways)[1])
    # a camera that stands elsewhere sees the same points of the flat picture
    aside = torch.tensor([1.0, 0.0, 0.0])
    target = ways[:2] * depth[:2, None] - aside
    assert torch.allclose(here.behind(aside, target)[1], alpha[:2], atol=1e-3)


def test_the_cube_is_carried_by_the_heads_pose(made_up: MadeUp) -> None:
    head = _task(made_up).trained()
    code = head.encode(made_up.track.motion)[3]
    shift = torch.tensor([0.9238795, 0.0, 0.3826834, 0.0, 0.3, -0.2, 0.5])
    other = code.clone()
    other[-14:-7] = compose(shift, code[-14:-7])
    first, second = (head.pose(one) for one in (code, other))
    at = [(posed.points @ posed.cube_from_world[:3, :3].T + posed.cube_from_world[:3, 3]) for posed in (first, second)]
    assert torch.allclose(at[0], at[1], atol=1e-4)
    assert ((at[0] > 0) & (at[0] < 1)).all()


def test_a_window_never_looks_over_a_cut(made_up: MadeUp) -> None:
    head, motion = _task(made_up, "geneface++").trained(), made_up.track.motion
    single = head.codes // 5
    windows = head.encode(motion, (30,))[:, : head.codes].view(len(motion), 5, single)
    middle = windows[:, 2]
    assert torch.equal(windows[10, 0], middle[8]) and torch.equal(windows[10, 4], middle[12])
    assert torch.equal(windows[29, 4], middle[29]) and torch.equal(windows[30, 0], middle[30])
    assert torch.equal(windows[0, 1], middle[0])


def test_geneface_adapts_how_much_reach_counts(made_up: MadeUp) -> None:
    task = _task(made_up, fit=replace(_small("rad-nerf").fit, adapted_reach=1e-4))
    points, far = torch.rand(50, 3), torch.ones(50, 2)
    before = float(task.reach_weight)
    task._reach([(points, far)])
    assert float(task.reach_weight) > before
    task._reach([(points, far * 1e-7)])
    task._reach([(points, far * 1e-7)])
    assert 0 <= float(task.reach_weight) < before + 0.05


def test_pixels_of_a_step_lie_in_the_picture_and_keep_the_samples_in_number(made_up: MadeUp) -> None:
    task = _task(made_up)
    at = task._some_pixels(3, None)
    assert ((at >= 0.5) & (at <= SIZE - 0.5)).all() and torch.equal(at, at.floor() + 0.5)
    task.mean_samples.fill_(2.0)
    assert len(task._some_pixels(3, None)) == 1500
    side = task.rays.patch_px
    for seed in range(20):
        with seeded(seed):
            left, top = task.rays.patch(3)
        patch = task._some_pixels(3, (left, top))[: side**2].view(side, side, 2)
        assert torch.equal(patch[1:, :, 1] - patch[:-1, :, 1], torch.ones(side - 1, side))
        assert patch[0, 0].tolist() == [left + 0.5, top + 0.5] and patch.max() < SIZE


def test_a_field_of_half_the_size_is_held_against_the_film_as_it_is(made_up: MadeUp) -> None:
    """Rays see the mean of 2 x 2 filmed pixels; what is enlarged is judged by each of them."""
    task = _task(made_up, "geneface++")
    assert task.level == 1 and task.rays.width == SIZE // 2
    at = torch.tensor([[3.5, 7.5]])
    filmed = task.frames.target(3, 0)[:, 14:16, 6:8].mean((1, 2))
    assert torch.allclose(task.rays.real(3, at)[0], filmed, atol=1e-6)
    task.rays.patch_px = side = 24
    patch = (2, 3)
    low = torch.nn.functional.avg_pool2d(task.frames.target(3, 0), 2)[:, 3 : 3 + side, 2 : 2 + side]
    found = Seen(low.reshape(3, -1).T, torch.ones(side**2), torch.ones(side**2))
    posed = task.head.pose(task.head.encode(made_up.track.motion)[3])
    with torch.no_grad():
        there, aside = (float(task._patch_terms(found, posed, 3, at)["enlarged"]) for at in (patch, (3, 3)))
    assert there < 0.5 * aside, "an enlarged patch lies where it was filmed"


def test_a_head_that_enlarges_draws_whole_pictures(made_up: MadeUp) -> None:
    head = _task(made_up, "geneface++").trained()
    picture = Volume()(head.pose(head.encode(made_up.track.motion)[0]), head.camera)
    assert picture.rgb.shape == (SIZE, SIZE, 3)
    again = RadianceHead.restore(head.config(), head.tensors())
    assert again.enlarger == head.enlarger


def test_what_reads_the_grids_in_training_is_no_part_of_the_head(made_up: MadeUp) -> None:
    trained = _task(made_up, shape={"layout": "ngp", "half": True}, path="tinycudann").trained()
    told = json.loads(json.dumps(trained.config()))
    restored = RadianceHead.restore(told, trained.tensors())
    code = restored.encode(made_up.track.motion)[0]
    points = torch.rand(20, 3)
    with pytest.raises(RuntimeError, match="tinycudann runs on CUDA alone"):
        trained.pose(code).density(points)
    assert "path" not in told["shape"]
    assert (restored.field.layout, restored.field.half) == ("ngp", True)
    assert restored.pose(code).density(points)[0].isfinite().all()


def test_a_renderer_without_pixels_cannot_train_it(made_up: MadeUp) -> None:
    with pytest.raises(InputError, match="renderer volume"):
        RadianceFit(_task(made_up).trained(), made_up.capture, made_up.track, Tools(Native()), RadianceFitSettings())
