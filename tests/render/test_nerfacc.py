# SPDX-License-Identifier: Apache-2.0
"""nerfacc beside ours: pictures of one field and their gradients; where it is missing, that is said."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
import torch
from test_volume import HEIGHT, WIDTH, ball, camera, thinned
from torch import Tensor

from avatar3d.choose import names
from avatar3d.contracts import DrawPixels
from avatar3d.errors import InputError
from avatar3d.records import Camera, Image
from avatar3d.render.nerfacc import Nerfacc
from avatar3d.render.volume import Volume


@pytest.fixture
def theirs() -> Nerfacc:
    if importlib.util.find_spec("nerfacc") is None:
        pytest.skip("needs the package nerfacc (pip install nerfacc==0.5.3)")
    return Nerfacc()


def worst(a: Image, b: Image) -> float:
    return max(float((getattr(a, name) - getattr(b, name)).detach().abs().max()) for name in ("rgb", "alpha"))


def test_pictures_are_the_same(theirs: Nerfacc) -> None:
    radiance = ball(0.02, 200)
    ours = Volume()(radiance, camera())
    made = theirs(radiance, camera())
    assert isinstance(theirs, DrawPixels)
    assert float(made.alpha[HEIGHT // 2, WIDTH // 2]) > 0.9 and float(made.alpha[0, 0]) == pytest.approx(0.5)
    # ours end where a ten thousandth of the light is left
    assert worst(ours, made) < 2e-4
    assert torch.allclose(ours.depth, made.depth, atol=2e-3)


def test_a_ray_that_meets_nothing_is_no_error(theirs: Nerfacc) -> None:
    radiance = ball()
    nothing = replace(radiance, occupied=torch.zeros_like(radiance.occupied))
    for each in (radiance, nothing):
        made = theirs.pixels(each, camera(), torch.tensor([[0.5, 0.5]]))
        assert float(made.alpha[0]) == float(made.rgb.abs().sum()) == 0


def test_gradients_are_the_same(theirs: Nerfacc) -> None:
    at = torch.rand(200, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([WIDTH, HEIGHT])
    jitter = torch.rand(200, generator=torch.Generator().manual_seed(2))

    def gradients(draw: DrawPixels) -> tuple[Tensor, ...]:
        factor = torch.tensor([0.4, 0.8], requires_grad=True)
        cube = ball().cube_from_world.clone().requires_grad_()
        image = draw.pixels(thinned(cube, factor), camera(), at, jitter)
        return torch.autograd.grad((image.rgb.square().sum() + image.depth.sum()), [factor, cube])

    for ours, other in zip(gradients(Volume()), gradients(theirs), strict=True):
        assert other.abs().sum() > 0
        assert (ours - other).norm() < 1e-4 * ours.norm()


@pytest.mark.gpu
def test_on_cuda_it_chooses_its_own_samples(theirs: Nerfacc) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    view = camera()
    there = Camera(view.K.cuda(), view.cam_from_world.cuda(), view.width, view.height)
    radiance = ball(0.01, 400)
    moved = replace(
        radiance,
        cube_from_world=radiance.cube_from_world.cuda(),
        occupied=radiance.occupied.cuda(),
        behind=lambda origin, ways: tuple(part.cuda() for part in radiance.behind(origin.cpu(), ways.cpu())),
    )
    made = theirs(moved, there)
    assert worst(Volume()(moved, there), made) < 0.02


def test_where_it_is_missing_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"renderer nerfacc: the package is not installed.*nerfacc==0.5.3"):
        Nerfacc()


def test_the_room_knows_it() -> None:
    assert {"nerfacc", "volume"} <= set(names("avatar3d.render"))
