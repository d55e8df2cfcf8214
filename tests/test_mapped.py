# SPDX-License-Identifier: Apache-2.0
"""Mapped files are gone through without filling memory, and nothing that was written is lost."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from avatar3d.store import frames_writer, let_go, streamed


def mapped_kib() -> int:
    """What this process holds of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what memory a process holds")
def test_a_long_file_is_read_and_written_in_little_memory(tmp_path: Path) -> None:
    path, shape = tmp_path / "frames.npy", (400, 256, 256, 3)  # 79 MB
    before = mapped_kib()
    with frames_writer(path, shape) as array:
        for row in range(len(array)):
            array[row] = row % 251
            if row % 64 == 0:
                let_go(array)
    most, total = 0, 0
    for frame in streamed(np.load(path, mmap_mode="r")):
        total += int(frame[5, 5, 1])
        most = max(most, mapped_kib())
    assert total == sum(row % 251 for row in range(shape[0]))
    assert most - before < 30_000


def test_what_was_written_outlives_its_pages(tmp_path: Path) -> None:
    path = tmp_path / "numbers.npy"
    with frames_writer(path, (100, 64, 64)) as array:
        array[:] = 7
        let_go(array[10:20])  # a part of a map is the map
        assert (array == 7).all()
    assert (np.load(path) == 7).all()


def test_a_private_copy_keeps_its_changes(tmp_path: Path) -> None:
    np.save(tmp_path / "zeros.npy", np.zeros(10_000))
    copy = np.load(tmp_path / "zeros.npy", mmap_mode="c")
    copy[:] = 3
    for part in (copy, copy[5:], np.asarray(copy)):
        let_go(part)
    assert (copy == 3).all()


def test_arrays_in_memory_are_left_alone() -> None:
    array = np.arange(10)
    let_go(array)
    assert [int(value) for value in streamed(array)] == list(range(10))
