# SPDX-License-Identifier: Apache-2.0
"""The one training loop: a generator of step reports, driven by a budget of seconds or steps.

    for report in fit(task, stages, Budget(seconds=60), checkpoint=path):
        watch(Progress("train", report.progress, f"loss {report.loss:.4f}"))

What is trained is a `Fittable`; how it is trained is a list of `Stage`s, plain data. The randomness of a step is a
function of the seed and the step's number alone (torch's global generator is set for the step and put back after it),
so an interrupted run that resumes from its checkpoint takes the same steps as one that was never interrupted. Each
picture of a step has a seed of its own, so it does not matter which process draws it: under torchrun (`avatar3d.ranks`)
every process draws its share of the batch, and gradients are averaged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from avatar3d import ranks
from avatar3d._fit_keeper import Diverged, Keeper
from avatar3d._fit_log import Log
from avatar3d.contracts import Fittable
from avatar3d.errors import InputError
from avatar3d.records import Stage
from avatar3d.seeds import mixed, seeded

__all__ = ["Budget", "Diverged", "Fittable", "Stage", "StepReport", "fit"]

CHECKPOINT_EVERY_S = 20.0


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
    gradient: float  # length of the gradient of everything that Adam moves
    rates: Mapping[str, float]  # the learning rate of each group
    figures: Mapping[str, float] = field(default_factory=dict)  # of `evaluate`, on the steps that call it

    def named(self) -> dict[str, float]:
        """Everything as numbers by name, for a log."""
        found = {"loss": self.loss, "progress": self.progress, "gradient": self.gradient, "spent_s": self.spent_s}
        for part in ("terms", "rates", "figures"):
            found |= {f"{part}/{name}": value for name, value in getattr(self, part).items()}
        return found


def fit(
    task: Fittable,
    stages: Sequence[Stage],
    budget: Budget,
    *,
    checkpoint: Path | None = None,
    identity: str = "",
    log_dir: Path | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    reviews: int = 4,
    final_rate: float = 0.03,
    batch: int = 1,
    seed: int = 0,
) -> Iterator[StepReport]:
    """Trains `task` in place; one report per step.

    Args:
        stages: in order; the last one's `until` must be 1.
        checkpoint: written every `checkpoint_every_s` and when the caller stops early; an existing one is resumed,
            and a run that has already used up its budget yields nothing. A process that is killed loses what came
            after its last checkpoint: a budget of steps then ends with the same bits as if nothing had happened, one of
            seconds goes on with the seconds that were left at the checkpoint.
        identity: names what is trained (for example a hash of data and settings); a checkpoint of another identity
            is named in the log, not resumed, and replaced at the next save.
        log_dir: for TensorBoard: loss, terms, rates, figures and pictures. A training that begins anew removes the
            events of the last one.
        reviews: how often, evenly over the budget, `evaluate` and `pictures` are called; the last time at the end.
        final_rate: learning rates fall exponentially to this share of their start.
        batch: pictures per step, of all processes together. Only the first process reviews, logs and saves; the
            others must see its checkpoint.

    Raises:
        InputError: the batch cannot be shared among the processes, or they do not see the same checkpoint.
        Diverged: a loss, a gradient or a trained number is not finite; names it. The checkpoint stays as it was.
    """
    if not stages or stages[-1].until < 1 or any(a.until >= b.until for a, b in pairwise(stages)):
        raise ValueError("stages must end at rising fractions of the budget, the last at 1")
    first = ranks.rank() == 0
    run = _Run(task, stages, budget, final_rate, seed, batch)
    keep = Keeper(checkpoint, identity, seed, checkpoint_every_s, run, writes=first)
    keep.resume()
    run.agree_where_to_start()
    log = Log(log_dir if first and run.progress < 1 else None, run.step)
    next_review = math.floor(run.progress * reviews) + 1 if reviews else math.inf
    try:
        while run.progress < 1:
            try:
                report = run.take_step()
            except _NotFinite as error:
                raise keep.diverged(error.where, error.what) from None
            # the step that uses up the budget is always reviewed
            if first and reviews and (report.progress * reviews >= next_review or report.progress >= 1):
                next_review = math.floor(report.progress * reviews) + 1
                report = run.review(report, log)
            log.scalars(report.named, report.step, report.spent_s, bool(report.figures))
            run.agree_on_time()
            keep.save_if_due(run.progress >= 1)
            yield report
    except GeneratorExit:
        keep.save()  # between two steps, so the state is whole
        raise
    finally:
        log.close()


class _NotFinite(ArithmeticError):
    def __init__(self, where: str, what: str) -> None:
        self.where, self.what = where, what


class _Run:
    """The state of one training run between two steps."""

    def __init__(
        self, task: Fittable, stages: Sequence[Stage], budget: Budget, final_rate: float, seed: int, batch: int
    ) -> None:
        self.task, self.stages, self.budget = task, stages, budget
        self.final_rate, self.seed, self.batch = final_rate, seed, batch
        if batch < 1 or batch % ranks.count():
            raise InputError(f"a batch of {batch} for {ranks.count()} processes", "give a multiple of their number")
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
        with seeded(mixed(self.seed, self.step, 1)):
            terms = self.task.losses(stage, progress, self.step, self._seeds())
            weighted = [weight * terms[name] for name, weight in stage.weights.items()]
            total = sum(weighted[1:], start=weighted[0])
            self.optimiser.zero_grad(set_to_none=True)
            total.backward()
            loss, gradient, *values = self._measured(total, terms)
            named = dict(zip(terms, values, strict=True))
            # before the update, so that what has been learned stays whole
            self._check(stage, loss, gradient, named)
            self.optimiser.step()
        with seeded(mixed(self.seed, self.step, 2)):
            self.task.after_step(stage, progress, self.step, self.optimiser)
        self.step += 1
        self.spent_s += time.perf_counter() - started
        rates = {group["name"]: group["lr"] for group in self.optimiser.param_groups}
        return StepReport(self.step, self.progress, stage.name, loss, named, self.spent_s, gradient, rates)

    @torch.no_grad()
    def _measured(self, total: Tensor, terms: Mapping[str, Tensor]) -> list[float]:
        """Loss, length of the gradient, and the terms, of all processes: one message, one transfer from the device."""
        gradients = [p.grad for _, p in self._parameters() if p.grad is not None]
        values = torch.stack([total, *terms.values()])
        ranks.mean_([*gradients, values])
        loss, *others, gradient = torch.cat([values, get_total_norm(gradients)[None]]).tolist()
        return [loss, gradient, *others]

    def _seeds(self) -> list[int]:
        own = self.batch // ranks.count()
        start = self.step * self.batch + ranks.rank() * own
        return [mixed(self.seed, number) for number in range(start, start + own)]

    def agree_where_to_start(self) -> None:
        """Starts all processes from the same bits; refuses to where they stand at different steps."""
        mean = torch.tensor([float(self.step)], dtype=torch.float64)
        ranks.mean_([mean])
        if float(mean) != self.step:
            raise InputError("the processes see different checkpoints", "give them all the same folder")
        if ranks.count() > 1:
            self.task.restore(ranks.shared(self.task.snapshot()))  # painting sums in no fixed order on a GPU

    def agree_on_time(self) -> None:
        """Takes over the first process's clock, which alone decides when seconds are used up."""
        if self.budget.seconds is not None:
            self.spent_s = ranks.of_first(self.spent_s)

    @torch.no_grad()
    def review(self, report: StepReport, log: Log) -> StepReport:
        started = time.perf_counter()
        log.pictures(self.task.pictures, report.step)
        figures = self.task.evaluate()
        self.spent_s += time.perf_counter() - started
        return replace(report, figures=figures)

    def _set_rates(self, stage: Stage, progress: float) -> None:
        decay = self.final_rate**progress
        for group in self.optimiser.param_groups:
            group["lr"] = group["base_lr"] * decay * stage.rates.get(group["name"], 1.0)

    def _check(self, stage: Stage, loss: float, gradient: float, values: Mapping[str, float]) -> None:
        bad = [f"{name} = {value}" for name, value in values.items() if not math.isfinite(value)]
        if not math.isfinite(loss):
            bad = bad or ["the loss overflows"]
        elif not math.isfinite(gradient):
            spoilt = [n for n, p in self._parameters() if p.grad is not None and not torch.isfinite(p.grad).all()]
            bad = [f"the gradient of {name} is not finite" for name in spoilt] or ["the gradient overflows"]
        else:
            return
        raise _NotFinite(f"step {self.step} (stage {stage.name})", ", ".join(bad))

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


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    # the fused step walks parameter and moments side by side in memory, and a file keeps no strides
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
