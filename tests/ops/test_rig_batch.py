# SPDX-License-Identifier: Apache-2.0
"""Skinning, blended tables and their Adam step of a batch, on the CPU and by the CUDA bodies, against plain torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from avatar3d.ops.blend import adam_low_rank, adam_low_rank_reference, blend, blend_reference
from avatar3d.ops.rig import rig, rig_reference

Op = Callable[..., Tensor | tuple[Tensor, ...]]
BATCHES = [(), (1,), (3,)]


def rig_inputs(batch: tuple[int, ...], count: int) -> list[Tensor]:
    g = torch.Generator().manual_seed(count)
    shapes = ((count, 3), (count, 4), (count, 3), (count,), (*batch, count, 9), (*batch, 7), (*batch, 7))
    made = [torch.randn(*shape, generator=g) for shape in shapes]
    made[4] *= 0.3
    # sums that stay clear of 0 and 1, where rounding would decide whether a colour is clamped
    made[2] = (8 * made[2]).round() / 8 + 0.05
    made[4][..., 6:] = (8 * made[4][..., 6:]).round() / 8
    return made


def blend_inputs(batch: tuple[int, ...], shape: tuple[int, ...]) -> list[Tensor]:
    g = torch.Generator().manual_seed(len(shape))
    return [torch.randn(*batch, shape[0], generator=g), torch.randn(*shape, generator=g)]


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.detach().cpu() - expected.detach()).norm() / expected.detach().norm().clamp_min(1e-12))


def compare(op: Op, reference: Op, given: list[Tensor], device: torch.device) -> None:
    """Results and gradients against those of the reference in float64."""
    here = [tensor.to(device).requires_grad_() for tensor in given]
    double = [tensor.double().requires_grad_() for tensor in given]
    found, expected = op(*here, path="native"), reference(*double)
    if isinstance(found, Tensor):
        found, expected = (found,), (expected,)
    upstream = [torch.randn(tensor.shape) for tensor in expected]
    gradients = torch.autograd.grad(found, here, [tensor.to(device) for tensor in upstream])
    truth = torch.autograd.grad(expected, double, [tensor.double() for tensor in upstream])
    assert [tensor.shape for tensor in found] == [tensor.shape for tensor in expected]
    assert max(error(a, b) for a, b in zip(found, expected, strict=True)) < 1e-6
    assert max(error(a, b) for a, b in zip(gradients, truth, strict=True)) < 1e-5


@pytest.mark.parametrize("batch", BATCHES)
def test_rig_on_the_cpu(kernels: None, batch: tuple[int, ...]) -> None:
    compare(rig, rig_reference, rig_inputs(batch, 300), torch.device("cpu"))


@pytest.mark.parametrize(("batch", "count"), [((), 257), ((1,), 1), ((3,), 300)])
def test_rig_on_cuda(cuda: torch.device, batch: tuple[int, ...], count: int) -> None:
    compare(rig, rig_reference, rig_inputs(batch, count), cuda)


@pytest.mark.parametrize("batch", BATCHES)
def test_blend_on_the_cpu(kernels: None, batch: tuple[int, ...]) -> None:
    compare(blend, blend_reference, blend_inputs(batch, (7, 500, 9)), torch.device("cpu"))


@pytest.mark.parametrize(
    ("batch", "shape"), [((), (24, 130, 9)), ((1,), (1, 1)), ((3,), (9, 1025)), ((5,), (3, 40, 9))]
)
def test_blend_on_cuda(cuda: torch.device, batch: tuple[int, ...], shape: tuple[int, ...]) -> None:
    compare(blend, blend_reference, blend_inputs(batch, shape), cuda)


def compare_adam(batch: tuple[int, ...], shape: tuple[int, ...], device: torch.device) -> None:
    g = torch.Generator().manual_seed(3)
    start = torch.randn(*shape, generator=g)
    state = [start.clone().to(device), torch.zeros(shape, device=device), torch.zeros(shape, device=device)]
    exact = [start.double(), torch.zeros(shape).double(), torch.zeros(shape).double()]
    for step in range(1, 4):
        codes, gradient = torch.randn(*batch, shape[0], generator=g), torch.randn(*batch, *shape[1:], generator=g)
        adam_low_rank(*state, codes.to(device), gradient.to(device), lr=0.01, step=step, path="native")
        adam_low_rank_reference(*exact, codes.double(), gradient.double(), lr=0.01, step=step)
    moved = state[0].cpu().double() - start
    assert error(moved, exact[0] - start) < 2e-4  # where a gradient is nearly 0, its sign decides
    assert max(error(a, b) for a, b in zip(state[1:], exact[1:], strict=True)) < 1e-6


@pytest.mark.parametrize("batch", BATCHES)
def test_adam_on_the_cpu(kernels: None, batch: tuple[int, ...]) -> None:
    compare_adam(batch, (5, 300, 9), torch.device("cpu"))


@pytest.mark.parametrize("batch", BATCHES)
def test_adam_on_cuda(cuda: torch.device, batch: tuple[int, ...]) -> None:
    compare_adam(batch, (7, 37, 9), cuda)


def test_cuda_sums_in_a_fixed_order(cuda: torch.device) -> None:
    inputs = [tensor.to(cuda).requires_grad_() for tensor in rig_inputs((2,), 700)]
    tables = [tensor.to(cuda).requires_grad_() for tensor in blend_inputs((2,), (3, 2100))]
    runs = [
        torch.autograd.grad([out.square().sum() for out in (*rig(*inputs), blend(*tables))], [*inputs, *tables])
        for _ in range(2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_no_gaussians(cuda: torch.device) -> None:
    inputs = [tensor.to(cuda).requires_grad_() for tensor in rig_inputs((2,), 0)]
    found = rig(*inputs, path="native")
    assert [tuple(tensor.shape) for tensor in found] == [(2, 0, 3), (2, 0, 4), (2, 0, 3)]
    gradients = torch.autograd.grad([out.sum() for out in found], inputs)
    assert all(torch.equal(tensor, torch.zeros_like(tensor)) for tensor in gradients[5:])


def test_opcheck_of_batches(kernels: None) -> None:
    torch.library.opcheck(torch.ops.avatar3d.rig.default, [t.requires_grad_() for t in rig_inputs((2,), 20)])
    torch.library.opcheck(torch.ops.avatar3d.blend.default, [t.requires_grad_() for t in blend_inputs((2,), (4, 30))])


def test_batches_of_different_sizes_are_named() -> None:
    inputs = rig_inputs((2,), 4)
    inputs[5] = inputs[5][:1]
    with pytest.raises(ValueError, match="world_from_head"):
        rig(*inputs)
    with pytest.raises(ValueError, match="codes"):
        blend(torch.zeros(2, 3), torch.zeros(2, 5))
