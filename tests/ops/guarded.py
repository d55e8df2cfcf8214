# SPDX-License-Identifier: Apache-2.0
"""Draws and differentiates with every array ending at a page that may not be touched.

A program of its own, since a kernel that reads or writes past an array ends it. Its arguments are a library and whose
it is: `cuda`, the CUDA bodies on the CPU, or `cpu`, of which only what goes along rays is tried.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
from typing import Any

import numpy as np
import torch
from rays import rays_and_cells, samples_along
from scenes import cloud
from torch import Tensor

from avatar3d.ops import _native, _splat_cuda
from avatar3d.ops.composite import composite
from avatar3d.ops.march import Samples, march
from avatar3d.ops.posed import posed

CASES = ((300, 71, 53, 1), (40, 37, 21, 3), (1, 1, 1, 1), (257, 16, 17, 2), (0, 20, 9, 1), (2100, 17, 15, 1))
_libc = ctypes.CDLL(None, use_errno=True)
_alive: list[mmap.mmap] = []


def guarded(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An array full of NaN or -1 between two forbidden pages, hard against the second."""
    size = math.prod(shape) * dtype.itemsize
    if not size:
        return torch.zeros(shape, dtype=dtype)
    pages = -(-size // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 2) * mmap.PAGESIZE)
    _alive.append(memory)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (0, pages + 1):
        assert not _libc.mprotect(ctypes.c_void_p(base + page * mmap.PAGESIZE), mmap.PAGESIZE, 0)
    end = (pages + 1) * mmap.PAGESIZE
    flat = torch.from_numpy(np.frombuffer(memory, np.uint8))[end - size : end]
    return flat.fill_(255).view(dtype).view(shape)


def moved(tensor: Tensor) -> Tensor:
    return guarded(tuple(tensor.shape), tensor.dtype).copy_(tensor)


def new_empty(self: Tensor, *shape: Any, dtype: torch.dtype | None = None) -> Tensor:
    return guarded(tuple(shape[0]) if shape and not isinstance(shape[0], int) else shape, dtype or self.dtype)


def case(count: int, width: int, height: int, images: int) -> None:
    scene = cloud(count, width, height, spread=0.1 if count > 1000 else 1.0)
    shift = 0.01 * torch.arange(images).view(images, 1, 1)
    rows = [moved(tensor) for tensor in (scene.means + shift, *scene.tensors()[1:5])]
    inputs = [*rows, moved(scene.cam_from_world.repeat(images, 1, 1)), moved(scene.K.repeat(images, 1, 1))]
    for capacity in (_splat_cuda.ASK, 7):
        drawn = _splat_cuda.draw(*inputs, width, height, capacity, True)
        upstream = [moved(torch.randn(picture.shape)) for picture in drawn[:3]]
        found = _splat_cuda._backward(*inputs, width, height, *drawn[3:], *upstream, True)
        assert all(gradient.isfinite().all() for gradient in found), "a gradient was not written"
        assert all(p.isfinite().all() for p in drawn[:3]) != (len(drawn[6]) < int(drawn[4][-1]))
    motion = [torch.randn(shape) for shape in ((5, count, 9), (images, 5), (images, 7), (images, 7))]
    given = [moved(tensor) for tensor in (*scene.tensors()[:5], torch.randn(count), *motion)]
    pictures = posed(*given, *inputs[5:], width, height)
    assert all(picture.isfinite().all() for picture in pictures)


def along_rays(counts: list[int], width: int, stop: float) -> None:
    plain = samples_along(counts)
    samples = Samples(*(moved(getattr(plain, name)) for name in ("ray", "begins", "ends", "first")))
    given = [moved(torch.rand(shape)).requires_grad_() for shape in ((len(plain.ray),), (len(plain.ray), width))]
    summed = composite(*given, samples, stop, "native")
    upstream = [moved(torch.randn(sums.shape)) for sums in summed]
    found = (*summed, *torch.autograd.grad(summed, given, upstream))
    assert all(tensor.isfinite().all() for tensor in found), "a sum or gradient was not written"


def through_cells(count: int, cells: int) -> None:
    origins, directions, occupied = rays_and_cells(count, cells, 0.3)
    found = march(moved(origins), moved(directions), moved(occupied), 0.01, 20, moved(torch.rand(count)), "native")
    assert found.begins.isfinite().all() and (found.ray >= 0).all(), "a sample was not written"


def main() -> None:
    library, kind = _native._typed(ctypes.CDLL(sys.argv[1])), sys.argv[2]
    _native._loaded = lambda _kind: _native._Loaded(library, "shim", "")
    _native.body = lambda _device: kind
    torch.Tensor.new_empty = new_empty
    torch.empty_like = lambda tensor, dtype=None: guarded(tuple(tensor.shape), dtype or tensor.dtype)
    torch.manual_seed(0)
    for sizes in CASES if kind == "cuda" else ():
        case(*sizes)
    for width in (1, 3, 4, 7, 16):
        along_rays([0, 1, 70, 16, 3], width, 0.0)
        along_rays([40, 0, 5], width, 0.9)
    for count, cells in ((1, 1), (70, 9), (200, 16)):
        through_cells(count, cells)


if __name__ == "__main__":
    main()
