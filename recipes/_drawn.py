# SPDX-License-Identifier: Apache-2.0
"""Frames of a head one after the other, and how fast they come."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from avatar3d.player import Player

_WARM_UP_FRAMES = 3
_TIMED_FRAMES = 100


def frames(player: Player, codes: Tensor) -> Iterator[np.ndarray]:
    """Every row's frame, drawn when it is asked for."""
    return map(player.frame, codes)


def frames_per_second(player: Player, codes: Tensor) -> float:
    """How fast frames come, codes to finished pictures, one after the other; the first few are not timed."""
    for code in codes[:_WARM_UP_FRAMES]:
        player.frame(code)
    timed = codes[:_TIMED_FRAMES]
    start = time.perf_counter()
    for code in timed:
        player.frame(code)
    return len(timed) / (time.perf_counter() - start)
