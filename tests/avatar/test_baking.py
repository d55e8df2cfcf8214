# SPDX-License-Identifier: Apache-2.0
"""Baking: tables that do what another head does, and how many bases a talking face needs."""

from __future__ import annotations

import pytest
import torch
from made_up import COUNTS, MadeUp
from torch import Tensor

from avatar3d.avatar._baking import baked, bases, displacements_mm, sampled_codes
from avatar3d.avatar._driven import started
from avatar3d.avatar.linear import LinearHead
from avatar3d.avatar.triplane import TriplaneHead, TriplaneSettings
from avatar3d.geometry import matrix_from_quat, quat_from_rotvec

HINGES, PATCHES = 3, 18


def _codes(head: LinearHead | TriplaneHead, made_up: MadeUp) -> tuple[Tensor, Tensor]:
    """Of the frames to train on, and of the others."""
    codes = head.encode(made_up.track.motion)[:, : head.codes]
    return codes[: made_up.track.fitted_frames], codes[made_up.track.fitted_frames :]


def test_a_linear_head_bakes_to_itself(made_up: MadeUp) -> None:
    head = made_up.truth
    seen, unseen = _codes(head, made_up)
    again = baked(head, sampled_codes(seen))
    assert displacements_mm(head, again, unseen).max() < 0.1
    assert isinstance(again, LinearHead)


def test_a_field_bakes_to_tables_on_the_same_codes(made_up: MadeUp) -> None:
    settings = TriplaneSettings(COUNTS, expression=2, taught_steps=40)
    still = TriplaneHead.from_track(made_up.capture, made_up.track, made_up.triangles, settings)
    head = still.taught(started(made_up.capture, made_up.track, made_up.triangles, settings, 0))
    seen, unseen = _codes(head, made_up)
    tables = baked(head, sampled_codes(seen))
    moved = torch.stack([100 * head.deform(code)[:, :3].norm(dim=1) for code in unseen])
    assert displacements_mm(head, tables, unseen).quantile(0.99) < 0.2 * moved.quantile(0.99)
    assert torch.equal(tables.encode(made_up.track.motion), head.encode(made_up.track.motion))
    assert tables.tensors().keys() == made_up.truth.tensors().keys()
    # the torso and what lies outside the field's box
    assert not tables.parts["tables"][:, tables.parts["group"] == 3].any()


def test_what_is_constant_goes_into_the_gaussians(made_up: MadeUp) -> None:
    class Shifted(LinearHead):
        def deform(self, codes: Tensor) -> Tensor:
            ever = torch.tensor([0.1, 0, 0, 0, 0, 0.2, 0.05, 0, 0, 0.3, 0.3, 0.3])
            return torch.nn.functional.pad(super().deform(codes), (0, 3)) + ever

    head = Shifted(made_up.truth.parts, made_up.truth.width, made_up.truth.height)
    seen, _ = _codes(head, made_up)
    code = head.encode(made_up.track.motion)[len(seen) + 2]
    found, wanted = baked(head, sampled_codes(seen)).pose(code), head.pose(code)
    assert torch.allclose(found.means, wanted.means, atol=2e-3)
    assert torch.allclose(found.log_scales, wanted.log_scales, atol=1e-4)
    turned = [torch.nn.functional.normalize(one.quats, dim=1) for one in (found, wanted)]
    assert (turned[0] * turned[1]).sum(1).abs().min() > 1 - 1e-5


def test_codes_to_bake_at_go_beyond_the_frames(made_up: MadeUp) -> None:
    seen, _ = _codes(made_up.truth, made_up)
    sampled = sampled_codes(seen)
    assert torch.equal(sampled[: len(seen)], seen)
    assert len(sampled) == len(seen) + round(0.2 * len(seen)) + 2 * 2
    assert torch.equal(sampled, sampled_codes(seen))


def _talking_rig(frames: int, seed: int) -> Tensor:
    """Points [T,N,3] u of a surface on which a jaw and two lids turn on hinges, and patches shift along a line."""
    fixed, timed = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    points = torch.rand(1500, 3, generator=fixed) * 2 - 1
    turn = torch.rand(frames, HINGES, generator=timed) * torch.tensor([0.35, 0.9, 0.9])
    middles = points[torch.randint(1500, (PATCHES,), generator=fixed)]
    shifts = torch.randn(PATCHES, 3, generator=fixed)
    patch = (-((points[:, None] - middles) ** 2).sum(2) / 0.18).exp()
    moved = points + torch.einsum("tp,np,pc->tnc", 0.02 * torch.randn(frames, PATCHES, generator=timed), patch, shifts)
    hinges = ((points[:, 1] < -0.2, [0.0, 0.0, -0.6], 0), (points[:, 0] > 0.6, [0.0, 0.4, 0.3], 1))
    hinges = (*hinges, (points[:, 0] < -0.6, [0.0, 0.4, 0.3], 2))
    for part, axis_at, which in hinges:
        at = torch.tensor(axis_at)
        angles = torch.zeros(frames, 3)
        angles[:, 0] = turn[:, which]
        matrices = matrix_from_quat(quat_from_rotvec(angles))
        rest = points[part & (points[:, 2] > 0)] - at
        moved[:, part & (points[:, 2] > 0)] += torch.einsum("tij,nj->tni", matrices, rest) - rest
    return moved


@pytest.mark.parametrize(("rank", "least_mm", "most_mm"), [(24, 0.0, 0.05), (12, 1.0, 100.0)])
def test_a_hinge_takes_two_bases_and_a_patch_one(rank: int, least_mm: float, most_mm: float) -> None:
    """Three hinges and eighteen patches: 24 bases hold them exactly, 12 do not."""
    seen, unseen = (_talking_rig(frames, seed).flatten(1) for frames, seed in ((200, 1), (40, 2)))
    mean, found, _ = bases(seen, rank)
    apart = unseen - mean
    left = 100 * (apart - apart @ found.T @ found).view(40, -1, 3).norm(dim=2)
    assert least_mm <= left.quantile(0.99) < most_mm
