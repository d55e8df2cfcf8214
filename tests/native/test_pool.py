# SPDX-License-Identifier: Apache-2.0
"""The thread pool under a crowd of callers; it runs by itself, since a fault of it ends the process."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from shim_build import HERE, ROOT

JOBS = 300_000


def test_a_crowd_of_short_jobs(tmp_path: Path) -> None:
    """A helper that wakes for a job may find its last chunk taken."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, ("g++", "clang++")), None)
    if not compiler:
        pytest.skip("needs a C++ compiler")
    program = tmp_path / "pool_crowd"
    sources = [str(HERE / "pool_crowd.cpp"), str(ROOT / "csrc" / "pool.cpp")]
    flags = ["-std=c++17", "-O2", "-pthread", "-Wall", "-Wextra", "-Werror", "-I", str(ROOT / "csrc")]
    built = subprocess.run(
        [*compiler.split(), *flags, "-o", str(program), *sources], capture_output=True, text=True, check=False
    )
    assert not built.returncode, built.stderr
    assert subprocess.run([str(program), str(JOBS)], check=False, timeout=60).returncode == 0
