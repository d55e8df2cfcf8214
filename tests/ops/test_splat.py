# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import threading
from dataclasses import replace
from functools import lru_cache

import pytest
import torch
from scenes import NAMES, Scene, cloud, relative, without_flips
from torch import Tensor

from avatar3d.ops import _native
from avatar3d.ops.splat import _splat, splat, splat_weights

SIZES = [(48, 48), (71, 53), (1, 1), (1, 40), (33, 1), (16, 17), (15, 64)]


def upstream(scene: Scene, seed: int = 5) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    size = (scene.height, scene.width)
    return [torch.randn(*shape, *size, generator=g) for shape in ((3,), (), ())]


def pictures_and_gradients(scene: Scene, path: str, seeds: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    scene = scene.trainable()
    pictures = scene.draw(path)
    total = sum((picture * seed.to(picture)).sum() for picture, seed in zip(pictures, seeds, strict=True))
    return [p.detach() for p in pictures], list(torch.autograd.grad(total, scene.tensors()))


@lru_cache
def case(kind: str, width: int, height: int, terms: int = 0) -> tuple[Scene, list[Tensor], list[Tensor], list[Tensor]]:
    """A scene without doubtful pairs, upstream gradients, and the float64 truth: pictures and gradients."""
    if kind == "near":
        scene = cloud(300, width, height, terms=terms)
    elif kind == "far":
        scene = cloud(100, width, height, seed=3, spread=2.5)
    else:
        scene = cloud(300, width, height, spread=0.5)
        zoom = scene.K * torch.tensor([[3.0, 1, 1], [1, 3, 1], [1, 1, 1]])
        scene = replace(scene, K=zoom, scales=scene.scales * 6, opacities=torch.full((300,), 0.4))
    scene = without_flips(scene)
    seeds = upstream(scene)
    return scene, seeds, *pictures_and_gradients(scene.to(torch.float64), "reference", seeds)


@pytest.mark.parametrize("terms", [0, 1, 4])
@pytest.mark.parametrize("size", [(71, 53), (48, 64)])
def test_kernel_agrees_with_float64(isa: str, size: tuple[int, int], terms: int) -> None:
    scene, seeds, exact, exact_gradients = case("near", *size, terms)
    assert len(scene.means) > 250
    drawn, gradients = pictures_and_gradients(scene, "native", seeds)
    for picture, truth in zip(drawn, exact, strict=True):
        assert picture.double().sub(truth).abs().max() < 2e-5
    for name, gradient, truth in zip(NAMES, gradients, exact_gradients, strict=True):
        assert relative(gradient, truth) < 1e-5, name


def test_gradients_hold_outside_the_field_of_view(isa: str) -> None:
    """There the linearisation point is held, and the gradient has other terms."""
    scene, seeds, _, truths = case("far", 36, 36)
    _, gradients = pictures_and_gradients(scene, "native", seeds)
    for name, gradient, truth in zip(NAMES, gradients, truths, strict=True):
        assert relative(gradient, truth) < 1e-5, name


@pytest.mark.parametrize("size", SIZES)
def test_any_size(isa: str, size: tuple[int, int]) -> None:
    scene, seeds, exact, truths = case("near", *size)
    drawn, gradients = pictures_and_gradients(scene, "native", seeds)
    for picture, truth in zip(drawn, exact, strict=True):
        assert picture.double().sub(truth).abs().max() < 2e-5
    for name, gradient, truth in zip(NAMES, gradients, truths, strict=True):
        assert relative(gradient, truth) < 2e-5, name


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_an_upstream_gradient_may_be_missing(isa: str, missing: int) -> None:
    scene = without_flips(cloud(100, 40, 30))
    seeds = upstream(scene)
    seeds[missing] = torch.zeros_like(seeds[missing])
    _, truths = pictures_and_gradients(scene.to(torch.float64), "reference", seeds)
    scene = scene.trainable()
    used = [(p * s).sum() for i, (p, s) in enumerate(zip(scene.draw("native"), seeds, strict=True)) if i != missing]
    gradients = torch.autograd.grad(used[0] + used[1], scene.tensors())
    for name, gradient, truth in zip(NAMES, gradients, truths, strict=True):
        assert relative(gradient, truth) < 1e-5, name


def test_reference_gradient_is_the_derivative() -> None:
    """Finite differences in float64, on Gaussians so wide that no pair comes near a cut-off."""
    scene = cloud(3, 5, 4, seed=2).to(torch.float64)
    wide = {"scales": scene.scales * 8, "opacities": torch.tensor([0.5, 0.3, 0.6], dtype=torch.float64)}
    scene = replace(scene, means=scene.means * 0.1, **wide).trainable()

    def draw(*tensors: Tensor) -> tuple[Tensor, ...]:
        return splat(*tensors, scene.K, scene.width, scene.height, path="reference")

    assert torch.autograd.gradcheck(draw, scene.tensors(), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("path", ["native", "reference"])
def test_one_gaussian_in_closed_form(path: str, kernels: None) -> None:
    focal, z, scale, opacity = 50.0, 5.0, 0.2, 0.8
    rgb, alpha, depth = splat(
        torch.tensor([[0.0, 0, z]]), torch.tensor([[3.0, 0, 0, 0]]), torch.full((1, 3), scale), torch.tensor([opacity]),
        torch.tensor([[0.9, 0.5, 0.1]]), torch.eye(4), torch.tensor([[focal, 0, 8.5], [0, focal, 6.5], [0, 0, 1]]),
        17, 13, path,
    )  # fmt: skip
    variance = (focal / z * scale) ** 2 + 0.1
    assert alpha[6, 8] == pytest.approx(opacity, abs=1e-6)
    assert alpha[6, 11] == pytest.approx(opacity * math.exp(-4.5 / variance), abs=1e-6)
    assert alpha[9, 6] == pytest.approx(opacity * math.exp(-(9 + 4) / 2 / variance), abs=1e-6)
    assert torch.allclose(rgb[:, 6, 8], opacity * torch.tensor([0.9, 0.5, 0.1]), atol=1e-6)
    assert depth[6, 8] == pytest.approx(opacity * z, abs=1e-5)
    far = opacity * math.exp(-(8**2 + 6**2) / 2 / variance)
    assert alpha[0, 0] == (pytest.approx(far, abs=1e-6) if far >= 1 / 255 else 0)


def test_the_nearer_hides_the_farther(kernels: None) -> None:
    means = torch.tensor([[0.0, 0, 6], [0, 0, 4]])
    colours = torch.tensor([[0.0, 1, 0], [1, 0, 0]])
    shape = (torch.tensor([[1.0, 0, 0, 0]]).expand(2, 4), torch.full((2, 3), 0.5), torch.tensor([0.9, 0.75]))
    K = torch.tensor([[40.0, 0, 8.5], [0, 40, 8.5], [0, 0, 1]])
    rgb, _, _ = splat(means, *shape, colours, torch.eye(4), K, 17, 17, "native")
    assert torch.allclose(rgb[:, 8, 8], torch.tensor([0.75, 0.25 * 0.9, 0]), atol=1e-6)


def test_order_of_the_rows_does_not_matter(kernels: None) -> None:
    scene = cloud(500, 64, 64)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    mixed = replace(scene, **{name: getattr(scene, name)[order] for name in NAMES[:5]})
    for a, b in zip(scene.draw("native"), mixed.draw("native"), strict=True):
        assert torch.equal(a, b)


def test_many_layers_end_at_the_stop(isa: str) -> None:
    """Long lists, every pixel finished early, transmittance replayed over many terms."""
    scene, seeds, exact, truths = case("deep", 24, 24)
    assert len(scene.means) > 200
    drawn, gradients = pictures_and_gradients(scene, "native", seeds)
    assert exact[1].min() > 0.99
    assert drawn[0].double().sub(exact[0]).abs().max() < 5e-5
    for name, gradient, truth in zip(NAMES, gradients, truths, strict=True):
        assert relative(gradient, truth) < 5e-5, name


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_every_run_gives_the_same_bits(isa: str, threads: int) -> None:
    """Pictures and gradients, whatever the number of threads and whichever of them is faster."""
    scene, seeds = cloud(800, 90, 70, spread=1.5), upstream(cloud(1, 90, 70))
    before = _native.threads()
    alone, alone_gradients = pictures_and_gradients(scene, "native", seeds)
    try:
        _native.set_threads(threads)
        assert _native.threads() == threads
        for _ in range(10):
            drawn, gradients = pictures_and_gradients(scene, "native", seeds)
            assert all(torch.equal(a, b) for a, b in zip(drawn, alone, strict=True))
            assert all(torch.equal(a, b) for a, b in zip(gradients, alone_gradients, strict=True))
    finally:
        _native.set_threads(before)


def test_two_forwards_then_two_backwards(kernels: None) -> None:
    scenes = [cloud(200, 50, 40, seed=1).trainable(), cloud(300, 33, 60, seed=2).trainable()]
    totals = [sum(p.square().sum() for p in scene.draw("native")) for scene in scenes]
    late = [torch.autograd.grad(total, scene.tensors()) for total, scene in zip(totals, scenes, strict=True)][::-1]
    for scene, gradients in zip(reversed(scenes), late, strict=True):
        at_once = torch.autograd.grad(sum(p.square().sum() for p in scene.draw("native")), scene.tensors())
        assert all(torch.equal(a, b) for a, b in zip(gradients, at_once, strict=True))


def test_callers_on_several_threads(kernels: None) -> None:
    scenes = [cloud(300, 60, 50, seed=seed) for seed in range(6)]
    truths = [pictures_and_gradients(scene, "native", upstream(scene)) for scene in scenes]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(10):
            drawn, gradients = pictures_and_gradients(scenes[index], "native", upstream(scenes[index]))
            same = all(torch.equal(a, b) for a, b in zip(drawn, truths[index][0], strict=True))
            same &= all(torch.equal(a, b) for a, b in zip(gradients, truths[index][1], strict=True))
            if not same:
                wrong.append(index)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_weights_are_what_the_picture_is_made_of(isa: str) -> None:
    scene = without_flips(cloud(300, 61, 47))
    picture = torch.rand(3, 47, 61, generator=torch.Generator().manual_seed(1))
    shape = (scene.means, scene.quats, scene.scales, scene.opacities, scene.cam_from_world, scene.K)
    weight, covered = splat_weights(*shape, picture, path="native")
    exact = splat_weights(*(t.double() for t in shape), picture.double(), path="reference")
    assert relative(weight, exact[0]) < 1e-5
    assert relative(covered, exact[1]) < 1e-5
    assert float(weight.sum()) == pytest.approx(float(scene.draw("native")[1].sum()), rel=1e-5)


def test_nothing_to_draw(isa: str) -> None:
    scene = cloud(0, 20, 9).trainable()
    pictures = scene.draw("native")
    assert all(not picture.any() for picture in pictures)
    gradients = torch.autograd.grad(sum(p.sum() for p in pictures), scene.tensors())
    assert [g.shape for g in gradients] == [t.shape for t in scene.tensors()]


def test_strided_inputs(kernels: None) -> None:
    scene = cloud(100, 40, 40)
    wide = {name: torch.stack([getattr(scene, name)] * 2, -1)[..., 1] for name in NAMES}
    strided = replace(scene, **wide)
    assert not strided.means.is_contiguous()
    for a, b in zip(scene.draw("native"), strided.draw("native"), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_other_types_are_refused_by_name(name: str, kernels: None) -> None:
    scene = cloud(10, 8, 8)
    with pytest.raises(ValueError, match=rf"{name} is torch.float64"):
        replace(scene, **{name: getattr(scene, name).double()}).draw("native")


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_are_refused_by_name(name: str) -> None:
    scene = cloud(10, 8, 8)
    with pytest.raises(ValueError, match=rf"splat: {name} ha"):
        replace(scene, **{name: getattr(scene, name)[..., None, None]}).draw("auto")


def test_no_picture_without_pixels() -> None:
    with pytest.raises(ValueError, match="0 x 8 pixels"):
        replace(cloud(10, 8, 8), width=0).draw("auto")


def test_op_is_registered_as_torch_expects(kernels: None) -> None:
    scene = cloud(30, 20, 18).trainable()
    arguments = (*scene.tensors(), scene.K, scene.width, scene.height, True)
    torch.library.opcheck(_splat, arguments)
