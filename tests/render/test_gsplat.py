# SPDX-License-Identifier: Apache-2.0
"""gsplat beside ours: its projection and harmonics in torch on the CPU, its pictures and gradients on CUDA."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from avatar3d.contracts import Draw
from avatar3d.errors import InputError
from avatar3d.geometry import intrinsics, normalise
from avatar3d.ops import _harmonics, splat_reference
from avatar3d.records import Camera, Gaussians
from avatar3d.render.gsplat import Gsplat
from avatar3d.render.native import Native

WIDTH, HEIGHT = 70, 50
LEAVES = ("means", "quats", "log_scales", "opacity_logits", "colours")


@pytest.fixture
def theirs() -> None:
    if importlib.util.find_spec("gsplat") is None:
        pytest.skip("needs the package gsplat (pip install gsplat==1.5.3)")


def crowd(terms: int = 0, count: int = 400, dtype: torch.dtype = torch.float64) -> Gaussians:
    """Some of them beside the picture, where the slope of the view is held, and some behind the camera."""
    g = torch.Generator().manual_seed(3)
    return Gaussians(
        means=torch.randn(count, 3, generator=g, dtype=dtype) * torch.tensor([3.0, 3.0, 2.0]).to(dtype),
        quats=torch.randn(count, 4, generator=g, dtype=dtype) * 2,
        log_scales=torch.randn(count, 3, generator=g, dtype=dtype) * 0.4 - 2,
        opacity_logits=torch.randn(count, generator=g, dtype=dtype),
        colours=torch.rand(count, *([terms] if terms else []), 3, generator=g, dtype=dtype),
        group=torch.zeros(count, dtype=torch.uint8),
    )


def view(dtype: torch.dtype = torch.float64) -> Camera:
    angle = torch.tensor(0.4, dtype=dtype)
    pose = torch.eye(4, dtype=dtype)
    pose[0, 0], pose[0, 2], pose[2, 0], pose[2, 2] = angle.cos(), angle.sin(), -angle.sin(), angle.cos()
    pose[:3, 3] = torch.tensor([0.2, -0.3, 4.0])
    return Camera(intrinsics(80.0, WIDTH, HEIGHT).to(dtype), pose, WIDTH, HEIGHT)


def same(ours: list[Tensor], others: list[Tensor], tolerance: float) -> None:
    for place, (a, b) in enumerate(zip(ours, others, strict=True)):
        size = float(b.detach().norm())
        assert size > 0, place
        assert float((a - b).detach().norm()) / size < tolerance, place


def test_projection_and_its_gradients_are_gsplats(theirs: None) -> None:
    from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci

    gaussians, camera = crowd(), view()
    leaves = [gaussians.means, gaussians.quats, gaussians.log_scales.exp(), camera.cam_from_world]
    means, quats, scales, pose = (leaf.requires_grad_() for leaf in leaves)
    solid = torch.ones(len(means), dtype=means.dtype)
    p = splat_reference._project(means, quats, scales, solid, gaussians.colours, pose, camera.K, WIDTH, HEIGHT)
    assert 0 < len(p.index) < len(means)
    slopes = (means @ pose[:3, :3].T + pose[:3, 3])[p.index] / p.depth[:, None]
    assert (slopes[:, :2].abs() > 1.3 * 0.5 * WIDTH / camera.K[0, 0]).any(), "no slope of the view is held"

    covariance, _ = _quat_scale_to_covar_preci(quats, scales, compute_preci=False)
    size = WIDTH, HEIGHT, splat_reference.BLUR_PX2
    _, centre, depth, conic, _ = _fully_fused_projection(means, covariance, pose[None], camera.K[None], *size)
    ours, others = [p.centre, p.conic, p.depth], [x[0, p.index] for x in (centre, conic, depth)]
    same(ours, others, 1e-12)
    g = torch.Generator().manual_seed(1)
    upstream = [torch.randn(x.shape, generator=g, dtype=x.dtype) for x in ours]
    of_ours, of_others = (torch.autograd.grad(x, leaves, upstream) for x in (ours, others))
    same(list(of_ours), list(of_others), 1e-10)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonics_and_their_gradients_are_gsplats(degree: int, theirs: None) -> None:
    from gsplat.cuda._torch_impl import _spherical_harmonics

    gaussians, camera = crowd((degree + 1) ** 2), view()
    colours, means = gaussians.colours.requires_grad_(), gaussians.means.requires_grad_()
    ours = _harmonics.colours_seen(colours, means, camera.cam_from_world)
    away = normalise(means - torch.linalg.inv(camera.cam_from_world)[:3, 3])
    others = (_spherical_harmonics(degree, away, colours) + 0.5).clamp_min(0)
    same([ours], [others], 1e-12)
    upstream = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=ours.dtype)
    leaves = [colours, means] if degree else [colours]
    same(list(torch.autograd.grad(ours, leaves, upstream)), list(torch.autograd.grad(others, leaves, upstream)), 1e-10)


def test_without_the_package_it_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="gsplat: the package is not installed; pip install gsplat"):
        Gsplat()


def test_on_the_cpu_it_is_refused_by_name(theirs: None) -> None:
    with pytest.raises(InputError, match="gsplat: draws on CUDA alone, the Gaussians are on cpu; move"):
        Gsplat()(crowd(), view())


@pytest.mark.gpu
@pytest.mark.parametrize("terms", [0, 9])
def test_pictures_and_gradients_on_cuda_are_ours(terms: int, theirs: None) -> None:
    def drawn(draw: Draw) -> tuple[list[Tensor], list[Tensor]]:
        there, camera = crowd(terms, dtype=torch.float32), view(torch.float32)
        leaves = {name: getattr(there, name).cuda().requires_grad_() for name in LEAVES}
        pose = camera.cam_from_world.cuda().requires_grad_()
        image = draw(replace(there, **leaves), replace(camera, K=camera.K.cuda(), cam_from_world=pose))
        pictures = [image.rgb, image.alpha, image.depth]
        upstream = [torch.linspace(-1, 1, picture.numel()).view(picture.shape).cuda() for picture in pictures]
        return pictures, list(torch.autograd.grad(pictures, [*leaves.values(), pose], upstream))

    (pictures, gradients), (truth, true_gradients) = drawn(Gsplat()), drawn(Native())
    same(pictures, truth, 1e-4)
    # pairs within rounding of a cut-off fall either way: that, not arithmetic, is the distance
    same(gradients, true_gradients, 2e-3)
