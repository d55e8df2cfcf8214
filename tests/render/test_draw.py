# SPDX-License-Identifier: Apache-2.0
"""Every renderer of Gaussians keeps the same contract."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from avatar3d.choose import choose, names
from avatar3d.contracts import Draw
from avatar3d.errors import InputError
from avatar3d.geometry import intrinsics
from avatar3d.records import Camera, Gaussians
from avatar3d.render.reference import Reference

CUDA_ALONE = {"gsplat"}
OF_FIELDS = {"volume", "nerfacc"}  # see test_volume, test_nerfacc
PARTS = [
    pytest.param(name, marks=[pytest.mark.gpu] * (name in CUDA_ALONE))
    for name in names("avatar3d.render")
    if name not in OF_FIELDS
]


def one_of_each_shape(device: str = "cpu", count: int = 60, seed: int = 0) -> Gaussians:
    g = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=(torch.randn(count, 3, generator=g) * 0.5 + torch.tensor([0, 0, 5.0])).to(device),
        quats=torch.randn(count, 4, generator=g).to(device),
        log_scales=(torch.randn(count, 3, generator=g) * 0.3 - 2.2).to(device),
        opacity_logits=torch.randn(count, generator=g).to(device),
        colours=torch.rand(count, 3, generator=g).to(device),
        group=torch.zeros(count, dtype=torch.uint8, device=device),
    )


def camera(device: str = "cpu", width: int = 50, height: int = 38) -> Camera:
    return Camera(intrinsics(90.0, width, height).to(device), torch.eye(4, device=device), width, height)


@pytest.fixture(params=PARTS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def draw(name: str) -> Draw:
    try:
        return choose("avatar3d.render", name)()
    except InputError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def device(name: str) -> str:
    return "cuda" if name in CUDA_ALONE else "cpu"


def test_pictures_have_the_records_layout(draw: Draw, device: str) -> None:
    image = draw(one_of_each_shape(device), camera(device))
    assert isinstance(draw, Draw)
    assert image.rgb.shape == (38, 50, 3)
    assert image.alpha.shape == image.depth.shape == (38, 50)
    assert 0.5 < float(image.alpha.max()) <= 1


def test_renderers_agree(draw: Draw, device: str) -> None:
    gaussians, exact = one_of_each_shape(device), Reference()
    image, truth = draw(gaussians, camera(device)), exact(gaussians, camera(device))
    for field in fields(truth):
        difference = (getattr(image, field.name) - getattr(truth, field.name)).abs()
        # CUDA_ALONE: with the graphics card's fast exponential
        assert difference.mean() < (1e-5 if device == "cpu" else 1e-4), field.name


def test_gradients_reach_the_records_fields(draw: Draw, device: str) -> None:
    gaussians = one_of_each_shape(device)
    names_ = [field.name for field in fields(gaussians) if field.name != "group"]
    leaves = {name: getattr(gaussians, name).requires_grad_() for name in names_}
    view = camera(device)
    pose = view.cam_from_world.requires_grad_()
    image = draw(gaussians, replace(view, cam_from_world=pose))
    total = image.over(torch.tensor([0.2, 0.4, 0.6], device=device)).square().sum() + image.depth.sum()
    gradients = torch.autograd.grad(total, [*leaves.values(), pose])
    assert all(gradient.isfinite().all() and gradient.abs().sum() > 0 for gradient in gradients)
