# SPDX-License-Identifier: Apache-2.0
"""Randomness that follows from a few numbers alone, whatever was drawn before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# a multiplicative hash (Knuth): neighbouring numbers must not share streams
_FACTORS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_PRIME = 2**61 - 1


def mixed(*numbers: int) -> int:
    """A seed that up to three numbers share with no others nearby."""
    return (sum(number * factor for number, factor in zip(numbers, _FACTORS, strict=False)) + 1) % _PRIME


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block torch's generators start at `seed`; afterwards the host's goes on where it was."""
    # torch.manual_seed would also format a stack trace for each kind of device that has not been used
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)
