# SPDX-License-Identifier: Apache-2.0
"""Every CUDA file compiles for the cards we name, without a warning. Needs nvcc, not a GPU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from shim_build import ROOT, cuda_sources

TARGETS = {"sm_80": "-cubin", "sm_90": "-cubin", "compute_90": "-ptx"}


@pytest.mark.parametrize("source", cuda_sources(), ids=lambda path: path.stem)
def test_compiles_without_a_warning(source: Path, tmp_path: Path) -> None:
    if not shutil.which("nvcc"):
        pytest.skip("needs nvcc; none is on the path")
    common = ["nvcc", "-std=c++17", "-O3", "-Werror", "all-warnings", '-DAVATAR3D_SOURCE_HASH="test"']
    for target, kind in TARGETS.items():
        out = tmp_path / f"{target}.out"
        command = [*common, "-I", str(ROOT / "csrc"), f"-arch={target}", kind, "-o", str(out), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert not done.returncode, done.stderr
        assert not done.stderr, done.stderr
        assert out.stat().st_size
