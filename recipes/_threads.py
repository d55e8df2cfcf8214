# SPDX-License-Identifier: Apache-2.0
"""How many threads torch shares its own loops among."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Within the block torch uses `count` threads for one operation; afterwards as many as before.

    Where work runs side by side already, more than one only makes threads wait for one another.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
