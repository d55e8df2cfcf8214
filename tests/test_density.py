# SPDX-License-Identifier: Apache-2.0
"""Relocation: who moves where, and what a picture may notice of it."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar3d.density import Relocation, copy_moments, plan_relocation, relocate


def _scene(count: int = 200) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "means": torch.randn(count, 3),
        "quats": torch.randn(count, 4),
        "log_scales": torch.full((count, 3), -3.0),
        "opacity_logits": torch.randn(count),
        "colours": torch.rand(count, 3),
    }


def _plan(scene: dict[str, Tensor], demand: Tensor, unseen: Tensor | None = None) -> Relocation:
    none = torch.zeros(len(demand), dtype=torch.bool)
    opacity = scene["opacity_logits"].sigmoid()
    return plan_relocation(opacity, scene["log_scales"], demand, none if unseen is None else unseen)


def test_the_faint_the_unneeded_and_the_unseen_move_and_nobody_else() -> None:
    scene, demand = _scene(), torch.ones(200)
    scene["opacity_logits"].fill_(2.0)
    unseen = torch.zeros(200, dtype=torch.bool)
    scene["opacity_logits"][3], demand[50], unseen[120] = -6.0, 1e-5, True
    plan = _plan(scene, demand, unseen)
    assert sorted(plan.dead.tolist()) == [3, 50, 120]
    assert not set(plan.source.tolist()) & {3, 50, 120}


def test_sources_are_distinct_where_the_demand_is() -> None:
    scene, demand = _scene(), torch.full((200,), 0.02)
    scene["opacity_logits"].fill_(2.0)
    scene["opacity_logits"][:5] = -6.0
    demand[100:110] = 1e4
    plan = _plan(scene, demand)
    assert len(plan) == 5
    assert len(set(plan.source.tolist())) == 5
    assert all(100 <= index < 110 for index in plan.source.tolist())


def test_most_gaussians_stay_put_even_when_half_are_dead() -> None:
    scene, demand = _scene(), torch.ones(200)
    scene["opacity_logits"].fill_(2.0)
    scene["opacity_logits"][:100] = -6.0
    assert 0 < len(_plan(scene, demand)) <= 100 // 12


def test_nothing_to_move_is_an_empty_plan() -> None:
    scene = _scene()
    scene["opacity_logits"].fill_(2.0)
    plan = _plan(scene, torch.ones(200))
    before = {name: tensor.clone() for name, tensor in scene.items()}
    relocate(scene, plan)
    assert len(plan) == 0
    assert all(torch.equal(scene[name], before[name]) for name in scene)


def test_twins_on_top_of_one_another_cover_what_their_source_did() -> None:
    scene = _scene()
    plan = Relocation(torch.tensor([1, 2]), torch.tensor([10, 20]))
    before = {name: tensor.clone() for name, tensor in scene.items()}
    relocate(scene, plan)
    opacity = scene["opacity_logits"].sigmoid()
    together = 1 - (1 - opacity[plan.dead]) * (1 - opacity[plan.source])
    assert torch.allclose(together, before["opacity_logits"].sigmoid()[plan.source], atol=1e-5)
    assert torch.equal(scene["colours"][plan.dead], before["colours"][plan.source])
    # they part in opposite directions, by less than the source's extent
    middle = (scene["means"][plan.dead] + scene["means"][plan.source]) / 2
    assert torch.allclose(middle, before["means"][plan.source], atol=1e-6)
    assert (scene["means"][plan.dead] - middle).norm(dim=1).max() < 5 * 0.05
    untouched = torch.ones(200, dtype=torch.bool)
    untouched[[1, 2, 10, 20]] = False
    assert all(torch.equal(scene[name][untouched], before[name][untouched]) for name in scene)


def test_moments_follow_along_either_axis() -> None:
    plan = Relocation(torch.tensor([0]), torch.tensor([2]))
    rows = {"exp_avg": torch.arange(6.0).view(3, 2), "step": torch.tensor(4.0)}
    copy_moments(rows, plan)
    assert rows["exp_avg"].tolist() == [[4, 5], [2, 3], [4, 5]]
    tables = {"exp_avg_sq": torch.arange(6.0).view(2, 3)}
    copy_moments(tables, plan, axis=1)
    assert tables["exp_avg_sq"].tolist() == [[2, 1, 2], [5, 4, 5]]
