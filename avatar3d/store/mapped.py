# SPDX-License-Identifier: Apache-2.0
"""Reading and filling mapped files that are larger than memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np

EVERY = 64  # frames between two times that pages are let go: 50 MB of 512x512 pictures


def let_go(array: np.ndarray) -> None:
    """Takes the pages of a mapped file out of this process's memory; they are read again where they are needed.

    What was written stays: the system keeps it until it is on the disk. Call it every some frames (`EVERY`) wherever
    all of a long capture is gone through; pages that were touched count as this process's memory until then. Arrays
    that are not mapped, and private copies of mapped files, are left alone.
    """
    held: object = array
    while isinstance(held, np.ndarray):
        if isinstance(held, np.memmap) and held.mode == "c":
            return
        held = held.base
    if isinstance(held, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        held.madvise(mmap.MADV_DONTNEED)


def streamed(array: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of an array one after the other, in constant memory also where it is mapped."""
    for row in range(len(array)):
        yield array[row]
        if row % EVERY == EVERY - 1:
            let_go(array)
    let_go(array)
