# SPDX-License-Identifier: Apache-2.0
"""Relocation: who moves where, and what a picture may notice of it."""

from __future__ import annotations

import torch
from torch import Tensor

from avatar3d.density import (
    Relocation,
    copy_moments,
    keep_last,
    plan_relocation,
    plan_renewal,
    relocate,
    renewed,
)  # fmt: skip


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


def _renewal_scene() -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Opaque Gaussians at which nothing pulls."""
    scene = _scene() | {"group": torch.arange(200).to(torch.uint8), "number": torch.arange(200)}
    scene["opacity_logits"].fill_(1.0)
    return scene, torch.zeros(200), torch.zeros(200, dtype=torch.bool)


def test_renewal_lets_the_faint_and_unseen_go_and_the_steep_have_twins() -> None:
    scene, slope, unseen = _renewal_scene()
    scene["opacity_logits"][[3, 5]], unseen[7] = -6.0, True
    slope[[3, 7, 50, 120]] = 1.0  # of those that go, none has a twin
    plan = plan_renewal(scene["opacity_logits"].sigmoid(), slope, unseen, most=1000)
    after = renewed(scene, plan)
    stay = [row for row in range(200) if row not in (3, 5, 7)]
    assert after["number"].tolist() == [*stay, 50, 120]
    assert torch.equal(after["group"], after["number"].to(torch.uint8))
    assert after["number"][plan.first].tolist() == after["number"][plan.second].tolist() == [50, 120]
    alone = torch.ones(len(after["means"]), dtype=torch.bool)
    alone[plan.first], alone[plan.second] = False, False
    for name, tensor in after.items():
        assert torch.equal(tensor[alone], scene[name][after["number"]][alone]), name


def test_renewal_stops_at_the_number_that_is_set_and_takes_the_steepest() -> None:
    scene, slope, unseen = _renewal_scene()
    slope[:50] = torch.linspace(1, 2, 50)
    opacity = scene["opacity_logits"].sigmoid()
    plan = plan_renewal(opacity, slope, unseen, most=210)
    assert len(plan.source) == 210
    assert sorted(plan.source[200:].tolist()) == list(range(40, 50))
    assert len(plan_renewal(opacity, slope, unseen, most=150).source) == 200, "too many is no reason to go"


def test_twins_lie_apart_cover_what_one_covered_and_only_large_ones_shrink() -> None:
    scene, slope, unseen = _renewal_scene()
    scene["log_scales"][9], scene["log_scales"][4] = -3.0, -5.0
    slope[[4, 9]] = 1.0
    plan = plan_renewal(scene["opacity_logits"].sigmoid(), slope, unseen, most=1000)
    after = renewed(scene, plan)
    together = 1 - (1 - after["opacity_logits"][plan.first].sigmoid()) ** 2
    assert torch.allclose(together, torch.tensor(1.0).sigmoid())
    assert torch.equal(after["opacity_logits"][plan.first], after["opacity_logits"][plan.second])
    for row, shrink in ((0, 0.0), (1, 0.47)):
        first, second = plan.first[row], plan.second[row]
        parent = int(after["number"][first])
        middle = (after["means"][first] + after["means"][second]) / 2
        assert torch.allclose(middle, scene["means"][parent], atol=1e-6)
        assert not torch.equal(after["means"][first], after["means"][second])
        assert torch.allclose(after["log_scales"][[int(first), int(second)]], scene["log_scales"][parent] - shrink)


def test_moments_follow_those_who_stay_and_twins_have_their_sources() -> None:
    scene, slope, unseen = _renewal_scene()
    scene["opacity_logits"][0], slope[10] = -6.0, 1.0
    plan = plan_renewal(scene["opacity_logits"].sigmoid(), slope, unseen, most=1000)
    rows = torch.arange(200.0)
    state = {"exp_avg": rows[:, None], "exp_avg_sq": rows[:, None] ** 2, "step": torch.tensor(5.0)}
    moments = plan.moments(state)
    assert set(moments) == {"exp_avg", "exp_avg_sq"}
    assert moments["exp_avg"][:, 0].tolist() == [*range(1, 200), 10]
    tables = {"exp_avg": rows.expand(4, 200).clone()}
    assert plan.moments(tables, axis=1)["exp_avg"].shape == (4, 200)


def test_the_last_of_an_owner_stays() -> None:
    owner = torch.tensor([0, 0, 1, 2, 2, 2, 4])
    plan = Relocation(dead=torch.tensor([6, 3, 0, 5, 4]), source=torch.tensor([1, 2, 1, 2, 1]))
    kept = keep_last(plan, owner)
    # 6 is alone; of the three of owner 2, who would all go, the first that was named stays
    assert kept.dead.tolist() == [0, 5, 4]
    assert kept.source.tolist() == [1, 2, 1]


def test_a_plan_that_bares_nobody_is_kept_as_it_is() -> None:
    plan = Relocation(dead=torch.tensor([0, 3]), source=torch.tensor([1, 2]))
    kept = keep_last(plan, torch.tensor([0, 0, 1, 1]))
    assert torch.equal(kept.dead, plan.dead) and torch.equal(kept.source, plan.source)
    none = Relocation(plan.dead[:0], plan.source[:0])
    assert len(keep_last(none, torch.tensor([0, 0]))) == 0
