# SPDX-License-Identifier: Apache-2.0
"""Skinning, blended tables and their Adam step: the kernels against plain torch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from avatar3d.ops import _native
from avatar3d.ops.blend import adam_low_rank, blend, blend_reference
from avatar3d.ops.rig import rig, rig_reference

needs_kernels = pytest.mark.skipif(bool(_native.why_not()), reason=f"no native kernels: {_native.why_not()}")


def _inputs(count: int, seed: int = 0) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    shapes = ((count, 3), (count, 4), (count, 3), (count,), (count, 9), (7,), (7,))
    made = [torch.randn(*shape, generator=g) for shape in shapes]
    made[4] *= 0.3
    return made


def _error(found: Tensor, expected: Tensor) -> float:
    expected = expected.detach()
    return float((found.detach() - expected).norm() / expected.norm().clamp_min(1e-12))


@needs_kernels
@pytest.mark.parametrize("count", [1, 255, 256, 1000])
def test_rig_and_its_gradients_are_the_references(count: int) -> None:
    single = [tensor.requires_grad_() for tensor in _inputs(count)]
    double = [tensor.detach().double().requires_grad_() for tensor in single]
    found, expected = rig(*single, path="native"), rig_reference(*double)
    upstream = [torch.randn_like(tensor) for tensor in found]
    gradients = torch.autograd.grad(found, single, upstream)
    wanted = torch.autograd.grad(expected, double, [tensor.double() for tensor in upstream])
    assert all(_error(a, b) < 1e-6 for a, b in zip(found, expected, strict=True))
    assert all(_error(a, b) < 1e-5 for a, b in zip(gradients, wanted, strict=True))


def test_the_reference_is_differentiated_rightly() -> None:
    double = [tensor.double().requires_grad_() for tensor in _inputs(5)]
    double[2].data.uniform_(0.3, 0.4)  # away from the clamp's corners
    double[4].data.mul_(0.1)
    assert torch.autograd.gradcheck(rig_reference, double)


@needs_kernels
def test_rig_repeats_bit_for_bit_on_any_number_of_threads() -> None:
    inputs = [tensor.requires_grad_() for tensor in _inputs(3000)]
    runs, before = [], _native.threads()
    for threads in (1, 2, 3):
        _native.set_threads(threads)
        runs.append(torch.autograd.grad([out.sum() for out in rig(*inputs)], inputs))
    _native.set_threads(before)
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))


@needs_kernels
def test_opcheck() -> None:
    torch.library.opcheck(torch.ops.avatar3d.rig.default, [tensor.requires_grad_() for tensor in _inputs(20)])
    tables = torch.randn(4, 30, 9, requires_grad=True)
    torch.library.opcheck(torch.ops.avatar3d.blend.default, (torch.randn(4, requires_grad=True), tables))


def test_rig_names_what_is_misshapen() -> None:
    inputs = _inputs(4)
    inputs[4] = inputs[4][:, :8]
    with pytest.raises(ValueError, match="offsets"):
        rig(*inputs)


@needs_kernels
@pytest.mark.parametrize("shape", [(1, 1, 9), (24, 700, 9), (3, 5000)])
def test_blend_and_its_gradients_are_the_references(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    codes, tables = torch.randn(shape[0], requires_grad=True), torch.randn(*shape, requires_grad=True)
    doubles = codes.detach().double().requires_grad_(), tables.detach().double().requires_grad_()
    found, expected = blend(codes, tables, path="native"), blend_reference(*doubles)
    upstream = torch.randn_like(found)
    assert found.shape == shape[1:]
    assert _error(found, expected) < 1e-6
    gradients = torch.autograd.grad(found, (codes, tables), upstream)
    wanted = torch.autograd.grad(expected, doubles, upstream.double())
    assert all(_error(a, b) < 1e-5 for a, b in zip(gradients, wanted, strict=True))


@pytest.mark.parametrize("path", [pytest.param("native", marks=needs_kernels), "reference"])
def test_adam_of_one_frame_is_adam(path: str) -> None:
    torch.manual_seed(2)
    tables = torch.randn(5, 300, 9)
    moments = torch.zeros_like(tables), torch.zeros_like(tables)
    parameter = torch.nn.Parameter(tables.clone())
    adam = torch.optim.Adam([parameter], lr=0.01)
    for step in range(1, 6):
        codes, gradient = torch.randn(5), torch.randn(300, 9)
        parameter.grad = codes[:, None, None] * gradient
        adam.step()
        adam_low_rank(tables, *moments, codes, gradient, lr=0.01, step=step, path=path)
    assert torch.allclose(tables, parameter, atol=2e-6)
    assert torch.allclose(moments[1], adam.state[parameter]["exp_avg_sq"], atol=1e-6)


@needs_kernels
def test_adam_leaves_rows_without_a_code_alone() -> None:
    tables = torch.randn(2, 50, 9)
    before = tables.clone()
    first, second = torch.zeros_like(tables), torch.zeros_like(tables)
    adam_low_rank(tables, first, second, torch.tensor([0.0, 1.0]), torch.ones(50, 9), lr=0.1, step=1)
    assert torch.equal(tables[0], before[0])
    assert torch.allclose(tables[1], before[1] - 0.1, atol=1e-5)
    assert math.isclose(float(second[1].mean()), 1e-3, rel_tol=1e-4)


@needs_kernels
def test_tables_that_cannot_be_edited_in_place_are_refused() -> None:
    tables = torch.zeros(9, 4, 2).transpose(0, 2)
    with pytest.raises(ValueError, match="contiguous"):
        adam_low_rank(tables, tables, tables, torch.zeros(2), torch.zeros(4, 9), lr=0.1, step=1)
