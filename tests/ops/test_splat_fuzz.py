# SPDX-License-Identifier: Apache-2.0
"""Whatever the numbers: no crash, no write out of bounds, and a finite picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import NAMES, Scene, cloud, relative

from avatar3d.ops import _native

if _native.why_not():
    pytest.skip(f"no kernels here: {_native.why_not()}", allow_module_level=True)

BAD = (float("nan"), float("inf"), float("-inf"), 1e38, -1e38, 2e9)
ODD = (0.0, -0.0, 1e-30, 1e-12, -1.0, 1e3, 1e6, 1e9)
ROWS = {"means": 3, "quats": 4, "scales": 3, "opacities": 1, "colours": 3}

place = st.tuples(st.sampled_from(NAMES[:5]), st.integers(0, 39), st.integers(0, 3))


def with_number(scene: Scene, where: tuple[str, int, int], number: float) -> Scene:
    name, row, column = where
    tensor = getattr(scene, name).clone()
    tensor.view(len(tensor), -1)[row, column % ROWS[name]] = number
    return replace(scene, **{name: tensor})


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(place, st.sampled_from(BAD)), min_size=1, max_size=8), st.integers(1, 50), st.integers(1, 40))
def test_bad_numbers_take_out_their_gaussian_only(
    changes: list[tuple[tuple[str, int, int], float]], width: int, height: int
) -> None:
    scene = cloud(40, width, height)
    spoilt = scene
    for where, number in changes:
        spoilt = with_number(spoilt, where, number)
    rest = torch.ones(40, dtype=torch.bool)
    rest[[where[1] for where, _ in changes]] = False
    left = replace(scene, **{name: getattr(scene, name)[rest] for name in NAMES[:5]})
    spoilt = spoilt.trainable()
    pictures = spoilt.draw("native")
    for picture, truth in zip(pictures, left.draw("native"), strict=True):
        assert torch.equal(picture, truth)
    gradients = torch.autograd.grad(sum(p.sum() for p in pictures), spoilt.tensors())
    for name, gradient in zip(NAMES, gradients, strict=True):
        assert gradient.isfinite().all(), name
        assert name == "cam_from_world" or not gradient[~rest].any()


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(place, st.sampled_from(ODD)), min_size=1, max_size=12), st.integers(1, 70), st.integers(1, 40)
)
def test_odd_numbers_give_finite_pictures(
    changes: list[tuple[tuple[str, int, int], float]], width: int, height: int
) -> None:
    scene = cloud(40, width, height)
    for where, number in changes:
        scene = with_number(scene, where, number)
    scene = scene.trainable()
    rgb, alpha, depth = scene.draw("native")
    assert rgb.isfinite().all()
    assert depth.isfinite().all()
    assert ((alpha >= 0) & (alpha <= 1)).all()
    gradients = torch.autograd.grad(rgb.sum() + alpha.sum() + depth.sum(), scene.tensors())
    assert all(not gradient.isnan().any() for gradient in gradients)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 15), st.sampled_from((*BAD, *ODD)), st.integers(0, 8), st.sampled_from((*BAD, *ODD)))
def test_bad_cameras_give_finite_pictures(pose_at: int, pose_number: float, k_at: int, k_number: float) -> None:
    scene = cloud(40, 37, 21)
    pose, K = scene.cam_from_world.clone(), scene.K.clone()
    pose.view(-1)[pose_at] = pose_number
    K.view(-1)[k_at] = k_number
    scene = replace(scene, cam_from_world=pose, K=K).trainable()
    pictures = scene.draw("native")
    assert all(picture.isfinite().all() for picture in pictures)
    torch.autograd.grad(sum(p.sum() for p in pictures), scene.tensors())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 400), st.integers(1, 130), st.integers(1, 130), st.floats(0.01, 30), st.integers(0, 1000))
def test_kernel_and_reference_draw_the_same(count: int, width: int, height: int, spread: float, seed: int) -> None:
    scene = cloud(count, width, height, seed=seed, spread=spread)
    for a, b in zip(scene.draw("native"), scene.draw("reference"), strict=True):
        # a pair within rounding of a cut-off may fall either way: one part in 255 of a colour, or of a depth of some u
        assert (a - b).abs().max() < 0.1
        assert (a - b).abs().mean() < 1e-4


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 500), st.integers(1, 40), st.integers(1, 40), st.floats(0.004, 0.9), st.integers(0, 100))
def test_a_pile_at_one_depth_is_drawn_in_the_order_of_its_rows(
    count: int, width: int, height: int, opacity: float, seed: int
) -> None:
    scene = cloud(count, width, height, seed=seed)
    alike = {name: getattr(scene, name)[:1].expand_as(getattr(scene, name)) for name in ("means", "quats", "scales")}
    scene = replace(scene, **alike, opacities=torch.full((count,), opacity)).trainable()
    pictures = scene.draw("native")
    for a, b in zip(pictures, scene.draw("reference"), strict=True):
        assert (a - b).abs().max() < 0.05
    gradients = torch.autograd.grad(sum(p.sum() for p in pictures), scene.tensors())
    assert all(gradient.isfinite().all() for gradient in gradients)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 30), st.integers(1, 70), st.integers(1, 50), st.sampled_from((30.0, 1e6)))
def test_gaussians_larger_than_the_picture(count: int, width: int, height: int, size: float) -> None:
    scene = cloud(count, width, height)
    scene = replace(scene, scales=scene.scales * size, opacities=scene.opacities * 0.2).trainable()
    pictures = scene.draw("native")
    assert all(picture.isfinite().all() for picture in pictures)
    for a, b in zip(pictures, scene.draw("reference"), strict=True):
        assert (a - b).abs().mean() < 1e-3
    gradients = torch.autograd.grad(sum(p.sum() for p in pictures), scene.tensors())
    assert all(not gradient.isnan().any() for gradient in gradients)


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (17, 2047)])
def test_long_thin_pictures(size: tuple[int, int], isa: str) -> None:
    scene = cloud(300, *size, spread=0.5).trainable()
    pictures = scene.draw("native")
    for a, b in zip(pictures, scene.draw("reference"), strict=True):
        assert (a - b).abs().max() < 0.1
        assert (a - b).abs().mean() < 1e-4
    torch.autograd.grad(sum(p.sum() for p in pictures), scene.tensors())


def test_a_deep_tile(isa: str) -> None:
    """Four thousand faint Gaussians on one tile, most of them behind what stops the light."""
    scene = cloud(4000, 9, 7, spread=0.3)
    scene = replace(scene, scales=scene.scales * 250, opacities=torch.full((4000,), 0.01)).trainable()
    rgb, alpha, _ = scene.draw("native")
    exact = scene.draw("reference")
    assert alpha.min() > 0.999
    assert (rgb - exact[0]).abs().max() < 1e-3
    gradients = torch.autograd.grad(rgb.sum(), scene.tensors())
    truths = torch.autograd.grad(exact[0].sum(), scene.tensors())
    for name, gradient, truth in zip(NAMES, gradients, truths, strict=True):
        assert relative(gradient, truth) < 2e-2, name


def test_nothing_in_front_of_the_camera(isa: str) -> None:
    scene = cloud(100, 33, 20)
    behind = scene.cam_from_world.clone()
    behind[2, 3] = -40
    scene = replace(scene, cam_from_world=behind).trainable()
    pictures = scene.draw("native")
    assert all(not picture.any() for picture in pictures)
    gradients = torch.autograd.grad(sum(p.sum() for p in pictures), scene.tensors())
    assert all(not gradient.any() for gradient in gradients)
