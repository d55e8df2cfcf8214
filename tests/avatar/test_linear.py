# SPDX-License-Identifier: Apache-2.0
"""The linear head: codes, the two frames, saving."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import SETTINGS, MadeUp

from avatar3d.avatar._driving import CODE_LIMIT
from avatar3d.avatar._turned import turned
from avatar3d.avatar.linear import LinearHead
from avatar3d.choose import choose
from avatar3d.contracts import Bodied, Head
from avatar3d.errors import InputError
from avatar3d.geometry import apply_pose


def _skinned(head: LinearHead, logit: float) -> LinearHead:
    skin = torch.full_like(head.parts["skin_logits"], logit)
    return LinearHead(head.parts | {"skin_logits": skin}, head.width, head.height)


def test_it_is_the_part_named_linear(made_up: MadeUp) -> None:
    assert choose("avatar3d.avatar", "linear") is LinearHead
    assert isinstance(made_up.truth, Head)


@pytest.mark.parametrize(("logit", "which"), [(30.0, 0), (-30.0, 1)])
def test_full_skin_weight_is_the_head_frame_and_none_is_the_body_frame(
    made_up: MadeUp, logit: float, which: int
) -> None:
    head = _skinned(made_up.truth, logit)
    code = head.encode(made_up.track.motion)[20]
    offsets = head.deform(code[: head.codes])
    pose = code[head.codes :].view(2, 7)[which]
    expected = apply_pose(pose, head.parts["means"] + offsets[:, :3])
    assert torch.allclose(head.pose(code).means, expected, atol=1e-5)


def test_face_points_move_as_the_tracked_surface_does(made_up: MadeUp) -> None:
    """The tables start as the tracker's basis, so an untrained head already speaks."""
    head = LinearHead.from_track(made_up.capture, made_up.track, made_up.triangles, SETTINGS)
    means, tables = head.parts["means"], head.parts["tables"]
    neutral, basis = torch.from_numpy(made_up.track.neutral), torch.from_numpy(made_up.track.basis)
    surface = head.parts["group"] == 0
    nearest = torch.cdist(means[surface], neutral).argmin(1)
    jaw = tables[0, surface, 1]
    assert torch.corrcoef(torch.stack([jaw, basis[nearest, 1, 0]]))[0, 1] > 0.97
    assert jaw.min() < -0.05


def test_expressions_outside_the_capture_are_clipped(made_up: MadeUp) -> None:
    motion = made_up.track.motion
    wild = replace(motion, expression=motion.expression * 1e6)
    codes = made_up.truth.encode(wild)[:, : made_up.truth.codes]
    assert codes.abs().max() <= CODE_LIMIT
    assert torch.isfinite(codes).all()


def test_an_arkit_stream_drives_it_through_the_map(made_up: MadeUp) -> None:
    head, motion = made_up.truth, made_up.track.motion
    scores = np.random.default_rng(0).uniform(0, 0.1, (len(motion), 52)).astype(np.float32)
    personal = np.concatenate([scores, np.ones((len(motion), 1), np.float32)], 1) @ made_up.track.arkit_map
    direct = head.encode(replace(motion, expression=personal))
    assert torch.allclose(head.encode(replace(motion, expression=scores, basis="arkit")), direct, atol=1e-5)


@pytest.mark.parametrize(("basis", "width"), [("personal", 1), ("arkit", 51), ("flame", 100)])
def test_a_motion_of_another_basis_is_refused_by_name(made_up: MadeUp, basis: str, width: int) -> None:
    motion = made_up.track.motion
    other = replace(motion, expression=np.zeros((len(motion), width), np.float32), basis=basis)
    with pytest.raises(InputError):
        made_up.truth.encode(other)


def test_shots_do_not_leak_into_one_another(made_up: MadeUp) -> None:
    motion = made_up.track.motion
    body_map = torch.full((19, 6), 0.01)
    head = LinearHead(made_up.truth.parts | {"body_map": body_map}, made_up.truth.width, made_up.truth.height)
    apart = torch.cat([head.encode(part) for part in (motion[slice(0, 30)], motion[slice(30, None)])])
    assert torch.allclose(head.encode(motion, cuts=[30]), apart, atol=1e-5)
    assert not torch.allclose(head.encode(motion), apart, atol=1e-3)


def test_a_jump_of_the_head_is_taken_for_a_cut(made_up: MadeUp) -> None:
    motion = made_up.track.motion
    head = motion.head.copy()
    head[30:, 4] += 2.0
    jumped = replace(motion, head=head)
    assert torch.equal(made_up.truth.encode(jumped), made_up.truth.encode(jumped, cuts=[30]))


def test_a_body_that_was_measured_is_taken_and_any_other_follows_the_head(made_up: MadeUp) -> None:
    head, motion = made_up.truth, made_up.track.motion
    assert isinstance(head, Bodied)
    rows = head.encode(motion)
    suggested = torch.from_numpy(head.body(motion))
    assert torch.allclose(suggested, rows[:, -7:])
    measured = suggested.numpy() + np.array([0, 0, 0, 0, 0.1, 0, 0], np.float32)
    whole = head.encode(replace(motion, body=measured))
    assert torch.equal(whole[:, -7:], torch.from_numpy(measured))
    assert torch.equal(whole[:, :-7], rows[:, :-7])
    part = slice(10, 14)
    assert torch.equal(head.encode(replace(motion, body=measured)[part])[:, -7:], whole[part, -7:])


def test_one_frame_is_a_motion_too(made_up: MadeUp) -> None:
    assert made_up.truth.encode(made_up.track.motion[slice(5, 6)]).shape == (1, made_up.truth.codes + 14)


def test_saved_and_restored_it_poses_the_same(made_up: MadeUp) -> None:
    head = made_up.truth
    again = LinearHead.restore(head.config(), head.tensors())
    code = head.encode(made_up.track.motion)[3]
    assert torch.equal(again.encode(made_up.track.motion)[3], code)
    for name in ("means", "quats", "log_scales", "opacity_logits", "colours", "group"):
        assert torch.equal(getattr(again.pose(code), name), getattr(head.pose(code), name))


def test_the_same_seed_scatters_the_same_points(made_up: MadeUp) -> None:
    def points(seed: int) -> torch.Tensor:
        return LinearHead.from_track(made_up.capture, made_up.track, made_up.triangles, SETTINGS, seed).parts["means"]

    assert torch.equal(points(3), points(3))
    assert not torch.equal(points(3), points(4))


def test_colours_stay_within_what_a_picture_can_show(made_up: MadeUp) -> None:
    head = made_up.truth
    tables = torch.randn_like(head.parts["tables"])
    wild = LinearHead(head.parts | {"tables": tables}, head.width, head.height)
    colours = wild.pose(wild.encode(made_up.track.motion)[0]).colours
    assert colours.min() >= 0
    assert colours.max() <= 1


def test_a_pose_turns_about_the_frames_own_origin() -> None:
    pose = torch.tensor([1.0, 0, 0, 0, 1, 2, 3])
    moved = turned(pose, torch.tensor([0, 0, np.pi / 2, 0.5, 0, 0], dtype=torch.float32))
    origin, right = apply_pose(moved, torch.tensor([[0.0, 0, 0], [1, 0, 0]]))
    assert torch.allclose(origin, torch.tensor([1.5, 2, 3]), atol=1e-6)
    assert torch.allclose(right - origin, torch.tensor([0.0, 1, 0]), atol=1e-6)
