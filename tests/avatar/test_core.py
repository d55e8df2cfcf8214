# SPDX-License-Identifier: Apache-2.0
"""What stands within a head while it is trained."""

from __future__ import annotations

from dataclasses import replace

import torch
from made_up import COUNTS, SETTINGS, MadeUp

from avatar3d.avatar._core import Core
from avatar3d.avatar._hidden import Hidden
from avatar3d.avatar._scatter import CORE, HEAD, SHELL
from avatar3d.avatar.linear import LinearHead
from avatar3d.contracts import Tools
from avatar3d.fit import Budget, Stage, fit
from avatar3d.render.native import Native

EARS_U = -0.2
STILL = ("means", "quats", "log_scales", "opacity_logits", "skin_logits")


def test_training_leaves_the_core_where_it_is_and_gives_it_the_persons_colours(made_up: MadeUp) -> None:
    settings = replace(SETTINGS, counts=replace(COUNTS, core=150))
    task = LinearHead.learner(made_up.capture, made_up.track, made_up.triangles, Tools(Native()), settings)
    core = task.head.parts["group"] == CORE
    assert core.sum() == 150
    before = {name: task.learned[name].detach()[core].clone() for name in STILL}
    list(fit(task, [Stage("all", 1.0, {"picture": 1.0})], Budget(steps=90), reviews=0))
    assert all(torch.equal(task.learned[name].detach()[core], kept) for name, kept in before.items())
    assert not task.learned["tables"].detach()[:, core].any()
    assert task.learned["tables"].detach()[:, ~core].any()
    assert (task.head.parts["group"] == CORE).sum() == 150
    trained = task.trained()
    assert (trained.parts["group"] == CORE).sum() == 150
    colours = task.learned["colours"].detach()
    assert (colours[core].min(0).values >= colours[~core].min(0).values).all()
    assert colours[core].std(0).min() > 0


def test_colours_come_from_what_is_well_seen_on_the_person() -> None:
    count = 40
    group = torch.tensor([HEAD] * count + [SHELL] * 2 * count + [CORE] * 5, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    learned = {name: torch.zeros(len(group), 3) for name in ("log_scales", "colours")}
    learned |= {"means": torch.rand(len(group), 3, generator=generator), "quats": torch.zeros(len(group), 4)}
    learned |= {name: torch.zeros(len(group)) for name in ("opacity_logits", "skin_logits")}
    learned["colours"][:count] = torch.tensor([0.2, 0.4, 0.6])
    learned["colours"][count:] = 0.9
    core, hidden = Core(group, learned, EARS_U), Hidden(group)
    # of the shell, half is hardly seen, half is seen beside the person
    hidden.seen[: 2 * count], hidden.inside[:count] = 1.0, 1.0
    hidden.seen[2 * count :], hidden.inside[2 * count :] = 0.05, 0.05
    core.paint(learned, group, hidden)
    assert torch.allclose(learned["colours"][group == CORE], torch.tensor([0.2, 0.4, 0.6]))
    assert (learned["colours"][group == SHELL] == 0.9).all()
    learned["colours"] += 0.05
    core.hold(learned)
    assert torch.allclose(learned["colours"][group == CORE], torch.tensor([0.2, 0.4, 0.6]))


def test_with_too_few_to_learn_from_the_core_keeps_its_colours() -> None:
    group = torch.tensor([HEAD] * 4 + [CORE] * 3, dtype=torch.uint8)
    learned = {"means": torch.rand(7, 3), "colours": torch.rand(7, 3)}
    hidden, before = Hidden(group), learned["colours"].clone()
    hidden.seen[:], hidden.inside[:] = 1.0, 1.0
    Core(group, learned, EARS_U).paint(learned, group, hidden)
    assert torch.equal(learned["colours"], before)


def _head_seen_from_the_front() -> tuple[torch.Tensor, dict[str, torch.Tensor], Hidden]:
    """Brown above and fair at the ears, both well seen; behind, a core, and a shell about it that nobody sees."""
    above, ears, behind = [[0, 0.9, -0.3]] * 12, [[0.8, 0.0, -0.3]] * 12, [[0.6, 0.1, -0.8]]
    group = torch.tensor([SHELL] * 12 + [HEAD] * 12 + [CORE] * 3 + [SHELL] * 2, dtype=torch.uint8)
    beside_ears = [[0.8, 0.05, -0.3]]
    learned = {"means": torch.tensor(above + ears + behind * 3 + behind + beside_ears), "colours": torch.zeros(29, 3)}
    learned["colours"][:12] = torch.tensor([0.4, 0.25, 0.1])
    learned["colours"][12:24] = torch.tensor([0.9, 0.7, 0.6])
    hidden = Hidden(group)
    hidden.seen[:24], hidden.inside[:24] = 1.0, 1.0
    return group, learned, hidden


def test_behind_the_ears_a_head_looks_as_it_does_above_them() -> None:
    group, learned, hidden = _head_seen_from_the_front()
    Core(group, learned, EARS_U).paint(learned, group, hidden)
    assert torch.allclose(learned["colours"][group == CORE], learned["colours"][0])
    further_forward = -0.9
    Core(group, learned, further_forward).paint(learned, group, hidden)
    assert torch.allclose(learned["colours"][group == CORE], learned["colours"][12])


def test_what_hides_behind_the_ears_takes_the_cores_colour_and_nothing_else_does() -> None:
    group, learned, hidden = _head_seen_from_the_front()
    core = Core(group, learned, EARS_U)
    core.paint(learned, group, hidden)
    before, share = learned["colours"].clone(), torch.zeros(29)
    share[[0, 27, 28]] = torch.tensor([0.01, 0.5, 1.0])
    core.lend(learned, group, share)
    assert torch.allclose(learned["colours"][27], (before[27] + before[24]) / 2)
    assert torch.equal(learned["colours"][:27], before[:27])
    assert torch.equal(learned["colours"][28], before[28])
