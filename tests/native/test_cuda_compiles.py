# SPDX-License-Identifier: Apache-2.0
"""Every CUDA file compiles for the cards we name, without a warning. Needs nvcc, not a GPU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from shim_build import ROOT, cuda_sources

# machine code for two cards, and the portable form that later ones translate; as in setup.py
TARGETS = ["-gencode=arch=compute_80,code=sm_80", "-gencode=arch=compute_90,code=[sm_90,compute_90]"]


@pytest.mark.parametrize("source", cuda_sources(), ids=lambda path: path.stem)
def test_compiles_without_a_warning(source: Path, tmp_path: Path) -> None:
    if not shutil.which("nvcc"):
        pytest.skip("needs nvcc; none is on the path")
    out = tmp_path / "kernels.fatbin"
    flags = ["-std=c++17", "-O3", "-Werror", "all-warnings", '-DAVATAR3D_SOURCE_HASH="test"', *TARGETS]
    command = ["nvcc", *flags, "-I", str(ROOT / "csrc"), "-fatbin", "-o", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert not done.returncode, done.stderr
    assert not done.stderr, done.stderr
    assert out.stat().st_size
