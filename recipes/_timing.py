# SPDX-License-Identifier: Apache-2.0
"""How long functions take on a machine that others use too: in turns, so that all of them meet the same weather."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch


def times_ms(
    runs: Mapping[str, Callable[[], object]],
    repetitions: int,
    device: str = "cpu",
    turns: Mapping[str, int] | None = None,
) -> dict[str, list[float]]:
    """The time of each call of each function [ms], after one call that is not timed.

    Args:
        runs: functions by name; they take turns.
        repetitions: rounds of turns.
        device: where they work; a GPU is waited for before the clock is read.
        turns: how many calls a function has in each round (1 where not named).
    """
    series: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()  # the first call allocates, and may compile
    for _ in range(repetitions):
        for name, run in runs.items():
            series[name] += [_one_ms(run, device) for _ in range((turns or {}).get(name, 1))]
    return series


def as_figures(row: Any) -> dict[str, Any]:
    """A dataclass as JSON values: no clock here tells more than four decimals of a ms."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(row).items()}


def _one_ms(run: Callable[[], object], device: str) -> float:
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return (time.perf_counter() - start) * 1e3


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
