# SPDX-License-Identifier: Apache-2.0
"""Builds the CUDA sources as C++ for the CPU, on top of the stand-in for CUDA in tests/native."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent / "native"
# the kernels' own flags, but quick to compile
FLAGS = ["-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-math-errno", "-ffp-contract=fast"]
FLAGS += ["-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-DAVATAR3D_SHIM", '-DAVATAR3D_SOURCE_HASH="shim"']
FUSED = ["-mavx2", "-mfma"]


def cuda_sources() -> list[Path]:
    """Every CUDA file of the package."""
    return sorted((ROOT / "csrc").rglob("*.cu"))


def shim_library(cache: Path, extra: tuple[str, ...] = ()) -> Path:
    """The CUDA library for the CPU, built in `cache` unless it is there; `extra`: more sources of tests/native.

    Skips the calling test where there is no C++ compiler.
    """
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++")), None)
    if not compiler:
        pytest.skip("needs a C++ compiler to run the CUDA kernels on the CPU")
    sources = [*cuda_sources(), HERE / "cuda_shim.cpp", *(HERE / name for name in extra)]
    target = cache / f"libshim_{_hash(sources)}.so"
    if not target.is_file():
        fresh = target.with_suffix(f".{os.getpid()}")
        flags = FLAGS + (FUSED if "fma" in _features() else [])
        command = [*compiler.split(), *flags, "-I", str(ROOT / "csrc"), "-I", str(HERE), "-o", str(fresh)]
        done = subprocess.run(
            [*command, "-x", "c++", *map(str, sources)], capture_output=True, text=True, check=False, timeout=300
        )
        assert not done.returncode, done.stderr
        fresh.replace(target)
    return target


def _hash(sources: list[Path]) -> str:
    digest = hashlib.sha256(repr(FLAGS).encode())
    for path in sorted({*sources, *HERE.glob("*.h"), *(ROOT / "csrc").rglob("*.h")}):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _features() -> set[str]:
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8", errors="replace").splitlines() if told.is_file() else []
    return {word for line in lines if line.startswith("flags") for word in line.split()}
