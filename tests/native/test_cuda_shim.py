# SPDX-License-Identifier: Apache-2.0
"""The stand-in for CUDA does what a GPU does, and finds what a GPU would leave undefined."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest
import torch
from shim_build import shim_library

THREADS = 256


@pytest.fixture(scope="module")
def library(pytestconfig: pytest.Config) -> ctypes.CDLL:
    assert pytestconfig.cache is not None
    loaded = ctypes.CDLL(str(shim_library(Path(pytestconfig.cache.mkdir("cuda_shim")), ("misuse.cu",))))
    loaded.avatar3d_cuda_error.restype = ctypes.c_char_p
    loaded.misuse.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
    return loaded


def run(library: ctypes.CDLL, which: int, shared_bytes: int) -> tuple[torch.Tensor, torch.Tensor, str]:
    given, out = torch.arange(THREADS, dtype=torch.float32), torch.zeros(THREADS)
    status = library.misuse(which, given.data_ptr(), out.data_ptr(), THREADS, shared_bytes)
    return given, out, library.avatar3d_cuda_error().decode() if status else ""


def test_threads_meet_at_a_barrier(library: ctypes.CDLL) -> None:
    given, out, fault = run(library, 0, 4 * THREADS)
    assert not fault
    assert torch.equal(out, given.flip(0))


def test_a_missing_barrier_gives_a_wrong_result(library: ctypes.CDLL) -> None:
    given, out, fault = run(library, 1, 4 * THREADS)
    assert not fault
    assert not torch.equal(out, given.flip(0))


def test_warp_and_block_collectives(library: ctypes.CDLL) -> None:
    given, out, fault = run(library, 7, 128)
    assert not fault
    for block in range(3):
        assert out[4 * block : 4 * block + 4].tolist() == [given.sum(), 0x5555, 86, 31 + 1600]


def test_a_half_is_the_number_that_torch_takes_it_for(library: ctypes.CDLL) -> None:
    every = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int16).view(torch.float16)
    out = torch.zeros(len(every))
    assert not library.misuse(8, every.data_ptr(), out.data_ptr(), THREADS, 0)
    assert torch.equal(out.isnan(), every.isnan())
    assert torch.equal(out.nan_to_num(), every.float().nan_to_num())
    assert torch.equal(out.signbit(), every.signbit())


@pytest.mark.parametrize(
    ("which", "shared_bytes", "fault"),
    [
        (2, 0, r"waits at the barrier misuse.cu:\d+ that not all threads reach"),
        (3, 0, r"is at the barrier misuse.cu:\d+, another at misuse.cu:\d+"),
        (4, 0, r"waits in a shuffle misuse.cu:\d+ for lanes that do not come"),
        (5, 0, r"is not in its own mask at misuse.cu:\d+"),
        (6, 4 * THREADS, "shared memory was written past its end"),
        (0, 50000, "50000 bytes of shared memory, a block has 49152"),
    ],
)
def test_misuse_is_a_fault(library: ctypes.CDLL, which: int, shared_bytes: int, fault: str) -> None:
    _, _, told = run(library, which, shared_bytes)
    assert re.search(fault, told)
