# SPDX-License-Identifier: Apache-2.0
"""A compact head looks like the whole one, to the decibel asked for, and takes less room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from heads import CODES, COUNT, code, head
from torch import Tensor

from avatar3d.avatar.linear import LinearHead
from avatar3d.avatars import Avatar, open_avatar, save_avatar
from avatar3d.compact import compacted
from avatar3d.errors import InputError
from avatar3d.player import Player
from avatar3d.recipes import small
from avatar3d.records import Motion
from avatar3d.render.native import Native


def frames(count: int = 5) -> Tensor:
    """Codes of a few frames that use every table."""
    g = torch.Generator().manual_seed(1)
    return torch.cat([torch.randn(count, CODES, generator=g), code()[CODES:].repeat(count, 1)], 1)


def apart_db(a: LinearHead, b: LinearHead) -> float:
    """PSNR of two heads' pictures over what the first covers."""
    total = []
    for row in frames():
        covered = Player(a, Native()).image(row, a.camera).alpha.numpy() > 0.5
        one, other = (Player(x, Native()).frame(row).astype(float)[covered] for x in (a, b))
        total.append(((one - other) ** 2).mean())
    return float(10 * np.log10(255**2 / np.mean(total)))


def test_pictures_stay_as_close_as_asked_and_closer_costs_more() -> None:
    whole = head(moving=200)
    sizes = []
    for wanted in (38.0, 50.0):
        made = compacted(whole, Native(), frames(), wanted)
        assert made.lost_db >= wanted and made.lost_db < wanted + 5  # steps go in leaps
        assert apart_db(whole, made.head) > wanted - 1  # whole bytes on both sides
        assert made.moving <= 200
        tables = made.head.parts["tables"]
        assert (tables[:, : made.moving].abs().amax((0, 2)) > 0).all() and not tables[:, made.moving :].any()
        sizes.append(float(made.steps["tables"].log2().mean()))
    assert sizes[0] > sizes[1] + 1  # half the step is 6 dB


def test_what_pictures_do_not_feel_is_kept_coarsely() -> None:
    whole = head()
    behind = torch.arange(COUNT) < 40  # far away beside the others, so small
    whole.parts["means"][behind] = torch.tensor([0.0, 0.0, -60.0])
    steps = compacted(whole, Native(), frames(), 45.0).steps["tables"]
    assert float(steps[0, :40, 0].median()) > 2 * float(steps[0, 40:, 0].median())


def test_a_compact_avatar_is_opened_like_any_other(tmp_path: Path) -> None:
    whole = head()
    whole.parts["background"] = torch.linspace(0, 1, 40).expand(3, 40, 40).permute(1, 2, 0).contiguous()
    made = compacted(whole, Native(), frames(), 45.0)
    still = np.zeros((9, 7), np.float32)
    still[:, 0], still[:, 6] = 1, 5.123456
    motion = Motion(np.full((9, 4), 0.1, np.float32), still[:, :2], still[:, :4], still, 25.0)
    save_avatar(tmp_path / "small.avatar", Avatar(made.head, None, motion), made.steps)
    save_avatar(tmp_path / "whole.avatar", Avatar(whole, None, motion))
    opened = open_avatar(tmp_path / "small.avatar")
    for name, tensor in made.head.tensors().items():
        if name != "background":
            assert torch.equal(opened.head.tensors()[name], tensor), name
    assert (opened.head.background - whole.background).abs().mean() < 0.02
    np.testing.assert_array_equal(opened.clip.head, motion.head)
    np.testing.assert_allclose(opened.clip.expression, motion.expression, rtol=1e-3)
    packed, plain = (tmp_path / name for name in ("small.avatar/head.safetensors.gz", "whole.avatar/splats.ply"))
    assert packed.stat().st_size < plain.stat().st_size


def test_tables_of_a_whole_avatar_are_bytes_that_show_nothing(tmp_path: Path) -> None:
    whole = head()
    still = np.zeros((2, 7), np.float32)
    save_avatar(tmp_path / "whole.avatar", Avatar(whole, None, Motion(still, still[:, :2], still[:, :4], still, 25.0)))
    back = open_avatar(tmp_path / "whole.avatar").head
    largest = whole.parts["tables"].abs().amax((0, 2), keepdim=True)
    assert ((back.tensors()["tables"] - whole.parts["tables"]).abs() <= largest / 250).all()
    back.parts["background"] = whole.parts["background"]
    assert apart_db(whole, LinearHead(back.parts, 40, 40)) > 50
    size = (tmp_path / "whole.avatar" / "rig.safetensors").stat().st_size
    assert size < whole.parts["tables"].numel() * 1.6


def test_copies_are_not_written_over_the_original(tmp_path: Path) -> None:
    for out in (tmp_path / "me.avatar", tmp_path / "small"):
        with pytest.raises(InputError, match="another folder"):
            small.compact(tmp_path / "me.avatar", out)
