# SPDX-License-Identifier: Apache-2.0
"""Multiresolution hash encoding (Mueller et al. 2022, Instant NGP): points of a cube or of several planes to features.

Points come and features go point-first, [N,...], as torch's linear layers want them. A `HashGrid` says which vertex
lies in which row of the table: by our own layout, the faster one, or by tiny-cuda-nn's, whose tables can so be shared.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import torch
from torch import Tensor

from avatar3d.ops import _native, _tinycudann
from avatar3d.ops._grids import TRIPLANE, VOLUME, HashGrid, geometric, growing, row_of, rows_of

__all__ = ["TRIPLANE", "VOLUME", "HashGrid", "geometric", "growing", "hashgrid", "hashgrid_reference"]

_BOUNDARY = 16  # bytes, on which tables begin that CUDA reads; torch's own allocations do


def hashgrid(points: Tensor, tables: Tensor, grid: HashGrid, path: str = "auto", half: bool = False) -> Tensor:
    """Features of points, read from each level by linear interpolation; differentiable once, in points and tables.

    Beyond 0..1 a point has the features of the nearest point of the border, and no gradient along that axis. On CUDA
    the last bits of the tables' gradient change from run to run; on the CPU they never do.

    Args:
        points: [N,C], the cube is 0..1; C covers every column that `grid.axes` names.
        tables: [grid.rows,grid.features].
        grid: the encoding's shape.
        path: "native" (the kernel; float32; CPU, CUDA), "reference", "tinycudann" (that package, which reads the layout
            "ngp" on CUDA) or "auto": native where there is one.
        half: read the tables rounded to half precision, of numbers up to 65504. On CUDA that is half the reading; the
            result is the same everywhere. All else stays float32, the tables' gradient too, which goes past the
            rounding to the tables as they are given: so small gradients are not lost, and no loss has to be scaled.

    Returns:
        [N,grid.width].

    Raises:
        ValueError: a tensor of another shape or type; names it.
        RuntimeError: path is "native" and there is no kernel, or "tinycudann" and it cannot be used; says why.
    """
    needed = 1 + max(max(plane) for plane in grid.axes)
    if points.ndim != 2 or points.shape[1] < needed:
        raise ValueError(f"hashgrid: points have shape {tuple(points.shape)}, expected (N, {needed}) or more columns")
    if tuple(tables.shape) != (grid.rows, grid.features):
        raise ValueError(f"hashgrid: tables have shape {tuple(tables.shape)}, expected {(grid.rows, grid.features)}")
    if path == "tinycudann":
        _tinycudann.checked(grid, points.device)
        if len(points):
            return _tinycudann.encoded(points, tables, grid, half)
        path = "auto"  # of no points the package does not write a gradient
    if not _native.use_native("hashgrid", path, points.device):
        return hashgrid_reference(points, tables, grid, half)
    return _hashgrid(points, tables, *_flat(grid), half)


def hashgrid_reference(points: Tensor, tables: Tensor, grid: HashGrid, half: bool = False) -> Tensor:
    """The twin of `hashgrid` in plain torch."""
    if half:
        tables = _Rounded.apply(tables)
    encoded, first = [], 0
    for plane in grid.axes:
        held = points[:, list(plane)].clamp(0, 1)
        for scale in grid.scales:
            rows = rows_of(grid, scale)
            encoded.append(_interpolated(held, tables[first : first + rows], grid, scale))
            first += rows
    return torch.cat(encoded, 1)


def _interpolated(held: Tensor, table: Tensor, grid: HashGrid, scale: float) -> Tensor:
    at = held * scale + (0.5 if grid.layout == "ngp" else 0.0)
    cell = at.detach().nan_to_num().floor()  # what is no number belongs to the first cell
    if grid.layout == "lines":
        cell = cell.clamp(max=scale - 1)  # and the last vertex to the last one
    fraction, cell = at - cell, cell.long()
    total = torch.zeros_like(at[:, :1])
    for corner in product((0, 1), repeat=at.shape[1]):
        chosen = torch.tensor(corner, device=at.device)
        weight = torch.where(chosen == 1, fraction, 1 - fraction).prod(1, keepdim=True)
        total = total + weight * table[row_of(cell + chosen, grid, scale)]
    return total


class _Rounded(torch.autograd.Function):
    """To half precision and back; the gradient passes as it is, where torch would round that too."""

    @staticmethod
    def forward(ctx: Any, tables: Tensor) -> Tensor:  # noqa: ARG004 - torch names it
        return tables.half().to(tables.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        return gradients[0]


class _Grid(ctypes.Structure):
    """A3dGrid of csrc/hashgrid/hashgrid.h."""

    _fields_ = [
        ("scales", ctypes.POINTER(ctypes.c_float)),
        ("axes", ctypes.POINTER(ctypes.c_int32)),
        *((name, ctypes.c_int32) for name in ("planes", "dims", "levels", "features", "log2_rows", "columns")),
        *((name, ctypes.c_int32) for name in ("half", "ngp")),
    ]


_Flat = tuple[list[float], list[int], int, int, bool]


@lru_cache(maxsize=64)
def _flat(grid: HashGrid) -> _Flat:
    """A grid as an op of torch takes it: scales, axes one after another, how many of a plane, log2_rows, the layout."""
    axes = [axis for plane in grid.axes for axis in plane]
    return list(grid.scales), axes, len(grid.axes[0]), grid.log2_rows, grid.layout == "ngp"


def _struct(
    scales: Sequence[float], axes: Sequence[int], dims: int, log2_rows: int, ngp: bool, half: bool,
    features: int, columns: int,
) -> _Grid:  # fmt: skip
    in_c = (ctypes.c_float * len(scales))(*scales), (ctypes.c_int32 * len(axes))(*axes)
    return _Grid(*in_c, len(axes) // dims, dims, len(scales), features, log2_rows, columns, half, ngp)


def _as_read(tables: Tensor, half: bool) -> Tensor:
    """The tables as the kernel of their device takes them."""
    if half:
        return tables.half() if _native.body(tables.device) == "cuda" else tables.half().float()
    return tables if tables.data_ptr() % _BOUNDARY == 0 else tables.clone()


def _call(name: str, device: torch.device, *arguments: Any) -> None:
    if _native.body(device) == "cuda":
        _native.launch(f"avatar3d_cuda_hashgrid_{name}", "hashgrid", device, *arguments)
    else:
        kernel = getattr(_native.library(), f"avatar3d_hashgrid_{name}")
        _native.checked(kernel(*arguments), "hashgrid")


@torch.library.custom_op("avatar3d::hashgrid", mutates_args=())
def _hashgrid(
    points: Tensor, tables: Tensor, scales: Sequence[float], axes: Sequence[int], dims: int, log2_rows: int,
    ngp: bool, half: bool,
) -> Tensor:  # fmt: skip
    at, table = _native.prepared("hashgrid", points=(points, tuple(points.shape)), tables=(tables, tuple(tables.shape)))
    table = _as_read(table, half)
    grid = _struct(scales, axes, dims, log2_rows, ngp, half, tables.shape[1], points.shape[1])
    out = points.new_empty(len(points), len(axes) // dims * len(scales) * tables.shape[1])
    pointers = [tensor.data_ptr() for tensor in (at, table)]
    _call("forward", points.device, ctypes.byref(grid), *pointers, len(points), out.data_ptr())
    return out


@_hashgrid.register_fake
def _(points: Tensor, tables: Tensor, scales: Sequence[float], axes: Sequence[int], dims: int, *_others: Any) -> Tensor:
    return points.new_empty(points.shape[0], len(axes) // dims * len(scales) * tables.shape[1])


@torch.library.custom_op("avatar3d::hashgrid_backward", mutates_args=())
def _hashgrid_backward(
    points: Tensor, tables: Tensor, gradient: Tensor, scales: Sequence[float], axes: Sequence[int],
    dims: int, log2_rows: int, ngp: bool, half: bool, by_points: bool, by_tables: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients by points and tables; empty where they are not wanted."""
    shapes = {"points": points, "tables": tables, "gradient": gradient}
    given = _native.prepared("hashgrid", **{name: (tensor, tuple(tensor.shape)) for name, tensor in shapes.items()})
    given[1] = _as_read(given[1], half)
    grid = _struct(scales, axes, dims, log2_rows, ngp, half, tables.shape[1], points.shape[1])
    found = points.new_empty(points.shape if by_points else 0), tables.new_empty(tables.shape if by_tables else 0)
    pointers = [tensor.data_ptr() for tensor in given]
    wanted = [tensor.data_ptr() if want else None for tensor, want in zip(found, (by_points, by_tables), strict=True)]
    _call("backward", points.device, ctypes.byref(grid), *pointers, len(points), *wanted)
    return found


@_hashgrid_backward.register_fake
def _(points: Tensor, tables: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    by_points, by_tables = others[-2:]
    return points.new_empty(points.shape if by_points else 0), tables.new_empty(tables.shape if by_tables else 0)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - torch names it
    ctx.save_for_backward(*inputs[:2])
    ctx.grid = inputs[2:]


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    by_points, by_tables = ctx.needs_input_grad[:2]
    to_points, to_tables = _hashgrid_backward(*ctx.saved_tensors, gradient, *ctx.grid, by_points, by_tables)
    return to_points if by_points else None, to_tables if by_tables else None, *len(ctx.grid) * (None,)


_hashgrid.register_autograd(_differentiate, setup_context=_remember)
