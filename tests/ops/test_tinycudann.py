# SPDX-License-Identifier: Apache-2.0
"""tiny-cuda-nn behind `hashgrid`: what it is called with, on a stand-in; the same numbers, on the package itself."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

import pytest
import tinycudann_stand_in as stand_in
import torch
from torch import Tensor

from avatar3d.ops import _native, _tinycudann
from avatar3d.ops.hashgrid import TRIPLANE, VOLUME, HashGrid, geometric, hashgrid, hashgrid_reference

Axes = tuple[tuple[int, ...], ...]


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A CPU that is taken for CUDA, with the stand-in for the package."""
    monkeypatch.setitem(sys.modules, "tinycudann", stand_in)
    monkeypatch.setattr(_native, "body", lambda _device: "cuda")
    _tinycudann._encoding.cache_clear()
    stand_in.calls.clear()
    stand_in.batches.clear()
    yield
    _tinycudann._encoding.cache_clear()


def grid_of(axes: Axes, features: int = 2) -> HashGrid:
    return HashGrid(geometric(4, 3, 1.7), features, 7, axes, "ngp")


def scene(grid: HashGrid, count: int = 300) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(2)
    points = torch.rand(count, 3, generator=g) * 1.2 - 0.1
    return points, torch.randn(grid.rows, grid.features, generator=g), torch.randn(count, grid.width, generator=g)


def compare(grid: HashGrid, device: torch.device, half: bool) -> None:
    points, tables, gradient = scene(grid)
    here = [tensor.to(device).requires_grad_() for tensor in (points, tables)]
    double = [tensor.double().requires_grad_() for tensor in (points, tables)]
    found = hashgrid(*here, grid, "tinycudann", half)
    expected = hashgrid_reference(*double, grid, half)
    gradients = torch.autograd.grad(found, here, gradient.to(device))
    truth = torch.autograd.grad(expected, double, gradient.double())
    tolerance = 5e-3 if half else 1e-5
    assert found.dtype == torch.float32
    for ours, other in zip((found.detach(), *gradients), (expected.detach(), *truth), strict=True):
        assert ours.dtype == torch.float32
        assert float((ours.cpu() - other).norm() / other.norm()) < tolerance


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("axes", [VOLUME, TRIPLANE, ((2, 0),)])
def test_a_program_of_its_description_reads_our_tables(theirs: None, axes: Axes, half: bool) -> None:
    compare(grid_of(axes), torch.device("cpu"), half)


def test_what_it_is_called_with(theirs: None) -> None:
    grid = grid_of(TRIPLANE, 4)
    points, tables, _ = scene(grid)
    hashgrid(points, tables, grid, "tinycudann", half=True)
    hashgrid(points, tables, grid, "tinycudann", half=True)
    ((dims, config, dtype),) = stand_in.calls
    assert (dims, dtype) == (2, torch.float16)
    assert config == {
        "otype": "Grid",
        "type": "Hash",
        "n_levels": 4,
        "n_features_per_level": 4,
        "log2_hashmap_size": 7,
        "base_resolution": 3,
        "per_level_scale": torch.tensor(1.7).item(),
        "interpolation": "Linear",
    }
    assert stand_in.batches == 6 * [512]  # once a plane, and whole batches of 256
    hashgrid(points, tables, grid, "tinycudann")
    assert stand_in.calls[1][2] == torch.float32


def test_no_points(theirs: None) -> None:
    grid = grid_of(VOLUME)
    tables = torch.ones(grid.rows, 2, requires_grad=True)
    encoded = hashgrid(torch.empty(0, 3), tables, grid, "tinycudann")
    (by_tables,) = torch.autograd.grad(encoded.sum(), tables)
    assert encoded.shape == (0, grid.width)
    assert torch.equal(by_tables, torch.zeros_like(by_tables))
    assert not stand_in.batches  # its gradient of no points would be whatever the memory held


def test_it_is_refused_where_it_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, lines = grid_of(VOLUME), HashGrid((4,))
    with pytest.raises(ValueError, match=r"layout 'ngp', not 'lines'"):
        hashgrid(torch.zeros(5, 3), torch.zeros(lines.rows, 2), lines, "tinycudann")
    points, tables, _ = scene(grid, 5)
    with pytest.raises(RuntimeError, match=r"on CUDA alone, not on cpu; or use path='auto'"):
        hashgrid(points, tables, grid, "tinycudann")
    monkeypatch.setattr(_native, "body", lambda _device: "cuda")
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    with pytest.raises(RuntimeError, match=r"tinycudann cannot be imported .* build it \(github"):
        hashgrid(points, tables, grid, "tinycudann")


def test_another_number_of_parameters_is_told(theirs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = grid_of(VOLUME)
    points, tables, _ = scene(grid, 5)
    monkeypatch.setattr(stand_in.Encoding, "_count", lambda _self: 8)
    with pytest.raises(RuntimeError, match=f"has 8 parameters where our layout 'ngp' has {tables.numel()}"):
        hashgrid(points, tables, grid, "tinycudann")


@pytest.mark.gpu
def test_the_stand_in_has_the_packages_signature() -> None:
    package = pytest.importorskip("tinycudann", reason="the package tinycudann is not installed")
    for method in ("__init__", "forward"):
        ours, real = (inspect.signature(getattr(of.Encoding, method)).parameters for of in (stand_in, package))
        assert [(name, p.default) for name, p in ours.items()] == [(name, p.default) for name, p in real.items()]


@pytest.mark.gpu
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("axes", [VOLUME, TRIPLANE, ((2, 0),)])
def test_the_package_reads_our_tables(axes: Axes, half: bool) -> None:
    pytest.importorskip("tinycudann", reason="the package tinycudann is not installed")
    for features in (1, 2, 4, 8):
        compare(grid_of(axes, features), torch.device("cuda"), half)
