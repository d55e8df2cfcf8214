# SPDX-License-Identifier: Apache-2.0
"""The one training loop: a generator of step reports, driven by a budget of seconds or steps.

    for report in fit(task, stages, Budget(seconds=60), checkpoint=path):
        watch(Progress("train", report.progress, f"loss {report.loss:.4f}"))

What is trained is a `Fittable`; how it is trained is a list of `Stage`s, plain data. The randomness of a step is a
function of the seed and the step's number alone (torch's global generator is set for the step and put back after it),
so an interrupted run that resumes from its checkpoint takes the same steps as one that was never interrupted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from avatar3d.records import Stage
from avatar3d.store import load_tensors, write_tensors

__all__ = ["Budget", "Diverged", "Fittable", "Stage", "StepReport", "fit"]

CHECKPOINT_EVERY_S = 20.0
_SCALARS_EVERY_S = 0.5
_CHECKPOINT_VERSION = 1


class Diverged(RuntimeError):
    """Training met a number that is not finite; the last good checkpoint is kept."""


@dataclass(frozen=True)
class Budget:
    """How long to train: seconds of work, or steps, or whichever ends first."""

    seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.seconds is None and self.steps is None:
            raise ValueError("a budget needs seconds, steps or both")

    def progress(self, spent_s: float, step: int) -> float:
        """The fraction that is used up, 0..1."""
        by_time = spent_s / self.seconds if self.seconds else 0.0
        by_steps = step / self.steps if self.steps else 0.0
        return min(max(by_time, by_steps), 1.0)


@dataclass(frozen=True)
class StepReport:
    """What one step did."""

    step: int  # number of steps taken, this one included
    progress: float  # fraction of the budget used up, 0..1
    stage: str
    loss: float  # weighted sum
    terms: Mapping[str, float]  # unweighted
    spent_s: float  # working time since the very first step, over all runs
    figures: Mapping[str, float] = field(default_factory=dict)  # of `evaluate`, on the steps that call it


class Fittable(Protocol):
    """Something that can be trained."""

    def param_groups(self) -> list[dict[str, Any]]:
        """Adam's groups: `name`, `params` (a list), `lr`, and any other option of torch.optim.Adam."""

    def losses(self, stage: Stage, progress: float, step: int) -> dict[str, Tensor]:
        """Unweighted scalar terms of one step; at least those that `stage.weights` names."""

    def after_step(self, stage: Stage, progress: float, step: int, optimiser: torch.optim.Optimizer) -> None:
        """Whatever follows an update: clamps, hand-made updates, relocation (which edits the optimiser's state)."""

    def snapshot(self) -> dict[str, Tensor]:
        """Everything that changes while training, by name; the optimiser's own state is kept by `fit`."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back, in place, what `snapshot` gave."""

    def pictures(self) -> dict[str, Tensor]:
        """Pictures [3,H,W] 0..1 to look at, by name."""

    def evaluate(self) -> dict[str, float]:
        """Figures on frames that are not trained on."""


def fit(
    task: Fittable,
    stages: Sequence[Stage],
    budget: Budget,
    *,
    checkpoint: Path | None = None,
    identity: str = "",
    log_dir: Path | None = None,
    reviews: int = 4,
    final_rate: float = 0.03,
    seed: int = 0,
) -> Iterator[StepReport]:
    """Trains `task` in place; one report per step.

    Args:
        stages: in order; the last one's `until` must be 1.
        checkpoint: written about every 20 s and when the caller stops early; an existing one is resumed, and a run
            that has already used up its budget yields nothing.
        identity: names what is trained (for example a hash of data and settings); a checkpoint of another identity
            is not resumed.
        log_dir: for TensorBoard: terms, figures and pictures.
        reviews: how often, evenly over the budget, `evaluate` and `pictures` are called; the last time at the end.
        final_rate: learning rates fall exponentially to this share of their start.

    Raises:
        Diverged: a loss or a trained number is not finite.
    """
    if not stages or stages[-1].until < 1 or any(a.until >= b.until for a, b in pairwise(stages)):
        raise ValueError("stages must end at rising fractions of the budget, the last at 1")
    run = _Run(task, stages, budget, final_rate, seed)
    keep = _Keeper(checkpoint, identity, run)
    keep.resume()
    log = _Log(log_dir)
    next_review = math.floor(run.progress * reviews) + 1 if reviews else math.inf
    try:
        while run.progress < 1:
            report = run.take_step()
            # the step that uses up the budget is always reviewed
            if reviews and (report.progress * reviews >= next_review or report.progress >= 1):
                next_review = math.floor(report.progress * reviews) + 1
                report = run.review(report, log)
            log.scalars(report)
            keep.save_if_due()
            yield report
    except GeneratorExit:
        keep.save()  # between two steps, so the state is whole
        raise
    finally:
        log.close()


class _Run:
    """The state of one training run between two steps."""

    def __init__(self, task: Fittable, stages: Sequence[Stage], budget: Budget, final_rate: float, seed: int) -> None:
        self.task, self.stages, self.budget = task, stages, budget
        self.final_rate, self.seed = final_rate, seed
        self.step, self.spent_s = 0, 0.0
        groups = [dict(group, base_lr=group["lr"]) for group in task.param_groups()]
        self.optimiser = torch.optim.Adam(groups, fused=True)

    @property
    def progress(self) -> float:
        return self.budget.progress(self.spent_s, self.step)

    def take_step(self) -> StepReport:
        started = time.perf_counter()
        progress = self.progress
        stage = next(stage for stage in self.stages if progress < stage.until)
        self._set_rates(stage, progress)
        with _seeded(_mixed(self.seed, self.step)):
            terms = self.task.losses(stage, progress, self.step)
            total = sum((weight * terms[name] for name, weight in stage.weights.items()), start=torch.zeros(()))
            values = {name: float(term.detach()) for name, term in terms.items()}
            self._check(stage, float(total.detach()), values)
            self.optimiser.zero_grad(set_to_none=True)
            total.backward()
            self.optimiser.step()
            self.task.after_step(stage, progress, self.step, self.optimiser)
        self.step += 1
        self.spent_s += time.perf_counter() - started
        return StepReport(self.step, self.progress, stage.name, float(total.detach()), values, self.spent_s)

    @torch.no_grad()
    def review(self, report: StepReport, log: _Log) -> StepReport:
        started = time.perf_counter()
        log.pictures(self.task.pictures, report.step)
        figures = self.task.evaluate()
        self.spent_s += time.perf_counter() - started
        return replace(report, figures=figures)

    def _set_rates(self, stage: Stage, progress: float) -> None:
        decay = self.final_rate**progress
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_lr"] * decay * stage.rates.get(group["name"], 1.0)

    def _check(self, stage: Stage, total: float, values: Mapping[str, float]) -> None:
        if not math.isfinite(total):
            bad = ", ".join(f"{name} = {value}" for name, value in values.items() if not math.isfinite(value))
            raise Diverged(f"training stopped at step {self.step} (stage {stage.name}): {bad or 'the sum overflows'}")

    def state(self) -> dict[str, Tensor]:
        """Everything a checkpoint needs, by name."""
        found = {f"task/{name}": tensor for name, tensor in self.task.snapshot().items()}
        for name, parameter in self._parameters():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                found[f"adam/{name}/{key}"] = value
        return found

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        prefix = "task/"
        self.task.restore({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        for name, parameter in self._parameters():
            prefix = f"adam/{name}/"
            state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if state:
                self.optimiser.state[parameter] = {key: _laid_out_as(parameter, v) for key, v in state.items()}

    def _parameters(self) -> Iterator[tuple[str, Tensor]]:
        for group in self.optimiser.param_groups:
            for index, parameter in enumerate(group["params"]):
                yield f"{group['name']}/{index}", parameter


class _Keeper:
    """Writes and resumes the checkpoint of a run."""

    def __init__(self, path: Path | None, identity: str, run: _Run) -> None:
        self.path, self.run = path, run
        self.identity = {"version": _CHECKPOINT_VERSION, "identity": identity, "seed": run.seed}
        self.saved_step, self.saved_s = 0, 0.0

    def resume(self) -> None:
        if self.path is None or not self.path.exists():
            return
        tensors, about = load_tensors(self.path)
        if {key: about.get(key) for key in self.identity} != self.identity:
            return
        self.run.load(tensors)
        self.run.step, self.run.spent_s = int(about["step"]), float(about["spent_s"])
        self.saved_step, self.saved_s = self.run.step, self.run.spent_s

    def save_if_due(self) -> None:
        if self.run.progress >= 1 or self.run.spent_s - self.saved_s >= CHECKPOINT_EVERY_S:
            self.save()

    def save(self) -> None:
        if self.path is None or self.run.step == self.saved_step:
            return
        tensors = self.run.state()
        # a loss can be finite although its update was not
        if bad := [n for n, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]:
            raise Diverged(f"training stopped at step {self.run.step}: not finite: {', '.join(bad)}")
        write_tensors(self.path, tensors, self.identity | {"step": self.run.step, "spent_s": self.run.spent_s})
        self.saved_step, self.saved_s = self.run.step, self.run.spent_s


class _Log:
    """TensorBoard's events; silent without a folder."""

    def __init__(self, folder: Path | None) -> None:
        self._writer: Any = None
        self._next_s = 0.0
        if folder is not None:
            # a second's import, which a run without logs need not pay
            from torch.utils.tensorboard.writer import SummaryWriter

            self._writer = SummaryWriter(str(folder))

    def scalars(self, report: StepReport) -> None:
        if self._writer is None or (report.spent_s < self._next_s and not report.figures):
            return
        self._next_s = report.spent_s + _SCALARS_EVERY_S
        named = {"loss": report.loss, "progress": report.progress}
        named |= {f"terms/{name}": value for name, value in report.terms.items()}
        named |= {f"figures/{name}": value for name, value in report.figures.items()}
        for name, value in named.items():
            self._writer.add_scalar(name, value, report.step)

    def pictures(self, make: Callable[[], Mapping[str, Tensor]], step: int) -> None:
        if self._writer is None:
            return
        for name, picture in make().items():
            self._writer.add_image(name, picture.detach().clamp(0, 1), step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    # the fused step walks parameter and moments side by side in memory, and a file keeps no strides
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
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


def _mixed(seed: int, step: int) -> int:
    # neighbouring seeds and steps must not share streams: a multiplicative hash (Knuth) with a 61-bit prime
    return (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 1) % (2**61 - 1)
