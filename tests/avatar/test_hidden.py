# SPDX-License-Identifier: Apache-2.0
"""A wall of Gaussians before another: what is behind it is hidden."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from made_up import SETTINGS, MadeUp
from torch import Tensor

from avatar3d.avatar._fit_settings import FitSettings
from avatar3d.avatar._hidden import Hidden
from avatar3d.avatar._scatter import HEAD, MOUTH, SHELL
from avatar3d.avatar.linear import LinearHead
from avatar3d.contracts import Tools
from avatar3d.density import Relocation, Renewal
from avatar3d.fit import Budget, Stage, fit
from avatar3d.geometry import intrinsics
from avatar3d.records import Camera, Gaussians
from avatar3d.render.native import Native

SIDE, ROW = 64, 12


def walls() -> Gaussians:
    """A wall of the head's, one right behind it of the shell's, and one of the mouth's."""
    across = torch.linspace(-0.9, 0.9, ROW)
    y, x = torch.meshgrid(across, across, indexing="ij")
    means = torch.cat([torch.stack([x, y, torch.full_like(x, z)], -1).reshape(-1, 3) for z in (4.0, 4.3, 4.5)])
    count, wall = len(means), ROW * ROW
    return Gaussians(
        means, torch.tensor([1.0, 0, 0, 0]).repeat(count, 1), torch.full((count, 3), -2.3), torch.full((count,), 4.0),
        torch.full((count, 3), 0.5), torch.tensor([HEAD, SHELL, MOUTH], dtype=torch.uint8).repeat_interleave(wall),
    )  # fmt: skip


def camera(side: int = SIDE) -> Camera:
    return Camera(intrinsics(2.0 * side, side, side), torch.eye(4), side, side)


def looked(gaussians: Gaussians, seen_by: Camera, hidden: Hidden | None = None) -> Hidden:
    hidden = hidden or Hidden(gaussians.group)
    colours = gaussians.colours.clone().requires_grad_()
    picture = Native()(replace(gaussians, colours=colours), seen_by).rgb
    (weights,) = torch.autograd.grad(picture, colours, torch.ones_like(picture))
    hidden.look(gaussians, seen_by, weights[:, 0], weights[:, 0])
    return hidden


@pytest.mark.parametrize("side", [64, 128])
def test_what_lies_behind_is_hidden_at_any_size_and_the_mouth_never_is(side: int) -> None:
    gaussians = walls()
    share = looked(gaussians, camera(side)).share()
    assert share[gaussians.group == HEAD].median() < 0.05
    assert share[gaussians.group == SHELL].median() > 0.9
    assert not share[gaussians.group == MOUTH].any()


def test_a_frame_that_shows_it_counts_and_the_last_ones_count_most() -> None:
    gaussians = walls()
    behind = gaussians.group == SHELL
    hidden = looked(gaussians, camera())
    bare = replace(gaussians, opacity_logits=torch.where(gaussians.group == HEAD, -9.0, gaussians.opacity_logits))
    for _ in range(60):
        looked(bare, camera(), hidden)
    assert hidden.seen[behind].median() > 10 * hidden.seen[gaussians.group == HEAD].median()


def test_the_hidden_take_the_mean_colour_of_neighbours_that_are_seen() -> None:
    gaussians = walls()
    # of the shell, only the left part has anything before it
    shell = (gaussians.group == SHELL).nonzero()[:, 0]
    moved = gaussians.means.clone()
    moved[(gaussians.group == HEAD) & (moved[:, 0] > 0.3), 1] += 3
    hidden = looked(replace(gaussians, means=moved), camera())
    values = torch.zeros(len(moved), 3)
    left, right = shell[moved[shell, 0] < 0.3], shell[moved[shell, 0] > 0.3]
    values[left] = torch.tensor([1.0, 0, 0])
    values[right] = torch.tensor([0, 0, 1.0])
    before = values.clone()
    for _ in range(40):
        hidden.soothe(values, hidden.share())
    border = left[moved[left, 0] > 0]
    assert values[border, 2].mean() > 0.8
    assert (values[right] - before[right]).abs().median() < 0.05
    assert not values[gaussians.group == HEAD].any()


def test_neighbours_are_of_the_same_group_and_a_lonely_one_is_its_own() -> None:
    gaussians = walls()
    alone = replace(gaussians, group=gaussians.group.clone())
    alone.group[7] = 3
    hidden = looked(alone, camera())
    assert (alone.group[hidden.near] == alone.group[:, None]).all()
    assert (hidden.near[7] == 7).all()
    assert not (hidden.near[8:] == torch.arange(8, len(alone.group))[:, None]).any()


def test_twins_are_seen_as_their_source_was_and_neighbours_are_looked_up_again() -> None:
    hidden = looked(walls(), camera())
    hidden.relocated(Relocation(dead=torch.tensor([200, 201]), source=torch.tensor([0, 1])))
    assert torch.equal(hidden.seen[200:202], hidden.seen[:2])
    assert torch.equal(hidden.inside[200:202], hidden.inside[:2])
    moved = replace(walls(), means=walls().means.flip(0))
    before = hidden.near.clone()
    looked(moved, camera(), hidden)
    assert not torch.equal(hidden.near, before)


def test_where_their_number_changes_neighbours_are_those_that_are_now() -> None:
    hidden, count = looked(walls(), camera()), len(walls().means)
    seen = hidden.seen.clone()
    source = torch.cat([torch.arange(5, count), torch.tensor([9, 9])])
    born = torch.arange(count - 5, count - 3)
    hidden.group.data = hidden.group.data[source]
    means = walls().means[source]
    means[born] += 1e-4
    hidden.renewed(Renewal(source, torch.tensor([4, 4]), born), means)
    assert torch.equal(hidden.seen, seen[source])
    assert hidden.near.shape == (len(source), 8)
    assert (hidden.group[hidden.near] == hidden.group[:, None]).all()
    assert set(born.tolist()) <= set(hidden.near[4].tolist())


def _trained(made_up: MadeUp, every: int) -> tuple[Tensor, Tensor]:
    """How far the colours of hidden Gaussians are from their neighbours', and their colour tables' size."""
    settings = replace(SETTINGS, fit=FitSettings(hidden_every=every, relocate_from=2.0))
    task = LinearHead.learner(made_up.capture, made_up.track, made_up.triangles, Tools(Native()), settings)
    watching = task.hidden if every else None
    list(fit(task, [Stage("all", 1.0, {"picture": 1.0})], Budget(steps=120), reviews=0))
    if watching is None:  # nobody looked while it was trained
        watching = task.hidden
        gaussians = task.head.pose(task.head.encode(made_up.track.motion)[3])
        looked(gaussians, task.head.camera, watching)
    colours = task.learned["colours"].detach()
    rows = watching.share() > 0.8
    apart = (colours[watching.near].mean(1) - colours).abs().mean(1)
    return apart[rows].mean(), task.learned["tables"].detach()[:, rows, 6:].abs().mean()


def test_training_leaves_what_no_frame_shows_like_its_neighbours(made_up: MadeUp) -> None:
    calm, wild = _trained(made_up, 10), _trained(made_up, 0)
    assert calm[0] < 0.7 * wild[0]
    assert calm[1] < 0.3 * wild[1]
