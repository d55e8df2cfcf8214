# SPDX-License-Identifier: Apache-2.0
"""Every renderer keeps the same contract."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from avatar3d.choose import choose, names
from avatar3d.contracts import Draw
from avatar3d.geometry import intrinsics
from avatar3d.records import Camera, Gaussians
from avatar3d.render.reference import Reference


def one_of_each_shape(count: int = 60, seed: int = 0) -> Gaussians:
    g = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=torch.randn(count, 3, generator=g) * 0.5 + torch.tensor([0, 0, 5.0]),
        quats=torch.randn(count, 4, generator=g),
        log_scales=torch.randn(count, 3, generator=g) * 0.3 - 2.2,
        opacity_logits=torch.randn(count, generator=g),
        colours=torch.rand(count, 3, generator=g),
        group=torch.zeros(count, dtype=torch.uint8),
    )


def camera(width: int = 50, height: int = 38) -> Camera:
    return Camera(intrinsics(90.0, width, height), torch.eye(4), width, height)


@pytest.fixture(params=names("avatar3d.render"))
def draw(request: pytest.FixtureRequest) -> Draw:
    return choose("avatar3d.render", request.param)()


def test_pictures_have_the_records_layout(draw: Draw) -> None:
    image = draw(one_of_each_shape(), camera())
    assert isinstance(draw, Draw)
    assert image.rgb.shape == (38, 50, 3)
    assert image.alpha.shape == image.depth.shape == (38, 50)
    assert 0.5 < float(image.alpha.max()) <= 1


def test_renderers_agree(draw: Draw) -> None:
    gaussians, exact = one_of_each_shape(), Reference()
    image, truth = draw(gaussians, camera()), exact(gaussians, camera())
    for field in fields(truth):
        difference = (getattr(image, field.name) - getattr(truth, field.name)).abs()
        assert difference.mean() < 1e-5, field.name


def test_gradients_reach_the_records_fields(draw: Draw) -> None:
    gaussians = one_of_each_shape()
    names_ = [field.name for field in fields(gaussians) if field.name != "group"]
    leaves = {name: getattr(gaussians, name).requires_grad_() for name in names_}
    view = camera()
    pose = view.cam_from_world.requires_grad_()
    image = draw(gaussians, replace(view, cam_from_world=pose))
    total = image.over(torch.tensor([0.2, 0.4, 0.6])).square().sum() + image.depth.sum()
    gradients = torch.autograd.grad(total, [*leaves.values(), pose])
    assert all(gradient.isfinite().all() and gradient.abs().sum() > 0 for gradient in gradients)
