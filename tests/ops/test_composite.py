# SPDX-License-Identifier: Apache-2.0
"""Sums along rays: the kernels against plain torch, and plain torch against nerfacc where that is installed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from rays import samples_along
from torch import Tensor

from avatar3d.ops import _native
from avatar3d.ops.composite import composite, composite_reference
from avatar3d.ops.march import Samples

WIDTHS = (1, 2, 3, 4, 7, 16)
COUNTS = [0, 1, 15, 16, 17, 0, 33, 2, 70, 1, 0]  # of each ray: whole blocks of lanes, and what is left of them
MANY = COUNTS * 40


def medium(samples: Samples, width: int, thick: float = 3.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Density, some of it 0, and values."""
    g = torch.Generator().manual_seed(seed)
    count = len(samples.begins)
    density = (torch.randn(count, generator=g) * thick).clamp_min(0)
    return density, torch.randn(count, width, generator=g)


def upstream(samples: Samples, width: int) -> list[Tensor]:
    g = torch.Generator().manual_seed(9)
    rays = len(samples.first) - 1
    return [torch.randn(shape, generator=g) for shape in ((rays, width), (rays,), (rays,))]


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))


def moved(samples: Samples, device: torch.device) -> Samples:
    fields = {name: getattr(samples, name).to(device) for name in ("ray", "begins", "ends", "first")}
    return Samples(**fields)


def compare(counts: list[int], width: int, stop: float, device: torch.device, thick: float = 3.0) -> None:
    samples = samples_along(counts)
    given = medium(samples, width, thick)
    here = [tensor.to(device).requires_grad_() for tensor in given]
    double = [tensor.double().requires_grad_() for tensor in given]
    exact = replace(samples, begins=samples.begins.double(), ends=samples.ends.double())
    found = composite(*here, moved(samples, device), stop, "native")
    expected = composite_reference(*double, exact, stop)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert error(a.detach().cpu(), b.detach()) < 2e-6
    pull = upstream(samples, width)
    gradients = torch.autograd.grad(found, here, [tensor.to(device) for tensor in pull])
    truth = torch.autograd.grad(expected, double, [tensor.double() for tensor in pull])
    assert all(error(a.cpu(), b) < 1e-5 for a, b in zip(gradients, truth, strict=True))


@pytest.mark.parametrize("width", WIDTHS)
def test_kernels_agree_with_float64(isa: str, width: int) -> None:
    compare(MANY, width, 0.0, torch.device("cpu"))


@pytest.mark.parametrize("width", [3, 5])
def test_rays_end_where_little_light_is_left(isa: str, width: int) -> None:
    compare(MANY, width, 1e-2, torch.device("cpu"), 40.0)


@pytest.mark.parametrize("width", [1, 3, 16])
@pytest.mark.parametrize(("stop", "thick"), [(0.0, 3.0), (1e-2, 40.0)])
def test_cuda_agrees_with_float64(cuda: torch.device, width: int, stop: float, thick: float) -> None:
    compare(COUNTS, width, stop, cuda, thick)


def test_reference_gradient_is_the_derivative() -> None:
    samples = samples_along([0, 3, 5, 1])
    samples = replace(samples, begins=samples.begins.double(), ends=samples.ends.double())
    density, values = medium(samples, 2)
    given = (density + 0.1).double().requires_grad_(), values.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda d, v: composite_reference(d, v, samples, 0.0), given)


def test_a_wall_is_seen_and_nothing_behind_it() -> None:
    samples = samples_along([5])
    density = torch.tensor([0.0, 0.0, 1e6, 1e6, 1e6])
    values = torch.arange(5.0)[:, None]
    for path in ("auto", "reference"):
        seen, alpha, depth = composite(density, values, samples, path=path)
        assert torch.allclose(seen, torch.tensor([[2.0]])) and torch.allclose(alpha, torch.ones(1))
        assert torch.allclose(depth, (samples.begins + samples.ends)[2:3] / 2)


def test_empty_space_is_exactly_empty() -> None:
    samples = samples_along([40, 3])
    for path in ("auto", "reference"):
        for seen in composite(torch.zeros(43), torch.ones(43, 3), samples, path=path):
            assert torch.equal(seen, torch.zeros_like(seen))


def test_one_number_of_threads_is_as_good_as_another(kernels: None) -> None:
    samples = samples_along(MANY * 3)
    runs, before = [], _native.threads()
    for threads in (1, 2, 3):
        _native.set_threads(threads)
        given = [tensor.requires_grad_() for tensor in medium(samples, 3)]
        found = composite(*given, samples)
        runs.append([*found, *torch.autograd.grad(found, given, upstream(samples, 3))])
    _native.set_threads(before)
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e38, -1e38])
@pytest.mark.parametrize("width", [3, 5])
def test_wild_samples_harm_only_their_ray(isa: str, bad: float, width: int) -> None:
    samples = samples_along([20, 20, 3, 20])
    density, values = medium(samples, width)
    density[25] = bad
    values[41, 1] = bad
    given = density.requires_grad_(), values.requires_grad_()
    found = composite(*given, samples, 0.0, "native")
    expected = composite_reference(*given, samples, 0.0)
    pull = upstream(samples, width)
    gradients = torch.autograd.grad(found, given, pull)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a[[0, 3]], b[[0, 3]], atol=1e-5)
        assert torch.allclose(a[1], b[1], atol=1e-5, equal_nan=True)
    apart = (samples.ray == 0) | (samples.ray == 3)
    assert all(gradient[apart].isfinite().all() for gradient in gradients)
    assert found[0].isfinite().all(1).tolist() == [True, bad == bad, bad == 1e38 or bad == -1e38, True]


def test_what_no_light_reaches_is_not_looked_at(isa: str) -> None:
    samples = samples_along([40])
    density, values = torch.full((40,), 1e4), torch.ones(40, 3)
    values[20:] = float("nan")
    given = density.requires_grad_(), values.requires_grad_()
    seen, alpha, _ = composite(*given, samples, 1e-4, "native")
    gradients = torch.autograd.grad(seen.sum() + alpha.sum(), given)
    assert seen.isfinite().all()
    assert all(torch.equal(gradient[20:], torch.zeros_like(gradient[20:])) for gradient in gradients)


def test_only_the_gradients_that_are_wanted(isa: str) -> None:
    samples = samples_along(COUNTS)
    both = [tensor.requires_grad_() for tensor in medium(samples, 3)]
    expected = torch.autograd.grad(composite(*both, samples, path="native")[0].sum(), both)
    for which in (0, 1):
        given = list(medium(samples, 3))
        given[which].requires_grad_()
        (found,) = torch.autograd.grad(composite(*given, samples, path="native")[0].sum(), given[which])
        assert torch.equal(found, expected[which])


@pytest.mark.parametrize("counts", [[], [0, 0, 0]])
def test_no_samples(isa: str, counts: list[int]) -> None:
    samples = samples_along(counts) if counts else replace(samples_along([0]), first=torch.zeros(1, dtype=torch.int64))
    given = torch.empty(0, requires_grad=True), torch.empty(0, 3, requires_grad=True)
    seen, alpha, depth = composite(*given, samples, path="native")
    gradients = torch.autograd.grad(seen.sum() + alpha.sum() + depth.sum(), given)
    assert torch.equal(seen, torch.zeros(len(counts), 3)) and not alpha.any() and not depth.any()
    assert [tuple(gradient.shape) for gradient in gradients] == [(0,), (0, 3)]


def test_cuda_takes_no_samples(cuda: torch.device) -> None:
    samples = moved(samples_along([0, 0]), cuda)
    seen, alpha, _ = composite(torch.empty(0, device=cuda), torch.empty(0, 3, device=cuda), samples, path="native")
    assert not seen.any() and not alpha.any() and seen.shape == (2, 3)


def test_opcheck(kernels: None) -> None:
    samples = samples_along([4, 0, 7])
    given = [tensor.requires_grad_() for tensor in medium(samples, 3)]
    arguments = (*given, samples.begins, samples.ends, samples.first, 1e-4)
    torch.library.opcheck(torch.ops.avatar3d.composite.default, arguments)


def test_misshapen_tensors_are_named() -> None:
    samples = samples_along([4, 0, 7])
    with pytest.raises(ValueError, match="density"):
        composite(torch.zeros(10), torch.zeros(11, 3), samples)
    for width in (0, 17):
        with pytest.raises(ValueError, match="values"):
            composite(torch.zeros(11), torch.zeros(11, width), samples)
    for wrong in (samples.first[1:], samples.first.flip(0), samples.first[:-1], samples.first.int()):
        with pytest.raises(ValueError, match=r"samples\.first"):
            composite(torch.zeros(11), torch.zeros(11, 3), replace(samples, first=wrong))


def test_sums_are_those_of_nerfacc() -> None:
    """On a CPU it takes rays of the same number of samples only: those that lack some get samples of no length."""
    volrend = pytest.importorskip("nerfacc.volrend", reason="nerfacc is not installed; nothing to compare with")
    counts = [3, 0, 20, 40]
    samples = samples_along(counts)
    density, values = medium(samples, 3)

    def filled(rows: Tensor) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(rows.split(counts)), batch_first=True)

    begins, ends = filled(samples.begins), filled(samples.ends)
    weights, _, _ = volrend.render_weight_from_density(begins, ends, filled(density))
    middles = ((begins + ends) / 2)[..., None]
    theirs = [volrend.accumulate_along_rays(weights, each) for each in (filled(values), None, middles)]
    for path in ("auto", "reference"):
        seen, alpha, depth = composite(density, values, samples, 0.0, path)
        for ours, expected in zip((seen, alpha[:, None], depth[:, None]), theirs, strict=True):
            assert torch.allclose(ours, expected, atol=2e-6)
