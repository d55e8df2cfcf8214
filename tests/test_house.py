# SPDX-License-Identifier: Apache-2.0
"""Rules of the house that no linter knows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {".py", ".cpp", ".h", ".cu", ".js"}
LINE_LIMIT = 500


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\n") if name and (ROOT / name).is_file()]


def sources() -> list[Path]:
    return [path for path in tracked() if path.suffix in SOURCES]


def test_every_source_says_its_licence_in_its_first_lines() -> None:
    bare = [str(path.relative_to(ROOT)) for path in sources() if "SPDX-License-Identifier" not in _head(path)]
    assert not bare


def test_files_stay_small() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    assert not {name: lines for name, lines in long.items() if lines > LINE_LIMIT}


def test_no_path_of_a_machine_is_written_down() -> None:
    pattern = re.compile(r"/(home|root|Users|work|farm)/\w")
    found = [str(path.relative_to(ROOT)) for path in sources() if pattern.search(path.read_text())]
    assert not found


def test_kernels_know_nothing_of_torch_or_python() -> None:
    native = [path for path in sources() if path.is_relative_to(ROOT / "csrc")]
    assert native
    assert not [
        path.name for path in native if re.search(r"#include\s*<(torch|ATen|pybind11|Python)", path.read_text())
    ]


def _head(path: Path) -> str:
    return "\n".join(path.read_text().splitlines()[:3])
