# SPDX-License-Identifier: Apache-2.0
"""`avatar3d bench step`: how long one step of training a linear head takes on this machine, and where the time goes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avatar3d.avatar._linear_fit import LinearFit
from avatar3d.avatar.linear import LinearHead
from avatar3d.errors import InputError
from avatar3d.fit import Budget, Stage, fit
from avatar3d.ops import _native
from avatar3d.recipes._step_case import CODES, step_case
from avatar3d.recipes._text import table
from avatar3d.recipes._timing import as_figures
from avatar3d.recipes.train import perceptual_term
from avatar3d.records import Camera, Image, Posed, Progress, Watch, unwatched
from avatar3d.render.native import Native
from avatar3d.threads import torch_threads

CASES = ((256, 18_500), (512, 30_000))  # size px, Gaussians
REPETITIONS = 60
_WARM_STEPS = 10


@dataclass(frozen=True)
class StepRow:
    """One measurement; parts are medians over the steps, the draw is a part of its own and not of `losses_ms`."""

    size: int  # px, width and height
    n: int  # Gaussians
    codes: int  # tables
    perceptual: str  # name of the perceptual term, "" without one
    threads: int
    isa: str
    step_ms_min: float
    step_ms_median: float
    draw_ms: float  # forward, of Gaussians that are posed already
    losses_ms: float  # the rest of the way from a frame's number to the loss
    backward_ms: float
    adam_ms: float  # of everything but the tables
    after_ms: float  # the tables' Adam, corrections, clamps
    rest_ms: float
    load: float  # the machine's load average over the last minute, at the end of the measurement


def bench_step(
    cases: tuple[tuple[int, int], ...] = CASES, repetitions: int = REPETITIONS, watch: Watch = unwatched
) -> dict[str, Any]:
    """Times steps of `avatar3d.fit.fit` on a `LinearFit`, as `avatar3d train` takes them, without and with LPIPS.

    Args:
        cases: (size px, Gaussians) pairs; sizes are multiples of 8.
        repetitions: steps that are timed, after ten that are not.

    Returns:
        `{"rows": [StepRow as a dict]}`.

    Raises:
        InputError: there are no kernels to time.
    """
    if _native.why_not():
        raise InputError(f"bench: no native kernels ({_native.why_not()})", "build them, then run bench again")
    rows = []
    plan = [(size, n, detailed) for size, n in cases for detailed in (False, True)]
    with torch_threads(1):
        for done, (size, n, detailed) in enumerate(plan):
            watch(Progress("bench", done / len(plan), f"step, {size}x{size}, {n} Gaussians"))
            rows.append(_measure(size, n, detailed, repetitions))
    watch(Progress("bench", 1.0))
    return {"rows": [as_figures(row) for row in rows]}


def _measure(size: int, n: int, detailed: bool, repetitions: int) -> StepRow:
    term, name = perceptual_term() if detailed else (None, "")
    draw = _TimedDraw()
    task = _TimedFit(step_case(size, n, draw, term), draw)
    schedule = LinearHead.stages[-1 if detailed else -2]
    stage = Stage(schedule.name, 1.0, schedule.weights)
    spent_s = [0.0]
    steps_ms: list[float] = []
    parts: list[dict[str, float]] = []
    for report in fit(task, [stage], Budget(steps=_WARM_STEPS + repetitions), reviews=0):
        steps_ms.append((report.spent_s - spent_s.pop()) * 1e3)
        spent_s.append(report.spent_s)
        parts.append(task.parts_ms())
    steps_ms, parts = steps_ms[_WARM_STEPS:], parts[_WARM_STEPS:]
    medians = {part: statistics.median(one[part] for one in parts) for part in parts[0]}
    median = statistics.median(steps_ms)
    return StepRow(
        size=size,
        n=n,
        codes=CODES,
        perceptual=name,
        threads=_native.threads(),
        isa=_native.isa(),
        step_ms_min=min(steps_ms),
        step_ms_median=median,
        rest_ms=median - sum(medians.values()),
        load=os.getloadavg()[0],
        **medians,
    )


class _TimedDraw(Native):
    """The renderer, with a clock."""

    last_s = 0.0

    def __call__(self, posed: Posed, camera: Camera) -> Image:
        started = time.perf_counter()
        image = super().__call__(posed, camera)
        self.last_s = time.perf_counter() - started
        return image


class _TimedFit:
    """What is trained, with a clock at every door of `Fittable`."""

    def __init__(self, task: LinearFit, draw: _TimedDraw) -> None:
        self.task, self.draw = task, draw
        self.param_groups, self.pictures, self.evaluate = task.param_groups, task.pictures, task.evaluate
        self.snapshot, self.restore = task.snapshot, task.restore
        self.at: list[float] = []
        self.updating: list[float] = []

    def losses(self, stage: Stage, progress: float, step: int, seeds: Sequence[int]) -> dict[str, Tensor]:
        self.at = [time.perf_counter()]
        terms = self.task.losses(stage, progress, step, seeds)
        self.at.append(time.perf_counter())
        return terms

    def after_step(self, stage: Stage, progress: float, step: int, optimiser: torch.optim.Optimizer) -> None:
        self.at.append(time.perf_counter())
        if step == 0:
            optimiser.register_step_pre_hook(lambda *_: self._mark())
        self.task.after_step(stage, progress, step, optimiser)
        self.at.append(time.perf_counter())

    def _mark(self) -> None:
        self.updating = [time.perf_counter()]

    def parts_ms(self) -> dict[str, float]:
        begin, lost, updated, end = self.at
        updating = self.updating[0] if self.updating else updated
        parts = {
            "draw_ms": self.draw.last_s,
            "losses_ms": lost - begin - self.draw.last_s,
            "backward_ms": updating - lost,
            "adam_ms": updated - updating,
            "after_ms": end - updated,
        }
        return {name: 1e3 * seconds for name, seconds in parts.items()}


def report_step(figures: Mapping[str, Any]) -> str:
    """The rows as a table for people."""
    columns = ("step_ms_min", "step_ms_median", "draw_ms", "losses_ms", "backward_ms", "adam_ms", "after_ms", "rest_ms")
    heads = ("size", "Gaussians", "perceptual", "threads", *(name.replace("_ms", "") for name in columns), "load")
    lines = [heads]
    for row in figures["rows"]:
        times = (f"{row[name]:.2f}" for name in columns)
        label = (f"{row['size']}x{row['size']}", f"{row['n']:,}", row["perceptual"] or "none", str(row["threads"]))
        lines.append((*label, *times, f"{row['load']:.1f}"))
    return table(lines)
