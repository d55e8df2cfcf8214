# SPDX-License-Identifier: Apache-2.0
"""How many cores there are for us, and how many threads torch shares one operation among."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def usable_cores() -> int:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Within the block torch uses `count` threads for one operation; afterwards as many as before.

    Our operations are many and small: shared out, their threads mostly wait for one another, and on a busy machine
    for whoever holds the other core. The native kernels have a pool of their own.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
