# SPDX-License-Identifier: Apache-2.0
"""Multiresolution hash encoding (Mueller et al. 2022, Instant NGP): points of a cube or of several planes to features.

Points come and features go point-first, [N,...], as torch's linear layers want them. Which vertex lies in which row of
the table is our own choice (csrc/hashgrid/hashgrid.h says which): tables of other programs cannot be loaded.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import exp, log
from typing import Any

import torch
from torch import Tensor

from avatar3d.ops import _native

__all__ = ["TRIPLANE", "VOLUME", "HashGrid", "growing", "hashgrid", "hashgrid_reference"]

VOLUME = ((0, 1, 2),)
TRIPLANE = ((0, 1), (1, 2), (0, 2))
MOST_LEVELS = 96
_BOUNDARY = 16  # bytes, on which tables begin that CUDA reads; torch's own allocations do
# as level_of in csrc/hashgrid/hashgrid.h
STRIDES = {2: (0x9E3779B9,), 3: (0xC13FA9A9, 0x91E10DA5)}


@dataclass(frozen=True)
class HashGrid:
    """The shape of an encoding. Its table is [rows,features]; U(-1e-4, 1e-4) is a good start."""

    resolutions: tuple[int, ...]  # cells along an axis, level by level; see `growing`
    features: int = 2  # of a vertex: 1, 2, 4 or 8
    log2_rows: int = 19  # levels with more than 2^this vertices are hashed
    axes: tuple[tuple[int, ...], ...] = VOLUME  # the columns of the points that span each plane (2) or volume (3)

    def __post_init__(self) -> None:
        if self.features not in (1, 2, 4, 8):
            raise ValueError(f"HashGrid: features is {self.features}, expected 1, 2, 4 or 8")
        if not 1 <= self.log2_rows <= 24:
            raise ValueError(f"HashGrid: log2_rows is {self.log2_rows}, expected 1..24")
        if not self.resolutions or not all(1 <= cells <= 1 << 16 for cells in self.resolutions):
            raise ValueError(f"HashGrid: resolutions are {self.resolutions}, expected numbers in 1..65536")
        sizes = {len(plane) for plane in self.axes}
        if sizes not in ({2}, {3}) or min(min(plane) for plane in self.axes) < 0:
            raise ValueError(f"HashGrid: axes are {self.axes}, expected planes of two columns or volumes of three")
        if len(self.resolutions) * len(self.axes) > MOST_LEVELS:
            raise ValueError(f"HashGrid: {len(self.resolutions)} levels on {len(self.axes)} planes, over {MOST_LEVELS}")

    @property
    def rows(self) -> int:
        """Of the table."""
        return len(self.axes) * sum(_rows(self, cells) for cells in self.resolutions)

    @property
    def width(self) -> int:
        """How many numbers a point is encoded in: by plane, then level, then feature."""
        return len(self.axes) * len(self.resolutions) * self.features


def growing(levels: int, coarsest: int, finest: int) -> tuple[int, ...]:
    """Resolutions in geometric growth from `coarsest` to `finest`, rounded down (Instant NGP, equations 2 and 3)."""
    step = (log(finest) - log(coarsest)) / max(levels - 1, 1)
    return tuple(int(coarsest * exp(level * step) + 1e-6) for level in range(levels))


def hashgrid(points: Tensor, tables: Tensor, grid: HashGrid, path: str = "auto", half: bool = False) -> Tensor:
    """Features of points, read from each level by linear interpolation; differentiable once, in points and tables.

    Beyond 0..1 a point has the features of the nearest point of the border, and no gradient along that axis. On CUDA
    the last bits of the tables' gradient change from run to run; on the CPU they never do.

    Args:
        points: [N,C], the cube is 0..1; C covers every column that `grid.axes` names.
        tables: [grid.rows,grid.features].
        grid: the encoding's shape.
        path: "native" (the kernel; float32; CPU, CUDA), "reference" or "auto": native where there is one.
        half: read the tables rounded to half precision, of numbers up to 65504. On CUDA that is half the reading; the
            result is the same everywhere. All else stays float32, the tables' gradient too, which goes past the
            rounding to the tables as they are given: so small gradients are not lost, and no loss has to be scaled.

    Returns:
        [N,grid.width].

    Raises:
        ValueError: a tensor of another shape or type; names it.
        RuntimeError: path is "native" and there is no kernel; says why.
    """
    needed = 1 + max(max(plane) for plane in grid.axes)
    if points.ndim != 2 or points.shape[1] < needed:
        raise ValueError(f"hashgrid: points have shape {tuple(points.shape)}, expected (N, {needed}) or more columns")
    if tuple(tables.shape) != (grid.rows, grid.features):
        raise ValueError(f"hashgrid: tables have shape {tuple(tables.shape)}, expected {(grid.rows, grid.features)}")
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
        for cells in grid.resolutions:
            rows = _rows(grid, cells)
            encoded.append(_interpolated(held * cells, tables[first : first + rows], grid, cells))
            first += rows
    return torch.cat(encoded, 1)


def _interpolated(at: Tensor, table: Tensor, grid: HashGrid, cells: int) -> Tensor:
    # the last vertex belongs to the last cell, and what is no number to the first
    cell = at.detach().nan_to_num().floor().clamp(max=cells - 1)
    fraction, cell = at - cell, cell.long()
    total = torch.zeros_like(at[:, :1])
    for corner in product((0, 1), repeat=at.shape[1]):
        chosen = torch.tensor(corner, device=at.device)
        weight = torch.where(chosen == 1, fraction, 1 - fraction).prod(1, keepdim=True)
        total = total + weight * table[_row(cell + chosen, grid, cells)]
    return total


def _is_dense(grid: HashGrid, cells: int) -> bool:
    return (cells + 1) ** len(grid.axes[0]) <= 1 << grid.log2_rows


def _rows(grid: HashGrid, cells: int) -> int:
    """Of one level. A hashed one has `cells` more, since a line of vertices may start in the last of its 2^k rows."""
    return (cells + 1) ** len(grid.axes[0]) if _is_dense(grid, cells) else (1 << grid.log2_rows) + cells


def _row(vertex: Tensor, grid: HashGrid, cells: int) -> Tensor:
    """Where vertices [N,D] lie in their level's table: lines along x in a row, starting where they are hashed to."""
    across = vertex[:, 1:].unbind(1)
    if _is_dense(grid, cells):
        return vertex[:, 0] + sum(at * (cells + 1) ** k for k, at in enumerate(across, 1))
    start = sum(at * stride for at, stride in zip(across, STRIDES[vertex.shape[1]], strict=True)) & 0xFFFFFFFF
    return vertex[:, 0] + (start >> (32 - grid.log2_rows))


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
        ("resolutions", ctypes.POINTER(ctypes.c_int32)),
        ("axes", ctypes.POINTER(ctypes.c_int32)),
        *((name, ctypes.c_int32) for name in ("planes", "dims", "levels", "features", "log2_rows", "columns", "half")),
    ]


_Flat = tuple[list[int], list[int], int, int]


@lru_cache(maxsize=64)
def _flat(grid: HashGrid) -> _Flat:
    """A grid as an op of torch takes it: resolutions, axes one after another, how many axes a plane has, log2_rows."""
    axes = [axis for plane in grid.axes for axis in plane]
    return list(grid.resolutions), axes, len(grid.axes[0]), grid.log2_rows


def _struct(
    resolutions: Sequence[int], axes: Sequence[int], dims: int, log2_rows: int, features: int, columns: int, half: bool
) -> _Grid:
    in_c = (ctypes.c_int32 * len(resolutions))(*resolutions), (ctypes.c_int32 * len(axes))(*axes)
    return _Grid(*in_c, len(axes) // dims, dims, len(resolutions), features, log2_rows, columns, half)


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
    points: Tensor, tables: Tensor, resolutions: Sequence[int], axes: Sequence[int], dims: int, log2_rows: int,
    half: bool,
) -> Tensor:  # fmt: skip
    at, table = _native.prepared("hashgrid", points=(points, tuple(points.shape)), tables=(tables, tuple(tables.shape)))
    table = _as_read(table, half)
    grid = _struct(resolutions, axes, dims, log2_rows, tables.shape[1], points.shape[1], half)
    out = points.new_empty(len(points), len(axes) // dims * len(resolutions) * tables.shape[1])
    pointers = [tensor.data_ptr() for tensor in (at, table)]
    _call("forward", points.device, ctypes.byref(grid), *pointers, len(points), out.data_ptr())
    return out


@_hashgrid.register_fake
def _(
    points: Tensor, tables: Tensor, resolutions: Sequence[int], axes: Sequence[int], dims: int, *_others: Any
) -> Tensor:
    return points.new_empty(points.shape[0], len(axes) // dims * len(resolutions) * tables.shape[1])


@torch.library.custom_op("avatar3d::hashgrid_backward", mutates_args=())
def _hashgrid_backward(
    points: Tensor, tables: Tensor, gradient: Tensor, resolutions: Sequence[int], axes: Sequence[int],
    dims: int, log2_rows: int, half: bool, by_points: bool, by_tables: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients by points and tables; empty where they are not wanted."""
    shapes = {"points": points, "tables": tables, "gradient": gradient}
    given = _native.prepared("hashgrid", **{name: (tensor, tuple(tensor.shape)) for name, tensor in shapes.items()})
    given[1] = _as_read(given[1], half)
    grid = _struct(resolutions, axes, dims, log2_rows, tables.shape[1], points.shape[1], half)
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
