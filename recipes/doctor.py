# SPDX-License-Identifier: Apache-2.0
"""`avatar3d doctor`: what this machine offers, which path each operation takes, and why."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pkgutil
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import avatar3d.ops
from avatar3d import __version__, assets
from avatar3d.choose import names
from avatar3d.ops import _native
from avatar3d.recipes._text import sections
from avatar3d.threads import usable_cores

NEEDED = (
    "torch", "numpy", "av", "safetensors", "pillow", "scipy", "soundfile", "imageio", "rich", "tyro", "tensorboard",
)  # fmt: skip
ROOMS = ("audio", "motion", "avatar", "render")


@dataclass(frozen=True)
class Extra:
    """A package that the program runs without."""

    module: str
    package: str
    serves: str
    get: str


EXTRAS = (
    Extra("mediapipe", "mediapipe", "finding the face in a video (prepare, create, eval)", "pip install -e '.[prep]'"),
    Extra("viser", "viser", "the training window (view, train --watch)", "pip install -e '.[view]'"),
    Extra("websockets", "websockets", "both windows (view, view --live)", "pip install -e '.[view]'"),
    Extra("gsplat", "gsplat", "the renderer gsplat: another rasterizer, on CUDA", "pip install -e '.[gsplat]'"),
    Extra(
        "pocketsphinx",
        "pocketsphinx",
        "the audio feature phones, which the voice viseme hears",
        "pip install -e '.[phones]'",
    ),
    Extra(
        "nerfacc",
        "nerfacc",
        "the renderer nerfacc: radiance fields by another's kernels",
        "pip install -e '.[nerfacc]'",
    ),
    Extra(
        "tinycudann",
        "tinycudann",
        "the hash grid of tiny-cuda-nn, on CUDA (train --head radiance --grid tinycudann)",
        "it is built from its repository",
    ),
    Extra("pytorch3d", "pytorch3d", "comparing with another mesh renderer on CUDA", "it is built from its repository"),
)
_SILENT_MEDIAPIPE = ((0, 10, 30), (0, 10, 32))  # from the first, below the second: reports nothing to its maker


def doctor() -> dict[str, Any]:
    """Everything as JSON values; nothing is downloaded and no optional package is imported."""
    return {
        "program": __version__,
        "machine": machine(),
        "versions": {name: version(name) for name in NEEDED},
        "native": {
            "isa": _native.isa() or None,
            "available": _native.available(),
            "why_not": _native.why_not() or None,
            "threads": _native.threads(),
            "cuda": _native.why_not("cuda") or "usable here",
        },
        "paths": {op: path(op) for op in ops()},
        "optional": [optional(package) for package in EXTRAS],
        "assets": {name: assets.state(name) for name in assets.names()},
        "parts": {room: names(f"avatar3d.{room}") for room in ROOMS},
    }


def machine() -> dict[str, Any]:
    """Processor, memory and accelerator."""
    return {
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "processor": processor(),
        "cores": usable_cores(),
        "vector_isa": torch.backends.cpu.get_cpu_capability(),
        "memory_gb": memory_gb(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "compiler": shutil.which("g++") or shutil.which("c++"),
    }


def processor() -> str:
    """The processor's name as the system tells it."""
    told = Path("/proc/cpuinfo")
    if told.exists():
        for line in told.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_gb() -> float | None:
    """Memory of the machine, GB."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)


def ops() -> list[str]:
    """The operations that have a path to choose."""
    files = [module.name for module in pkgutil.iter_modules(avatar3d.ops.__path__)]
    return sorted(name for name in files if not name.startswith("_") and not name.endswith("_reference"))


def path(op: str) -> str:
    """What `path="auto"` means for an operation on the CPU of this machine."""
    if op == "posed":
        return "its parts, one after another (on CUDA they are one kernel)"
    if not any(function.startswith(f"avatar3d_{op}") for function in _native.SIGNATURES):
        return "torch (it has no kernel)"
    return f"native, {_native.isa()}" if _native.isa() else f"torch reference, slow: {_native.why_not()}"


def version(package: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def optional(package: Extra) -> dict[str, Any]:
    """Whether a package is there, and if not, what to do."""
    there = importlib.util.find_spec(package.module) is not None
    found = version(package.package) if there else None
    return {
        "name": package.package,
        "serves": package.serves,
        "version": found,
        "why_not": why_not(package, found) if there else f"not installed ({package.get})",
    }


def why_not(package: Extra, found: str | None) -> str | None:
    """What speaks against an installed package, if anything does."""
    if package.module == "mediapipe" and found is not None:
        first, end = _SILENT_MEDIAPIPE
        numbers = tuple(int(part) for part in found.split(".")[:3] if part.isdigit())
        if not first <= numbers < end:
            return "this version is not one of those that report nothing to their maker (0.10.30, 0.10.31)"
    return None


def report(figures: Mapping[str, Any]) -> str:
    """The figures of `doctor` as text."""
    machine_rows = [(key.replace("_", " "), value) for key, value in figures["machine"].items()]
    native = figures["native"]
    kernels = [("usable here", native["available"]), ("in use", native["isa"]), ("threads", native["threads"])]
    kernels.append(("CUDA", native["cuda"]))
    if native["why_not"]:
        kernels.append(("why not", native["why_not"]))
    extras = [(extra["name"], f"{_state(extra)}; serves {extra['serves']}") for extra in figures["optional"]]
    return sections(
        {
            f"avatar3d {figures['program']}": machine_rows,
            "packages": figures["versions"].items(),
            "native kernels": kernels,
            "paths": figures["paths"].items(),
            "optional": extras,
            "model files": [(name, state["where"]) for name, state in figures["assets"].items()],
            "parts": figures["parts"].items(),
        }
    )


def _state(extra: Mapping[str, Any]) -> str:
    return "; ".join(text for text in (extra["version"], extra["why_not"]) if text)
