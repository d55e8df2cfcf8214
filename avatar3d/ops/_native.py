# SPDX-License-Identifier: Apache-2.0
"""The compiled kernels: found, checked and loaded on first use, or the reason why not.

Three libraries for the CPU are built from one source (portable, avx2, avx512); the best one this processor can run is
taken, or the one that AVATAR3D_ISA names. A fourth serves CUDA tensors. Importing this module needs neither a compiler
nor the libraries.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
from ctypes import POINTER, c_char_p, c_float, c_int, c_int32, c_int64, c_uint32, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avatar3d.threads import usable_cores

ABI = 3  # as AVATAR3D_ABI in csrc/common.h
ISAS = ("avx512", "avx2", "portable")  # best first
FAULTS = {
    1: "out of memory",
    2: "more Gaussians or tile hits than 2^31",
    4: "samples.first does not rise from 0 to the number of samples",
}
DEVICE_FAULT = 3

_log = logging.getLogger(__name__)
_FOLDER = Path(__file__).parent.parent
_REBUILD = "install the package again (pip install -e .) where there is a C++ compiler"
_REBUILD_CUDA = "install the package again where there are nvcc and an NVIDIA device, or with AVATAR3D_CUDA=1"

Allocate = ctypes.CFUNCTYPE(c_void_p, c_int64)


class Scene(ctypes.Structure):
    """A3dScene of csrc/splat/frame.h."""

    _fields_ = [
        *((name, c_void_p) for name in ("means", "quats", "scales", "opacities", "colours", "cam_from_world", "K")),
        ("count", c_int64),
        ("width", c_int32),
        ("height", c_int32),
    ]


class Kept(ctypes.Structure):
    """A3dKept of csrc/splat/splat_cpu.cpp."""

    _fields_ = [(name, c_void_p) for name in ("records", "tile_start", "pixels", "hits")]


class Gradients(ctypes.Structure):
    """A3dGradients of csrc/splat/splat_cpu.cpp."""

    _fields_ = [(name, c_void_p) for name in ("means", "quats", "scales", "opacities", "colours", "pose")]


class Posed(ctypes.Structure):
    """A3dPosed of csrc/filmed/filmed_cpu.cpp."""

    _fields_ = [("tables", c_void_p), ("skin", c_void_p), ("terms", c_int64), ("moving", c_int64)]


class CudaScene(ctypes.Structure):
    """A3dCudaScene of csrc/splat/bin_cuda.h."""

    _fields_ = [
        *((name, c_void_p) for name in ("means", "quats", "scales", "opacities", "colours", "cam_from_world", "K")),
        ("count", c_int64),
        *((name, c_int32) for name in ("images", "width", "height")),
        ("own", c_uint32),
    ]


class CudaPosing(ctypes.Structure):
    """A3dCudaPosing of csrc/posed/posed_cuda.cu."""

    _fields_ = [
        *((name, c_void_p) for name in ("tables", "codes", "skin_logits", "world_from_head", "world_from_body")),
        ("terms", c_int32),
    ]


# name: (result, arguments); one row per function of the C ABI
SIGNATURES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "avatar3d_abi": (c_int, ()),
    "avatar3d_source_hash": (c_char_p, ()),
    "avatar3d_best_isa": (c_int, ()),
    "avatar3d_threads": (c_int, ()),
    "avatar3d_set_threads": (None, (c_int,)),
    "avatar3d_splat_forward": (c_int, (POINTER(Scene), POINTER(Kept), Allocate, c_void_p, c_void_p, c_void_p)),
    "avatar3d_splat_backward": (c_int, (POINTER(Scene), POINTER(Kept), *3 * (c_void_p,), POINTER(Gradients))),
    "avatar3d_blend_forward": (c_int, (c_void_p, c_void_p, c_int64, c_int64, c_void_p)),
    "avatar3d_blend_codes_gradient": (c_int, (c_void_p, c_void_p, c_int64, c_int64, c_void_p)),
    "avatar3d_adam_low_rank_step": (c_int, (*5 * (c_void_p,), *3 * (c_int64,), *5 * (c_float,))),
    "avatar3d_rig_forward": (c_int, (*7 * (c_void_p,), c_int64, *3 * (c_void_p,))),
    "avatar3d_rig_backward": (c_int, (*10 * (c_void_p,), c_int64, *7 * (c_void_p,))),
    "avatar3d_image_loss": (c_int, (*3 * (c_void_p,), c_int, c_int, c_float, c_void_p, c_void_p)),
    "avatar3d_mask_loss": (c_int, (c_void_p, c_void_p, c_int64, c_float, c_void_p, c_void_p)),
    "avatar3d_picture_loss": (c_int, (*5 * (c_void_p,), c_int, c_int, c_float, *4 * (c_void_p,))),
    "avatar3d_splat_weights": (c_int, (POINTER(Scene), POINTER(Kept), c_void_p, c_void_p, c_void_p)),
    "avatar3d_filmed": (c_int, (POINTER(Scene), c_void_p, POINTER(Posed), c_void_p, c_void_p)),
    "avatar3d_hashgrid_forward": (c_int, (*3 * (c_void_p,), c_int64, c_void_p)),
    "avatar3d_hashgrid_backward": (c_int, (*4 * (c_void_p,), c_int64, *2 * (c_void_p,))),
    "avatar3d_cuda_hashgrid_forward": (c_int, (*3 * (c_void_p,), c_int64, *2 * (c_void_p,))),
    "avatar3d_cuda_hashgrid_backward": (c_int, (*4 * (c_void_p,), c_int64, *3 * (c_void_p,))),
    "avatar3d_mlp_forward": (c_int, (*3 * (c_void_p,), c_int64, c_void_p)),
    "avatar3d_mlp_backward": (c_int, (*4 * (c_void_p,), c_int64, *2 * (c_void_p,))),
    "avatar3d_cuda_mlp_forward": (c_int, (*3 * (c_void_p,), c_int64, *2 * (c_void_p,))),
    "avatar3d_cuda_mlp_scratch": (c_int64, (c_void_p, c_int64)),
    "avatar3d_cuda_mlp_backward": (c_int, (*4 * (c_void_p,), c_int64, *4 * (c_void_p,))),
    "avatar3d_composite_forward": (c_int, (*3 * (c_void_p,), c_int32, c_float, *3 * (c_void_p,))),
    "avatar3d_composite_backward": (c_int, (*3 * (c_void_p,), c_int32, c_float, *5 * (c_void_p,))),
    "avatar3d_cuda_composite_forward": (c_int, (*3 * (c_void_p,), c_int32, c_float, *4 * (c_void_p,))),
    "avatar3d_cuda_composite_backward": (c_int, (*3 * (c_void_p,), c_int32, c_float, *6 * (c_void_p,))),
    "avatar3d_march": (c_int, (*2 * (c_void_p,), Allocate)),
    "avatar3d_cuda_march_scratch": (c_int64, (c_int32,)),
    "avatar3d_cuda_march_count": (c_int, 4 * (c_void_p,)),
    "avatar3d_cuda_march_write": (c_int, 7 * (c_void_p,)),
    "avatar3d_cuda_error": (c_char_p, ()),
    "avatar3d_cuda_blend_forward": (c_int, (*2 * (c_void_p,), *3 * (c_int64,), *2 * (c_void_p,))),
    "avatar3d_cuda_blend_scratch": (c_int64, 3 * (c_int64,)),
    "avatar3d_cuda_blend_codes_gradient": (c_int, (*2 * (c_void_p,), *3 * (c_int64,), *3 * (c_void_p,))),
    "avatar3d_cuda_adam_low_rank_step": (c_int, (*5 * (c_void_p,), *3 * (c_int64,), *5 * (c_float,), c_void_p)),
    "avatar3d_cuda_rig_forward": (c_int, (*7 * (c_void_p,), *2 * (c_int64,), *4 * (c_void_p,))),
    "avatar3d_cuda_rig_scratch": (c_int64, 2 * (c_int64,)),
    "avatar3d_cuda_rig_backward": (c_int, (*10 * (c_void_p,), *2 * (c_int64,), *9 * (c_void_p,))),
    "avatar3d_cuda_image_loss_scratch": (c_int64, 4 * (c_int,)),
    "avatar3d_cuda_image_loss": (c_int, (*3 * (c_void_p,), *3 * (c_int,), c_float, *4 * (c_void_p,))),
    "avatar3d_cuda_splat_project": (c_int, (POINTER(CudaScene), *6 * (c_void_p,))),
    "avatar3d_cuda_splat_list": (c_int, (POINTER(CudaScene), *5 * (c_void_p,), c_int64, c_void_p)),
    "avatar3d_cuda_splat_draw": (c_int, (POINTER(CudaScene), *3 * (c_void_p,), c_int64, *6 * (c_void_p,))),
    "avatar3d_cuda_splat_moments": (c_int, (POINTER(CudaScene), *10 * (c_void_p,))),
    "avatar3d_cuda_posed_project": (c_int, (POINTER(CudaScene), POINTER(CudaPosing), *6 * (c_void_p,))),
    "avatar3d_cuda_splat_gradients": (c_int, (POINTER(CudaScene), c_void_p, POINTER(Gradients), c_void_p)),
}


@dataclass(frozen=True)
class _Loaded:
    library: ctypes.CDLL | None
    isa: str
    reason: str  # why there is no library


def available() -> list[str]:
    """The instruction sets whose kernels are built and run here, best first; empty where there are none."""
    portable = _open("portable")
    if isinstance(portable, str):
        return []
    able = ISAS[2 - portable.avatar3d_best_isa() :]
    return [isa for isa in able if not isinstance(_open(isa), str)]


def body(device: torch.device) -> str:
    """Which library serves tensors of a device: "cpu" or "cuda"; empty where none does."""
    return device.type if device.type in ("cpu", "cuda") else ""


def why_not(kind: str = "cpu") -> str:
    """Why the kernels for a kind of device ("cpu", "cuda") cannot be used; empty where they can."""
    return _loaded(kind).reason


def isa() -> str:
    """The instruction set in use; empty where there are no kernels."""
    return _load().isa


def threads() -> int:
    """How many threads the kernels use; 1 where there are no kernels."""
    loaded = _load().library
    return int(loaded.avatar3d_threads()) if loaded else 1


def set_threads(count: int) -> None:
    """Let the kernels use `count` threads (the default: as many as this process may run on)."""
    loaded = _load().library
    if loaded:
        loaded.avatar3d_set_threads(count)


def library(kind: str = "cpu") -> ctypes.CDLL:
    """The loaded kernels for a kind of device: "cpu" or "cuda".

    Raises:
        RuntimeError: there are none; says why.
    """
    loaded = _loaded(kind)
    if not loaded.library:
        raise RuntimeError(f"no native kernels: {loaded.reason}")
    return loaded.library


def use_native(op: str, path: str, device: torch.device) -> bool:
    """Whether `op` should run its kernel: `path` is "auto", "native" or "reference".

    Raises:
        ValueError: no such path.
        RuntimeError: path is "native" and there is no kernel for this device.
    """
    if path not in ("auto", "native", "reference"):
        raise ValueError(f"path of {op}: expected 'auto', 'native' or 'reference', got {path!r}")
    if path == "reference":
        return False
    kind = body(device)
    if not kind or not _functions(op, kind):
        if path == "native":
            raise RuntimeError(f"{op} has no native kernel for {device.type} tensors; use path='reference'")
        return False
    reason = why_not(kind) or _lacking(op, kind)
    if reason and path == "native":
        raise RuntimeError(f"{op} has no native kernel here: {reason}")
    if reason:
        _warn_once(reason)
    return not reason


def checked(status: int, op: str) -> None:
    """Raises what a kernel reports: MemoryError, ValueError, or RuntimeError with CUDA's words."""
    if status == 1:
        raise MemoryError(f"{op}: {FAULTS[1]}")
    if status == DEVICE_FAULT:
        raise RuntimeError(f"{op}: CUDA reports: {library('cuda').avatar3d_cuda_error().decode()}")
    if status:
        raise ValueError(f"{op}: {FAULTS[status]}")


def launch(function: str, op: str, device: torch.device, *arguments: Any) -> None:
    """Calls a function of the CUDA library on the device's current stream, which it takes as its last argument.

    Raises:
        RuntimeError, ValueError, MemoryError: what it reports, for `op`.
    """
    call = getattr(library("cuda"), function)
    if device.type != "cuda":
        status = call(*arguments, None)
    else:
        with torch.cuda.device(device):
            status = call(*arguments, torch.cuda.current_stream(device).cuda_stream)
    checked(status, op)


def address(tensor: Tensor | None) -> int | None:
    """Where a contiguous tensor lies; None for None."""
    return None if tensor is None else tensor.data_ptr()


def prepared(op: str, **tensors: tuple[Tensor, tuple[int, ...]]) -> list[Tensor]:
    """Contiguous float32 tensors of the given shapes, all on the device of the first.

    Raises:
        ValueError: a tensor has another type, device or shape; names it.
    """
    first, (tensor, _) = next(iter(tensors.items()))
    where = f"{first} on {tensor.device}"
    return [
        _prepared(f"{op}: {name}", tensor, shape, tensors[first][0].device, where)
        for name, (tensor, shape) in tensors.items()
    ]


def _prepared(name: str, tensor: Tensor, shape: tuple[int, ...], device: torch.device, where: str) -> Tensor:
    if tensor.dtype != torch.float32:
        raise ValueError(f"{name} is {tensor.dtype}, the kernel takes torch.float32 (path='reference' takes any float)")
    if tensor.device != device:
        raise ValueError(f"{name} is on {tensor.device}, {where}; all must be on one device")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}")
    return tensor.contiguous()


def _functions(op: str, kind: str) -> list[str]:
    start = f"avatar3d_{op}" if kind == "cpu" else f"avatar3d_{kind}_{op}"
    return [name for name in SIGNATURES if name.startswith(start)]


@lru_cache
def _lacking(op: str, kind: str) -> str:
    """Why the loaded library cannot run `op`: it is older than the row in SIGNATURES."""
    missing = [name for name in _functions(op, kind) if getattr(library(kind), name, None) is None]
    return f"the library lacks {', '.join(missing)}; {_REBUILD}" if missing else ""


@lru_cache
def _warn_once(reason: str) -> None:
    _log.warning("no native kernel, the much slower torch reference is used: %s", reason)


def _loaded(kind: str) -> _Loaded:
    return _load_cuda() if kind == "cuda" else _load()


@lru_cache(maxsize=1)
def _load_cuda() -> _Loaded:
    if not torch.cuda.is_available():
        return _Loaded(None, "", "torch sees no CUDA device")
    opened = _open("cuda")
    return _Loaded(None, "", opened) if isinstance(opened, str) else _Loaded(opened, "cuda", "")


@lru_cache(maxsize=1)
def _load() -> _Loaded:
    wanted = os.environ.get("AVATAR3D_ISA", "")
    if wanted and wanted not in ISAS:
        return _Loaded(None, "", f"AVATAR3D_ISA={wanted} is none of {', '.join(ISAS)}")
    portable = _open("portable")
    if isinstance(portable, str):
        return _Loaded(None, "", portable)
    here = available()
    chosen = wanted or here[0]
    if chosen not in here:
        opened = _open(chosen)
        reason = opened if isinstance(opened, str) else "this processor lacks it"
        return _Loaded(None, "", f"AVATAR3D_ISA={chosen}: {reason}")
    library = _open(chosen)
    assert not isinstance(library, str)
    library.avatar3d_set_threads(usable_cores())
    return _Loaded(library, chosen, "")


@lru_cache(maxsize=len(ISAS) + 1)
def _open(isa: str) -> ctypes.CDLL | str:
    """One library, checked; or why it cannot be used."""
    path = _FOLDER / "_lib" / f"libavatar3d_{isa}.so"
    rebuild = _REBUILD_CUDA if isa == "cuda" else _REBUILD
    if not path.is_file():
        return f"{path.name} was not built; {rebuild}"
    try:
        library = ctypes.CDLL(str(path))
        # the two functions that never change say whether the rest can be trusted
        library.avatar3d_source_hash.restype = c_char_p
        if library.avatar3d_abi() != ABI:
            return f"{path.name} has interface {library.avatar3d_abi()}, this package {ABI}; {rebuild}"
        built_from = library.avatar3d_source_hash().decode()
    except (OSError, AttributeError) as error:
        return f"{path.name} cannot be loaded ({error}); {rebuild}"
    if built_from != (_source_hash() or built_from):
        _log.warning("%s was built from other sources than those in csrc; %s", path.name, rebuild)
    return _typed(library)


def _typed(library: ctypes.CDLL) -> ctypes.CDLL:
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name, None)
        if function is not None:
            function.restype, function.argtypes = result, arguments
    return library


@lru_cache(maxsize=1)
def _source_hash() -> str:
    """As setup.py names the state of csrc; empty where the sources are not here (installed from a wheel)."""
    root = _FOLDER.parent
    if not (root / "setup.py").is_file():
        return ""
    digest = hashlib.sha256()
    for path in sorted((root / "csrc").rglob("*")):
        if path.suffix in {".h", ".cpp", ".cu"}:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
