# SPDX-License-Identifier: Apache-2.0
"""Small networks without biases: the kernels against plain torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avatar3d.ops import _native
from avatar3d.ops.mlp import Layers, mlp, mlp_reference

SHAPES = [Layers((36, 32, 16)), Layers((60, 64, 64, 10)), Layers((52, 32, 32, 3)), Layers((1, 1)), Layers((128,) * 7)]


def named(layers: Layers) -> str:
    return "-".join(map(str, layers.widths))


def scene(layers: Layers, count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, weights that keep the size of what goes through, and a gradient."""
    g = torch.Generator().manual_seed(seed)
    weights = [
        torch.randn(wide * out, generator=g) * (2 / wide) ** 0.5
        for wide, out in zip(layers.widths, layers.widths[1:], strict=False)
    ]
    inputs, gradient = (torch.randn(count, layers.widths[end], generator=g) for end in (0, -1))
    return inputs, torch.cat(weights), gradient


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))


def compare(layers: Layers, count: int, device: torch.device) -> None:
    inputs, weights, gradient = scene(layers, count)
    here = [tensor.to(device).requires_grad_() for tensor in (inputs, weights)]
    double = [tensor.double().requires_grad_() for tensor in (inputs, weights)]
    found, expected = mlp(*here, layers, "native"), mlp_reference(*double, layers)
    gradients = torch.autograd.grad(found, here, gradient.to(device))
    truth = torch.autograd.grad(expected, double, gradient.double())
    assert found.shape == (count, layers.widths[-1])
    assert error(found.detach().cpu(), expected.detach()) < 2e-6
    assert all(error(a.cpu(), b) < 1e-5 for a, b in zip(gradients, truth, strict=True))


@pytest.mark.parametrize("count", [1, 32, 37, 1100])
@pytest.mark.parametrize("layers", SHAPES, ids=named)
def test_kernels_agree_with_float64(isa: str, layers: Layers, count: int) -> None:
    compare(layers, count, torch.device("cpu"))


@pytest.mark.parametrize("count", [1, 75])
@pytest.mark.parametrize("layers", SHAPES[:4], ids=named)
def test_cuda_agrees_with_float64(cuda: torch.device, layers: Layers, count: int) -> None:
    compare(layers, count, cuda)


def test_cuda_walks_over_more_points_than_it_has_blocks(cuda: torch.device) -> None:
    compare(Layers((2, 3, 2)), 264 * 32 + 17, cuda)


def test_reference_gradient_is_the_derivative() -> None:
    layers = Layers((3, 5, 2))
    inputs, weights, _ = scene(layers, 4)
    given = inputs.double().requires_grad_(), weights.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: mlp_reference(x, w, layers), given)


def test_zeros_stay_zeros() -> None:
    layers = SHAPES[1]
    inputs, weights, _ = scene(layers, 40)
    inputs[7] = 0
    for path in ("auto", "reference"):
        out = mlp(inputs, weights, layers, path)
        assert torch.equal(out[7], torch.zeros(10))
        assert out[8].abs().max() > 0


def test_one_number_of_threads_is_as_good_as_another(kernels: None) -> None:
    layers = SHAPES[1]
    inputs, weights, gradient = scene(layers, 3000)
    runs, before = [], _native.threads()
    for threads in (1, 2, 3):
        _native.set_threads(threads)
        given = inputs.clone().requires_grad_(), weights.clone().requires_grad_()
        runs.append(torch.autograd.grad(mlp(*given, layers), given, gradient))
    _native.set_threads(before)
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e38])
def test_wild_points_harm_only_themselves(isa: str, bad: float) -> None:
    layers = SHAPES[1]
    inputs, weights, gradient = scene(layers, 40)
    inputs[7, 1] = bad
    given = inputs.clone().requires_grad_()
    out = mlp(given, weights, layers, "native")
    (by_inputs,) = torch.autograd.grad(out, given, gradient)
    others = torch.arange(40) != 7
    assert torch.allclose(out[others], mlp_reference(inputs, weights, layers)[others], atol=1e-5)
    assert out[7].isfinite().all() == (bad == 1e38)
    assert by_inputs[others].isfinite().all()


def test_only_the_gradients_that_are_wanted(isa: str) -> None:
    layers = SHAPES[0]
    inputs, weights, gradient = scene(layers, 70)
    both = [tensor.clone().requires_grad_() for tensor in (inputs, weights)]
    expected = torch.autograd.grad(mlp(*both, layers, "native"), both, gradient)
    for which in (0, 1):
        given = [inputs.clone(), weights.clone()]
        given[which].requires_grad_()
        (found,) = torch.autograd.grad(mlp(*given, layers, "native"), given[which], gradient)
        assert torch.equal(found, expected[which])


def test_no_points(isa: str) -> None:
    layers = SHAPES[0]
    given = torch.empty(0, 36, requires_grad=True), torch.ones(layers.weights, requires_grad=True)
    out = mlp(*given, layers, "native")
    by_inputs, by_weights = torch.autograd.grad(out.sum(), given)
    assert out.shape == (0, 16)
    assert by_inputs.shape == (0, 36)
    assert torch.equal(by_weights, torch.zeros_like(by_weights))


def test_cuda_takes_no_points(cuda: torch.device) -> None:
    layers = SHAPES[0]
    weights = torch.ones(layers.weights, device=cuda, requires_grad=True)
    (by_weights,) = torch.autograd.grad(mlp(torch.empty(0, 36, device=cuda), weights, layers, "native").sum(), weights)
    assert torch.equal(by_weights, torch.zeros_like(by_weights))


def test_opcheck(kernels: None) -> None:
    layers = Layers((5, 7, 3))
    inputs, weights, _ = scene(layers, 20)
    arguments = (inputs.requires_grad_(), weights.requires_grad_(), list(layers.widths))
    torch.library.opcheck(torch.ops.avatar3d.mlp.default, arguments)


@pytest.mark.parametrize("widths", [(), (4,), (4, 0), (4, 129), (4,) * 8])
def test_impossible_networks_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="widths"):
        Layers(widths)


def test_misshapen_tensors_are_named() -> None:
    layers = Layers((4, 2))
    with pytest.raises(ValueError, match="inputs"):
        mlp(torch.zeros(5, 3), torch.zeros(8), layers)
    with pytest.raises(ValueError, match="weights"):
        mlp(torch.zeros(5, 4), torch.zeros(9), layers)
