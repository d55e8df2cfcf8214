# SPDX-License-Identifier: Apache-2.0
"""How trainings went, read from what they tell TensorBoard, also while they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Curve", "Curves"]

_POINTS = 400  # of one curve: a window is not wider
LOSS, FIGURES = "loss", "figures/"


@dataclass(frozen=True)
class Curve:
    """One figure over a training."""

    steps: np.ndarray  # [N] float64, rising
    values: np.ndarray  # [N] float64


class Curves:
    """The curves of all runs in a folder `runs`; each look reads only what has been written since the last one.

    Args:
        stopped: asked now and then while much is read; once it says so, what has been read so far is all.
    """

    def __init__(self, runs: Path, stopped: Callable[[], bool] = lambda: False) -> None:
        self._runs, self._stopped = runs, stopped
        self._readers: dict[Path, Any] = {}
        self._told: dict[str, dict[str, list[tuple[int, float]]]] = {}

    def read(self) -> dict[str, dict[str, Curve]]:
        """By run, by name: "loss", and "figures/..." on frames that are not trained on."""
        for file in sorted(self._runs.glob("*/events.out.tfevents.*")):
            self._read_on(file)
        return {run: {tag: _curve(told) for tag, told in tags.items()} for run, tags in sorted(self._told.items())}

    def _read_on(self, file: Path) -> None:
        # a second's import, which a window without trainings need not pay
        from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

        if file not in self._readers:
            self._readers[file] = LegacyEventFileLoader(str(file))
        for event in self._readers[file].Load():
            for value in event.summary.value:
                if value.tag == LOSS or value.tag.startswith(FIGURES):
                    tags = self._told.setdefault(file.parent.name, {})
                    tags.setdefault(value.tag, []).append((event.step, value.simple_value))
            if self._stopped():
                return


def _curve(told: list[tuple[int, float]]) -> Curve:
    steps, values = np.array(told, np.float64).T
    # of a run that was begun again, what it told last
    last = np.r_[np.minimum.accumulate(steps[::-1])[::-1][1:] > steps[:-1], True]
    steps, values = steps[last], values[last]
    if len(steps) > _POINTS:
        size = -(-len(steps) // _POINTS)
        starts = np.arange(0, len(steps), size)
        counts = np.diff([*starts, len(steps)])
        steps, values = (np.add.reduceat(each, starts) / counts for each in (steps, values))
    return Curve(steps, values)
