# SPDX-License-Identifier: Apache-2.0
"""A finished picture is the drawn one laid over its background and rounded, whichever way it was made."""

from __future__ import annotations

import pytest
import torch
from scenes import cloud
from torch import Tensor

from avatar3d.ops.filmed import filmed, filmed_posed, filmed_posed_reference, filmed_reference
from avatar3d.ops.splat import splat

SIZES = ((57, 41), (16, 16), (5, 3), (64, 48))  # width, height: edges of tiles fall inside, on and beyond the picture


def in_world(count: int, width: int, height: int) -> dict[str, Tensor]:
    """A cloud and what lies behind it."""
    scene = cloud(count, width, height)
    names = ("means", "quats", "scales", "opacities", "colours", "cam_from_world", "K")
    return {name: getattr(scene, name) for name in names} | {"background": torch.rand(3, height, width)}


def at_rest(count: int, moving: int, width: int, height: int, terms: int = 5) -> dict[str, Tensor]:
    """The same with tables for the first `moving`, and a code."""
    head, body = torch.randn(2, 4), 0.2 * torch.randn(2, 3)
    poses = torch.cat([torch.nn.functional.normalize(head, dim=1), body], 1).flatten()
    return in_world(count, width, height) | {
        "skin_logits": torch.randn(count),
        "tables": 0.05 * torch.randn(terms, moving, 9),
        "code": torch.cat([torch.randn(terms), poses]),
    }


def nearly_equal(picture: Tensor, truth: Tensor) -> None:
    """But for a rounding that falls the other way, and pairs within rounding of a cut-off."""
    assert picture.dtype == truth.dtype == torch.uint8 and picture.shape == truth.shape
    apart = (picture.int() - truth.int()).abs()
    assert apart.max() <= 2
    assert (apart > 0).float().mean() < 2e-3


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_gaussians_in_the_world(width: int, height: int) -> None:
    given = in_world(150, width, height)
    truth = filmed_reference(**given)
    assert truth.shape == (height, width, 3) and truth.float().std() > 5
    nearly_equal(filmed(**given, path="native"), truth)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize(("count", "moving"), [(150, 150), (1500, 700), (40, 0), (300, 17), (1, 1), (0, 0)])
def test_a_linear_head_of_which_a_part_moves(count: int, moving: int) -> None:
    given = at_rest(count, moving, 57, 41)
    nearly_equal(filmed_posed(**given, path="native"), filmed_posed_reference(**given))
    other = given | {"code": torch.cat([-given["code"][:5], given["code"][5:]])}
    if moving > 100:
        assert not torch.equal(filmed_posed(**given), filmed_posed(**other))


@pytest.mark.usefixtures("isa")
def test_every_number_of_threads_gives_the_same_bytes() -> None:
    from avatar3d.ops import _native

    given, before = at_rest(2500, 2000, 64, 48), _native.threads()
    try:
        pictures = []
        for threads in (1, 2, 5):
            _native.set_threads(threads)
            pictures.append(filmed_posed(**given, path="native"))
    finally:
        _native.set_threads(before)
    assert all(torch.equal(picture, pictures[0]) for picture in pictures)


@pytest.mark.usefixtures("isa")
def test_what_is_no_number_is_not_drawn_and_colours_stay_in_range() -> None:
    given = at_rest(60, 60, 32, 32)
    given["means"][3], given["tables"][0, 7], given["skin_logits"][9] = torch.nan, torch.inf, torch.nan
    given["background"][:, 0, 0], given["background"][:, 0, 1] = torch.nan, 7.0
    picture = filmed_posed(**given, path="native")
    kept = torch.tensor([i for i in range(60) if i not in (3, 7, 9)])
    rows = {name: given[name][kept] for name in ("means", "quats", "scales", "opacities", "colours", "skin_logits")}
    cleaned = given | rows | {"tables": given["tables"][:, kept]}
    cleaned["background"] = given["background"].clone()
    cleaned["background"][:, 0, :2] = 0
    truth = filmed_posed_reference(**cleaned)
    nearly_equal(picture[1:], truth[1:])
    assert picture[0, 0].tolist() == [0, 0, 0] and picture[0, 1].tolist() == [255, 255, 255]


def test_rounded_to_the_nearest_byte(kernels: None) -> None:
    given = in_world(0, 64, 4)
    given["background"] = (torch.arange(256.0).view(1, 4, 64) / 255).repeat(3, 1, 1)
    assert torch.equal(filmed(**given, path="native")[..., 1].flatten(), torch.arange(256).to(torch.uint8))
    alpha = torch.full((3, 4, 64), 0.4999 / 255)
    assert not filmed(**given | {"background": alpha}, path="native").any()


def test_as_drawn_and_laid_over(kernels: None) -> None:
    given = in_world(150, 57, 41)
    room = given.pop("background")
    rgb, alpha, _ = splat(*(given[n] for n in ("means", "quats", "scales", "opacities", "colours")),
                          given["cam_from_world"], given["K"], 57, 41)  # fmt: skip
    by_hand = ((rgb + (1 - alpha) * room).permute(1, 2, 0).clamp(0, 1) * 255).round().byte()
    nearly_equal(filmed(**given, background=room), by_hand)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("background", torch.rand(41, 57, 3)[:, :, :2]), ("tables", torch.zeros(5, 151, 9)), ("tables", torch.zeros(9)),
     ("code", torch.zeros(7)), ("means", torch.zeros(150, 2)), ("K", torch.eye(4)), ("skin_logits", torch.zeros(3))],
)  # fmt: skip
def test_wrong_shapes_are_refused_by_name(kernels: None, name: str, wrong: Tensor) -> None:
    with pytest.raises(ValueError, match=name):
        filmed_posed(**at_rest(150, 150, 57, 41) | {name: wrong})
