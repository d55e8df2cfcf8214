# SPDX-License-Identifier: Apache-2.0
"""Multiresolution hash encoding: the kernels against plain torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avatar3d.ops import _native
from avatar3d.ops.hashgrid import TRIPLANE, VOLUME, HashGrid, geometric, growing, hashgrid, hashgrid_reference

RESOLUTIONS = (1, 4, 9, 17, 40)
LEVELS = {"lines": RESOLUTIONS, "ngp": geometric(5, 2, 2.1)}
SHAPES = [
    HashGrid(LEVELS[layout], features, 8 if axes == TRIPLANE else 10, axes, layout)
    for layout in LEVELS
    for axes in (TRIPLANE, VOLUME, ((2, 0),))
    for features in (1, 2, 4, 8)
]
layouts = pytest.mark.parametrize("layout", LEVELS)


def named(grid: HashGrid) -> str:
    return f"{grid.layout}-{len(grid.axes)}x{len(grid.axes[0])}d-{grid.features}"


def scene(grid: HashGrid, count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Points (some beyond the cube), tables and a gradient."""
    g = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 3, generator=g) * 1.2 - 0.1
    return points, torch.randn(grid.rows, grid.features, generator=g), torch.randn(count, grid.width, generator=g)


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))


def compare(grid: HashGrid, count: int, device: torch.device, half: bool = False) -> None:
    points, tables, gradient = scene(grid, count)
    here = [tensor.to(device).requires_grad_() for tensor in (points, tables)]
    read = tables.half() if half else tables
    double = [tensor.double().requires_grad_() for tensor in (points, read)]
    found, expected = hashgrid(*here, grid, "native", half), hashgrid_reference(*double, grid)
    gradients = torch.autograd.grad(found, here, gradient.to(device))
    truth = torch.autograd.grad(expected, double, gradient.double())
    assert found.shape == (count, grid.width)
    assert error(found.detach().cpu(), expected.detach()) < 2e-6
    assert error(gradients[0].cpu(), truth[0]) < 1e-5
    assert error(gradients[1].cpu(), truth[1]) < 2e-6


@pytest.mark.parametrize("count", [1, 16, 37, 700])
@pytest.mark.parametrize("grid", SHAPES, ids=named)
def test_kernels_agree_with_float64(isa: str, grid: HashGrid, count: int) -> None:
    compare(grid, count, torch.device("cpu"))


@layouts
def test_more_points_than_a_span(isa: str, layout: str) -> None:
    grid = HashGrid(LEVELS[layout], 2, 8, ((2, 0),), layout)
    compare(grid, 8192 + 531, torch.device("cpu"))


@pytest.mark.parametrize("count", [1, 300])
@pytest.mark.parametrize("grid", SHAPES, ids=named)
def test_cuda_agrees_with_float64(cuda: torch.device, grid: HashGrid, count: int) -> None:
    compare(grid, count, cuda)


@pytest.mark.parametrize("grid", SHAPES, ids=named)
def test_half_precision_is_a_rounded_table(kernels: None, grid: HashGrid) -> None:
    compare(grid, 300, torch.device("cpu"), half=True)


@pytest.mark.parametrize("grid", SHAPES, ids=named)
def test_cuda_reads_a_table_in_half_precision(cuda: torch.device, grid: HashGrid) -> None:
    compare(grid, 300, cuda, half=True)


@pytest.mark.parametrize("path", ["auto", "reference"])
def test_what_is_learned_is_not_rounded(path: str) -> None:
    grid = HashGrid((1,), 1, 4, ((0, 1),))
    tables = torch.full((4, 1), 1 / 3, requires_grad=True)
    found = hashgrid(torch.full((1, 2), 0.5), tables, grid, path, half=True)
    assert found.dtype == torch.float32
    assert float(found.detach()) == float(torch.tensor(1 / 3).half())
    (by_tables,) = torch.autograd.grad(found, tables, torch.tensor([[4e-9]]))
    assert torch.equal(by_tables, torch.full((4, 1), 1e-9))  # in half precision this were zero


def test_cuda_takes_a_table_from_anywhere_in_memory(cuda: torch.device) -> None:
    grid = HashGrid(RESOLUTIONS, 4, 8, TRIPLANE)
    points, tables, _ = scene(grid, 20)
    moved = torch.empty(tables.numel() + 1)[1:].view(tables.shape).copy_(tables)
    assert moved.data_ptr() % 16
    here = points.to(cuda)
    assert torch.equal(hashgrid(here, moved.to(cuda), grid, "native"), hashgrid(here, tables.to(cuda), grid, "native"))


@layouts
@pytest.mark.parametrize("axes", [TRIPLANE, VOLUME])
def test_reference_gradient_is_the_derivative(axes: tuple[tuple[int, ...], ...], layout: str) -> None:
    grid = HashGrid((2, 6), 1, 4, axes, layout)
    points, tables, _ = scene(grid, 4)
    assert torch.autograd.gradcheck(
        lambda p, t: hashgrid_reference(p, t, grid),
        (points.double().requires_grad_(), tables.double().requires_grad_()),
        eps=1e-7,
        atol=1e-5,
    )


def test_a_vertex_has_the_value_of_its_row() -> None:
    grid = HashGrid((3,), 1, 10, ((0, 1),))
    tables = torch.arange(16.0)[:, None]
    vertices = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0)) / 3
    expected = (vertices[:, :1] + 4 * vertices[:, 1:]) * 3
    for path in ("auto", "reference"):
        assert torch.allclose(hashgrid(vertices, tables, grid, path), expected, atol=1e-5)


def test_lines_that_share_rows_lie_far_apart() -> None:
    """What the hash is chosen for: neighbouring lines of a hashed plane never overlap."""
    grid = HashGrid((200,), 1, 14, ((0, 1),))
    starts = (torch.arange(201) * 0x9E3779B9 & 0xFFFFFFFF) >> (32 - 14)
    for apart in range(1, 8):
        gap = (starts[apart:] - starts[:-apart]) % (1 << 14)
        assert torch.minimum(gap, (1 << 14) - gap).min() > 200
    assert grid.rows == (1 << 14) + 200


@layouts
def test_one_number_of_threads_is_as_good_as_another(kernels: None, layout: str) -> None:
    grid = HashGrid(LEVELS[layout], 2, 8, TRIPLANE, layout)
    points, tables, gradient = scene(grid, 3000)
    runs, before = [], _native.threads()
    for threads in (1, 2, 3):
        _native.set_threads(threads)
        inputs = points.clone().requires_grad_(), tables.clone().requires_grad_()
        runs.append(torch.autograd.grad(hashgrid(*inputs, grid), inputs, gradient))
    _native.set_threads(before)
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))


@layouts
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_wild_points_harm_only_themselves(isa: str, bad: float, layout: str) -> None:
    grid = HashGrid(LEVELS[layout], 2, 8, VOLUME, layout)
    points, tables, gradient = scene(grid, 40)
    points[7, 1] = bad
    inputs = points.clone().requires_grad_(), tables.clone()
    encoded = hashgrid(*inputs, grid, "native")
    expected = hashgrid_reference(points, tables, grid)
    others = torch.arange(40) != 7
    assert torch.allclose(encoded[others], expected[others], atol=1e-5)
    assert encoded[7].isnan().all() if bad != bad else torch.allclose(encoded[7], expected[7], atol=1e-5)
    (by_points,) = torch.autograd.grad(encoded, inputs[0], gradient)
    assert by_points[7, 1] == 0
    assert by_points[others].isfinite().all()


def test_no_points(isa: str) -> None:
    grid = HashGrid(RESOLUTIONS, 2, 8, TRIPLANE)
    inputs = torch.empty(0, 3, requires_grad=True), torch.ones(grid.rows, 2, requires_grad=True)
    encoded = hashgrid(*inputs, grid, "native")
    by_points, by_tables = torch.autograd.grad(encoded.sum(), inputs)
    assert encoded.shape == (0, grid.width)
    assert by_points.shape == (0, 3)
    assert torch.equal(by_tables, torch.zeros_like(by_tables))


def test_cuda_takes_no_points(cuda: torch.device) -> None:
    grid = HashGrid(RESOLUTIONS, 2, 8, TRIPLANE)
    tables = torch.ones(grid.rows, 2, device=cuda, requires_grad=True)
    encoded = hashgrid(torch.empty(0, 3, device=cuda), tables, grid, "native")
    (by_tables,) = torch.autograd.grad(encoded.sum(), tables)
    assert torch.equal(by_tables, torch.zeros_like(by_tables))


def test_opcheck(kernels: None) -> None:
    grid = HashGrid((3, 8), 2, 6, TRIPLANE)
    points, tables, _ = scene(grid, 20)
    for half in (False, True):
        shape = ([3.0, 8.0], [0, 1, 1, 2, 0, 2], 2, 6, False, half)
        arguments = (points.requires_grad_(), tables.requires_grad_(), *shape)
        torch.library.opcheck(torch.ops.avatar3d.hashgrid.default, arguments)


# of the layout "ngp": 4, 6 and 9 vertices along an axis, 16, 36 and 81 in all, of which the last do not fit 64 rows
NGP = HashGrid(geometric(3, 4, 1.5), 1, 6, ((0, 1),), "ngp")


@pytest.mark.parametrize("path", ["auto", "reference"])
@pytest.mark.parametrize(
    ("point", "level", "weights"),
    [
        # 3 x + .5: cell (3, 3), whose ends past the last vertex are rows 16 and 19, 20 past the end of 16
        ((1.0, 1.0), 0, {15: 0.25, 0: 0.25, 3: 0.25, 4: 0.25}),
        # 5 x + .5: (1.5, 4.25), rows 1 + 4 6, 2 + 4 6, 1 + 5 6, 2 + 5 6 of 40: a multiple of 8
        ((0.2, 0.75), 1, {25: 0.375, 26: 0.375, 31: 0.125, 32: 0.125}),
        # 8 x + .5: (2.5, 6.5); 6 and 7 times 2654435761 end, by 64, in 38 and 23: rows 2^38, 3^38, 2^23, 3^23
        ((0.25, 0.75), 2, {36: 0.25, 37: 0.25, 21: 0.25, 20: 0.25}),
    ],
)
def test_rows_of_ngp_by_hand(point: tuple[float, float], level: int, weights: dict[int, float], path: str) -> None:
    assert NGP.rows == 16 + 40 + 64
    tables = torch.zeros(NGP.rows, 1, requires_grad=True)
    found = hashgrid(torch.tensor([point]), tables, NGP, path)[0, level]
    (by_tables,) = torch.autograd.grad(found, tables)
    expected = torch.zeros(NGP.rows, 1)
    for row, weight in weights.items():
        expected[(0, 16, 56)[level] + row] = weight
    assert torch.allclose(by_tables, expected, atol=1e-6)


@pytest.mark.parametrize("path", ["auto", "reference"])
def test_the_hash_of_ngp_by_hand(path: str) -> None:
    # 16 vertices along an axis in 256 rows; 2 times 2654435761 and 3 times 805459861 end, by 256, in 98 and 191
    grid = HashGrid((16,), 1, 8, VOLUME, "ngp")
    vertex = (torch.tensor([[1.0, 2.0, 3.0]]) - 0.5) / 15
    tables = torch.arange(256.0)[:, None]
    assert float(hashgrid(vertex, tables, grid, path)) == pytest.approx(1 ^ 98 ^ 191, abs=1e-2)


def test_levels_of_ngp_are_tiny_cuda_nns() -> None:
    # from the 16 levels of the paper's NeRFs, base_resolution 16 and per_level_scale 1.3819, by hand
    grid = HashGrid(geometric(16, 16, 1.3819129), 2, 19, VOLUME, "ngp")
    assert grid.growth == torch.tensor(1.3819129).item()
    assert grid.scales[0] == 15 and grid.scales[1] == pytest.approx(21.1106064, abs=1e-4)
    assert grid.scales[15] == pytest.approx(2047.0, abs=0.1)
    # 16, 23, 31, 43 and 59 vertices along an axis, cubed, each to a multiple of 8; 81 cubed are more than 2^19
    assert grid.rows == 4096 + 12168 + 29792 + 79512 + 205384 + 11 * 2**19
    assert grid.rows * grid.features == 12196240  # as many parameters as tiny-cuda-nn then says that it has
    assert HashGrid(geometric(4, 8, 2.0), 2, 19, VOLUME, "ngp").scales == (7, 15, 31, 63)


def test_growth() -> None:
    assert growing(1, 16, 512) == (16,)
    assert growing(6, 16, 512) == (16, 32, 64, 128, 256, 512)
    assert growing(12, 16, 38)[-1] == 38


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"features": 3}, "features"),
        ({"log2_rows": 0}, "log2_rows"),
        ({"resolutions": ()}, "resolutions"),
        ({"resolutions": (0,)}, "resolutions"),
        ({"axes": ((0,),)}, "axes"),
        ({"axes": ((0, 1), (0, 1, 2))}, "axes"),
        ({"axes": ((0, -1),)}, "axes"),
        ({"layout": "rows"}, "layout"),
        ({"resolutions": (4, 5.5)}, "whole"),
        ({"resolutions": (4.5, 9.0), "layout": "ngp"}, "geometric"),
        ({"resolutions": (4, 8, 17), "layout": "ngp"}, "geometric"),
        ({"resolutions": (4,) * 33, "axes": TRIPLANE}, "levels"),
    ],
)
def test_impossible_grids_are_refused(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        HashGrid(**({"resolutions": (4,)} | wrong))  # type: ignore[arg-type]


def test_misshapen_tensors_are_named() -> None:
    grid = HashGrid((4,), 2, 8, VOLUME)
    with pytest.raises(ValueError, match="points"):
        hashgrid(torch.zeros(5, 2), torch.zeros(grid.rows, 2), grid)
    with pytest.raises(ValueError, match="tables"):
        hashgrid(torch.zeros(5, 3), torch.zeros(grid.rows, 1), grid)
