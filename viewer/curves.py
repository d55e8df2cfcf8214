# SPDX-License-Identifier: Apache-2.0
"""How trainings went, read from what they tell TensorBoard, also while they run."""

from __future__ import annotations

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
    """The curves of all runs in a folder `runs`; each look reads only what has been written since the last one."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._readers: dict[str, Any] = {}

    def read(self) -> dict[str, dict[str, Curve]]:
        """By run, by name: "loss", and "figures/..." on frames that are not trained on."""
        found = {folder.parent.name: folder.parent for folder in self._runs.glob("*/events.out.tfevents.*")}
        return {name: curves for name in sorted(found) if (curves := self._run(name, found[name]))}

    def _run(self, name: str, folder: Path) -> dict[str, Curve]:
        # a second's import, which a window without trainings need not pay
        from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

        if name not in self._readers:
            self._readers[name] = EventAccumulator(str(folder), size_guidance={SCALARS: 0})
        reader = self._readers[name].Reload()
        tags = [tag for tag in reader.Tags()[SCALARS] if tag == LOSS or tag.startswith(FIGURES)]
        return {tag: _curve(reader.Scalars(tag)) for tag in tags}


def _curve(events: list[Any]) -> Curve:
    steps = np.array([event.step for event in events], np.float64)
    values = np.array([event.value for event in events], np.float64)
    # of a run that was begun again, what it told last
    last = np.r_[np.minimum.accumulate(steps[::-1])[::-1][1:] > steps[:-1], True] if len(steps) else []
    steps, values = steps[last], values[last]
    if len(steps) > _POINTS:
        size = -(-len(steps) // _POINTS)
        starts = np.arange(0, len(steps), size)
        counts = np.diff([*starts, len(steps)])
        steps, values = (np.add.reduceat(each, starts) / counts for each in (steps, values))
    return Curve(steps, values)
