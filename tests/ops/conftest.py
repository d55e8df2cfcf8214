# SPDX-License-Identifier: Apache-2.0
"""Kernel tests run once per instruction set of this processor; CUDA bodies on a stand-in, and on a GPU where one is."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from loading import forget
from shim_build import shim_library

from avatar3d.ops import _native


@pytest.fixture(params=_native.ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The kernels of one instruction set in use."""
    if request.param not in _native.available():
        pytest.skip(f"no {request.param} kernels here: {_native.why_not() or 'the processor lacks it'}")
    monkeypatch.setenv("AVATAR3D_ISA", request.param)
    forget()
    yield request.param
    monkeypatch.undo()
    forget()


@pytest.fixture
def kernels() -> None:
    """Skips where there are no kernels at all."""
    if _native.why_not():
        pytest.skip(f"no kernels here: {_native.why_not()}")


@pytest.fixture(scope="session")
def shim(pytestconfig: pytest.Config) -> ctypes.CDLL:
    """The CUDA library on the CPU."""
    assert pytestconfig.cache is not None
    return _native._typed(ctypes.CDLL(str(shim_library(Path(pytestconfig.cache.mkdir("cuda_shim"))))))


@pytest.fixture(params=["shim", pytest.param("cuda", marks=pytest.mark.gpu)])
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The device whose tensors go through the CUDA bodies: a real one, or the CPU with the stand-in for CUDA."""
    if request.param == "cuda":
        if _native.why_not("cuda"):
            pytest.skip(f"no CUDA kernels here: {_native.why_not('cuda')}")
        yield torch.device("cuda")
        return
    library = request.getfixturevalue("shim")
    library.avatar3d_shim_seed(1)
    monkeypatch.setattr(_native, "body", lambda _device: "cuda")
    monkeypatch.setattr(_native, "_loaded", lambda _kind: _native._Loaded(library, "shim", ""))
    _native._lacking.cache_clear()
    yield torch.device("cpu")
    monkeypatch.undo()
    _native._lacking.cache_clear()
