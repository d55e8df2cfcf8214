# SPDX-License-Identifier: Apache-2.0
"""Where rays are looked at: steps of one length through a unit cube, in its occupied cells only.

A ray's steps begin where it enters the cube, or at its origin within it. A step is kept whose middle lies in an
occupied cell. What is kept has no gradients.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar3d.ops import _native

__all__ = ["MOST_STEPS", "Samples", "march", "march_reference"]

MOST_STEPS = 1 << 24  # of a ray, kept or not: float32 counts no further
MOST_CELLS = 4096  # along an axis
_TOGETHER = 128  # steps of all rays that the reference looks at in one go


@dataclass(frozen=True)
class Samples:
    """Where rays are looked at; the rows of one ray lie one after another, front to back."""

    ray: Tensor  # [S] int64, which one
    begins: Tensor  # [S], along the ray, in lengths of its direction
    ends: Tensor  # [S]
    first: Tensor  # [N+1] int64: those of ray i are the rows first[i] .. first[i+1]


@torch.no_grad()
def march(
    origins: Tensor, directions: Tensor, occupied: Tensor, step: float, most: int, jitter: Tensor | None = None,
    path: str = "auto",
) -> Samples:  # fmt: skip
    """Steps of rays through the occupied cells of the cube 0..1; without gradients.

    A ray that misses the cube has none, nor has one with a number that is none, or without a direction.

    Args:
        origins: [N,3].
        directions: [N,3], of any length.
        occupied: [R,R,R] bool, by the cells' x, y, z.
        step: the length of a step, in lengths of the ray's direction.
        most: how many steps of a ray are kept; those behind them are not looked for.
        jitter: [N] 0..1, how much of a step lies between the entry and the first step; None: nothing.
        path: "native" (the kernel; float32), "reference" or "auto": native where there is one.

    Returns:
        Samples, on the rays' device.

    Raises:
        ValueError: a tensor of another shape or type, or a number out of range; names it.
        RuntimeError: path is "native" and there is no kernel; says why.
    """
    _check(origins, directions, occupied, jitter)
    if not 0 < step < float("inf") or most < 1:
        raise ValueError(f"march: step is {step} and most is {most}, expected a length above 0 and at least 1")
    if not _native.use_native("march", path, origins.device):
        return march_reference(origins, directions, occupied, step, most, jitter)
    named = {"origins": origins, "directions": directions} | ({} if jitter is None else {"jitter": jitter})
    given = _native.prepared("march", **{name: (tensor, tuple(tensor.shape)) for name, tensor in named.items()})
    cells = occupied.contiguous()
    pointers: list[int | None] = [tensor.data_ptr() for tensor in (*given, cells)]
    if jitter is None:
        pointers.insert(2, None)
    rays = _Rays(*pointers, len(origins), len(cells), min(most, MOST_STEPS), step)
    return (_march_cuda if _native.body(origins.device) == "cuda" else _march)(rays, given[0])


@torch.no_grad()
def march_reference(
    origins: Tensor, directions: Tensor, occupied: Tensor, step: float, most: int, jitter: Tensor | None = None
) -> Samples:
    """The twin of `march` in plain torch."""
    start, far = _way_through(origins, directions)
    start = start if jitter is None else start + jitter.clamp(0, 1) * step
    rays, steps = [torch.arange(0, device=origins.device)], [torch.arange(0, device=origins.device)]
    kept_so_far = torch.zeros_like(start, dtype=torch.int64)
    ahead = torch.arange(len(start), device=start.device)
    for first in range(0, MOST_STEPS, _TOGETHER):
        ahead = ahead[(start[ahead] + (first + 0.5) * step < far[ahead]) & (kept_so_far[ahead] < most)]
        if not len(ahead):
            break
        number = torch.arange(first, min(first + _TOGETHER, MOST_STEPS), device=start.device)
        middle = start[ahead, None] + (number.to(start) + 0.5) * step
        kept = _in_occupied(origins[ahead, None] + middle[..., None] * directions[ahead, None], occupied)
        kept &= middle < far[ahead, None]
        kept &= kept_so_far[ahead, None] + kept.cumsum(1) <= most
        kept_so_far[ahead] += kept.sum(1)
        row, column = kept.nonzero(as_tuple=True)
        rays.append(ahead[row])
        steps.append(number[column])
    ray, order = torch.cat(rays).sort(stable=True)
    number = torch.cat(steps)[order].to(start)
    begins, ends = start[ray] + number * step, start[ray] + (number + 1) * step
    return Samples(ray, begins, ends, torch.cat([kept_so_far.new_zeros(1), kept_so_far.cumsum(0)]))


def _way_through(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """How far along each ray [N] the cube begins and ends; no way at all where it is missed."""
    one, other = -origins / directions, (1 - origins) / directions
    near, far = torch.minimum(one, other), torch.maximum(one, other)
    still, inside = directions == 0, (origins >= 0) & (origins <= 1)
    near = torch.where(still, torch.where(inside, -torch.inf, torch.inf), near).amax(1).clamp_min(0)
    far = torch.where(still, torch.where(inside, torch.inf, -torch.inf), far).amin(1)
    hit = (near < far) & far.isfinite() & directions.isfinite().all(1)
    return torch.where(hit, near, 0), torch.where(hit, far, -1)


def _in_occupied(points: Tensor, occupied: Tensor) -> Tensor:
    cell = (points * len(occupied)).clamp(0, len(occupied) - 1).long()
    return occupied[cell[..., 0], cell[..., 1], cell[..., 2]]


def _check(origins: Tensor, directions: Tensor, occupied: Tensor, jitter: Tensor | None) -> None:
    if origins.ndim != 2 or origins.shape[1] != 3 or directions.shape != origins.shape:
        shapes = f"{tuple(origins.shape)} and {tuple(directions.shape)}"
        raise ValueError(f"march: origins and directions have shapes {shapes}, expected (N, 3) both")
    if occupied.ndim != 3 or occupied.dtype != torch.bool or len(set(occupied.shape)) != 1 or not len(occupied):
        found = f"{occupied.dtype} of shape {tuple(occupied.shape)}"
        raise ValueError(f"march: occupied is {found}, expected torch.bool (R, R, R)")
    if occupied.device != origins.device or len(occupied) > MOST_CELLS:
        found = f"has {len(occupied)} cells along an axis on {occupied.device}"
        raise ValueError(f"march: occupied {found}, expected at most {MOST_CELLS} on {origins.device}")
    if jitter is not None and jitter.shape != origins.shape[:1]:
        raise ValueError(f"march: jitter has shape {tuple(jitter.shape)}, expected {tuple(origins.shape[:1])}")


class _Rays(ctypes.Structure):
    """A3dRays of csrc/march/march.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("origins", "directions", "jitter", "occupied")),
        ("count", ctypes.c_int64),
        ("cells", ctypes.c_int32),
        ("most", ctypes.c_int32),
        ("step", ctypes.c_float),
    ]


class _Steps(ctypes.Structure):
    """A3dSteps of csrc/march/march_cpu.cpp."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("ray", "begins", "ends")]


def _room(origins: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ray, begins and ends of so many samples."""
    ray = origins.new_empty(count, dtype=torch.int64)
    return ray, origins.new_empty(count), origins.new_empty(count)


def _march(rays: _Rays, origins: Tensor) -> Samples:
    first = origins.new_empty(rays.count + 1, dtype=torch.int64)
    room, steps = _room(origins, 0), _Steps()

    def allocate(count: int) -> int | None:
        nonlocal room, steps
        try:
            room = _room(origins, count)
        except (MemoryError, RuntimeError):
            return None
        steps = _Steps(*(tensor.data_ptr() for tensor in room))
        return ctypes.addressof(steps)

    found = _native.library().avatar3d_march(ctypes.byref(rays), first.data_ptr(), _native.Allocate(allocate))
    _native.checked(found, "march")
    return Samples(*room, first)


def _march_cuda(rays: _Rays, origins: Tensor) -> Samples:
    """Waits once for the device, to learn how many samples there are."""
    words = _native.library("cuda").avatar3d_cuda_march_scratch(rays.cells)
    tree = origins.new_empty(words, dtype=torch.int64)
    first = origins.new_empty(rays.count + 1, dtype=torch.int64)
    first[:1] = 0
    given = ctypes.byref(rays), tree.data_ptr()
    _native.launch("avatar3d_cuda_march_count", "march", origins.device, *given, first[1:].data_ptr())
    first = first.cumsum(0)
    room = _room(origins, int(first[-1]))
    pointers = (first.data_ptr(), *(tensor.data_ptr() for tensor in room))
    _native.launch("avatar3d_cuda_march_write", "march", origins.device, *given, *pointers)
    return Samples(*room, first)
