# SPDX-License-Identifier: Apache-2.0
"""Posing and drawing in one is posing, then drawing."""

from __future__ import annotations

import pytest
import torch
from scenes import cloud
from torch import Tensor

from avatar3d.ops.posed import posed, posed_reference
from avatar3d.ops.splat import TileRoom

SIZE = {"width": 57, "height": 41}


def head(images: int, count: int = 150, terms: int = 5, own_camera: bool = False) -> dict[str, Tensor]:
    """A cloud with tables, skin and poses, and the camera that sees it."""
    g = torch.Generator().manual_seed(images)
    scene = cloud(count, **SIZE)
    poses = [
        torch.cat([torch.randn(images, 4, generator=g), 0.2 * torch.randn(images, 3, generator=g)], 1) for _ in "ab"
    ]
    moved = torch.eye(4).repeat(images, 1, 1)
    moved[:, 0, 3] = 0.1 * torch.arange(images)
    return {
        "means": scene.means, "quats": scene.quats, "scales": scene.scales, "opacities": scene.opacities,
        "colours": scene.colours, "skin_logits": torch.randn(count, generator=g),
        "tables": 0.05 * torch.randn(terms, count, 9, generator=g), "codes": torch.randn(images, terms, generator=g),
        "world_from_head": poses[0], "world_from_body": poses[1],
        "cam_from_world": moved @ scene.cam_from_world if own_camera else scene.cam_from_world,
        "K": scene.K.repeat(images, 1, 1) if own_camera else scene.K,
    }  # fmt: skip


def close(pictures: tuple[Tensor, ...], truths: tuple[Tensor, ...]) -> None:
    """But for pairs within rounding of a cut-off, which may fall either way."""
    for picture, truth in zip(pictures, truths, strict=True):
        apart = (picture.cpu().double() - truth).abs()
        assert apart.median() < 1e-6
        assert apart.mean() < 1e-5
        assert apart.max() < 0.05


@pytest.mark.parametrize(("images", "own_camera"), [(1, False), (4, True), (5, False)])
def test_fused_agrees_with_float64(cuda: torch.device, images: int, own_camera: bool) -> None:
    given = head(images, own_camera=own_camera)
    exact = posed_reference(**{name: tensor.double() for name, tensor in given.items()}, **SIZE)
    assert exact[1].amax((1, 2)).min() > 0.5
    close(posed(**{name: tensor.to(cuda) for name, tensor in given.items()}, **SIZE, path="native"), exact)


def test_one_by_one_agrees_with_float64(kernels: None) -> None:
    given = head(2, own_camera=True)
    exact = posed_reference(**{name: tensor.double() for name, tensor in given.items()}, **SIZE)
    close(posed(**given, **SIZE, path="native"), exact)


def test_more_gaussians_than_a_block_and_no_codes(cuda: torch.device) -> None:
    given = {name: tensor.to(cuda) for name, tensor in head(2, count=600, terms=1).items()}
    still = given | {"codes": torch.zeros_like(given["codes"])}
    bare = given | {"codes": given["codes"][:, :0], "tables": given["tables"][:0]}
    drawn = posed(**still, **SIZE)
    for picture, same in zip(drawn, posed(**bare, **SIZE), strict=True):
        assert torch.equal(picture, same)
    assert not torch.equal(drawn[0], posed(**given, **SIZE)[0])


def test_a_room_saves_asking(cuda: torch.device) -> None:
    given = {name: tensor.to(cuda) for name, tensor in head(2).items()}
    small, large = TileRoom(3), TileRoom(10_000)
    assert all(picture.isnan().all() for picture in posed(**given, **SIZE, room=small))
    with pytest.raises(RuntimeError, match="the room had 3"):
        small.check()
    for picture, same in zip(posed(**given, **SIZE, room=large), posed(**given, **SIZE), strict=True):
        assert torch.equal(picture, same)


@pytest.mark.parametrize("name", list(head(1)))
def test_wrong_shapes_are_refused_by_name(name: str) -> None:
    given = head(2)
    with pytest.raises(ValueError, match=rf"posed: {name} ha"):
        posed(**given | {name: given[name][..., None, None]}, **SIZE)


def test_no_picture_without_pixels() -> None:
    with pytest.raises(ValueError, match="0 x 41 pixels"):
        posed(**head(1), width=0, height=41)
