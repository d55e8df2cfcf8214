# SPDX-License-Identifier: Apache-2.0
"""The training loop, on a parabola: budgets, stages, resuming, stopping with a reason."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from avatar3d import ranks
from avatar3d.errors import InputError
from avatar3d.fit import Budget, Diverged, Stage, StepReport, fit
from avatar3d.seeds import mixed, seeded
from avatar3d.store import load_tensors

ONE = [Stage("all", 1.0, {"square": 1.0})]
TARGET = torch.tensor([1.0, 2.0, 3.0])


class Parabola:
    """Three numbers that are to become 1, 2, 3, seen through noise."""

    def __init__(self, poison: int | None = None, late_poison: int | None = None, steep: int | None = None) -> None:
        self.numbers = torch.nn.Parameter(torch.zeros(3))
        self.turned = torch.nn.Parameter(torch.zeros(3, 2).T)  # [2,3], not contiguous
        self.idle = torch.nn.Parameter(torch.zeros(2))
        self.poison, self.late_poison, self.steep = poison, late_poison, steep
        self.seen: list[tuple[str, float, int]] = []
        self.reviews = 0

    def param_groups(self) -> list[dict[str, Any]]:
        groups = (("numbers", self.numbers, 0.1), ("turned", self.turned, 0.1), ("idle", self.idle, 1.0))
        return [{"name": name, "params": [tensor], "lr": lr} for name, tensor, lr in groups]

    def losses(self, stage: Stage, progress: float, step: int, seeds: Sequence[int]) -> dict[str, Tensor]:
        self.seen.append((stage.name, progress, step))
        square = sum((self._square(seed) for seed in seeds), start=torch.zeros(())) / len(seeds)
        if step == self.steep:
            square = square + 0 * (self.idle - self.idle.detach()).sum().sqrt()  # finite, but its slope is not
        return {"square": square * torch.nan if step == self.poison else square, "unweighted": square.detach() + 7}

    def _square(self, seed: int) -> Tensor:
        with seeded(seed):
            aim = TARGET + 0.01 * torch.randn(3)
        return (self.numbers - aim).square().sum() + ((self.turned - aim) * TARGET).square().sum()

    def after_step(self, stage: Stage, progress: float, step: int, optimiser: torch.optim.Optimizer) -> None:
        del stage, progress, optimiser
        if step == self.late_poison:
            self.numbers.data[1] = torch.inf

    def snapshot(self) -> dict[str, Tensor]:
        return {"numbers": self.numbers.detach(), "turned": self.turned.detach()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.numbers.data.copy_(tensors["numbers"])
        self.turned.data.copy_(tensors["turned"])

    def pictures(self) -> dict[str, Tensor]:
        return {"picture": torch.rand(3, 4, 4)}

    def evaluate(self) -> dict[str, float]:
        self.reviews += 1
        return {"first": float(self.numbers[0])}


def _reports(task: Parabola, steps: int = 100, stages: list[Stage] = ONE, **options: Any) -> list[StepReport]:
    return list(fit(task, stages, Budget(steps=steps), **options))


def test_it_learns_and_reports_each_step() -> None:
    task = Parabola()
    reports = _reports(task, 400)
    assert torch.allclose(task.numbers, TARGET, atol=0.02)
    assert [report.step for report in reports] == list(range(1, 401))
    assert reports[-1].progress == 1
    assert reports[0].loss == pytest.approx(reports[0].terms["square"])
    assert reports[0].terms["unweighted"] == pytest.approx(reports[0].loss + 7)
    assert reports[-1].loss < 0.01 * reports[0].loss


def test_stages_follow_the_budget_and_scale_rates() -> None:
    frozen = [Stage("frozen", 0.3, {"square": 1.0}, {"numbers": 0.0}), Stage("free", 1.0, {"square": 1.0})]
    task = Parabola()
    for report in fit(task, frozen, Budget(steps=10)):
        assert report.stage == ("frozen" if report.step <= 3 else "free")
        assert (float(task.numbers.detach().abs().sum()) > 0) == (report.step > 3)


def test_weights_are_of_the_stage() -> None:
    reports = _reports(Parabola(), 4, [Stage("half", 0.5, {"square": 0.5}), Stage("whole", 1.0, {"square": 2.0})])
    assert [report.loss / report.terms["square"] for report in reports] == pytest.approx([0.5, 0.5, 2, 2])


@pytest.mark.parametrize("untils", [(), (0.5,), (0.5, 0.5, 1.0), (1.0, 0.5)])
def test_stages_that_do_not_fill_the_budget_are_refused(untils: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="stages"):
        next(fit(Parabola(), [Stage("x", until, {}) for until in untils], Budget(steps=1)))


def test_a_budget_in_seconds_ends_in_time() -> None:
    reports = list(fit(Parabola(), ONE, Budget(seconds=0.2)))
    assert 0.2 <= reports[-1].spent_s < 1.0
    assert reports[-1].progress == 1
    assert reports[-1].figures


def test_whichever_budget_is_used_up_first_ends_it() -> None:
    assert len(list(fit(Parabola(), ONE, Budget(seconds=60, steps=5)))) == 5
    with pytest.raises(ValueError, match="budget"):
        Budget()


def test_reviews_come_evenly_and_at_the_end() -> None:
    task = Parabola()
    reports = _reports(task, 40, reviews=4)
    assert [report.step for report in reports if report.figures] == [10, 20, 30, 40]
    assert task.reviews == 4


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        ({"poison": 9}, r"step 9 \(stage all\): square = nan"),
        ({"steep": 9}, r"step 9 \(stage all\): the gradient of idle/0 is not finite"),
    ],
)
def test_what_is_no_number_stops_with_the_reason_and_spoils_nothing(
    spoilt: dict[str, int], told: str, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    for report in fit(Parabola(), ONE, Budget(steps=50), checkpoint=checkpoint):
        if report.step == 5:
            break
    task = Parabola(**spoilt)
    with pytest.raises(Diverged, match=rf"{told} \(step 5 is kept in .*\.safetensors\); .*--seed"):
        _reports(task, 50, checkpoint=checkpoint)
    assert load_tensors(checkpoint)[1]["step"] == 5
    assert all(torch.isfinite(tensor).all() for tensor in (*task.snapshot().values(), task.idle))


def test_numbers_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Diverged, match="task/numbers"):
        _reports(Parabola(late_poison=3), 4, checkpoint=checkpoint)
    assert not checkpoint.exists()


def test_a_run_without_a_checkpoint_ends_with_finite_numbers_too() -> None:
    with pytest.raises(Diverged, match="task/numbers"):
        _reports(Parabola(late_poison=3), 4)


def test_an_interrupted_run_takes_the_very_steps_of_a_whole_one(tmp_path: Path) -> None:
    whole = Parabola()
    expected = _reports(whole, 60)
    checkpoint = tmp_path / "checkpoint.safetensors"
    first = fit(Parabola(), ONE, Budget(steps=60), checkpoint=checkpoint)
    for report in first:
        if report.step == 25:
            break
    first.close()
    second = Parabola()
    rest = _reports(second, 60, checkpoint=checkpoint)
    assert [report.loss for report in rest] == [report.loss for report in expected[25:]]
    assert torch.equal(second.numbers, whole.numbers)
    assert torch.equal(second.turned, whole.turned)
    assert _reports(Parabola(), 60, checkpoint=checkpoint) == []  # the budget is used up


@pytest.mark.parametrize("change", [{"identity": "other"}, {"seed": 4}])
def test_a_checkpoint_of_something_else_is_named_and_not_resumed(
    tmp_path: Path, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    _reports(Parabola(), 10, checkpoint=checkpoint, identity="this")
    assert not caplog.messages
    assert len(_reports(Parabola(), 10, checkpoint=checkpoint, **({"identity": "this"} | change))) == 10
    assert [f"{checkpoint}: step 10 of a training with other data" in message for message in caplog.messages] == [True]


def test_a_damaged_checkpoint_is_named_and_not_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    _reports(Parabola(), 10, checkpoint=checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-40])
    assert len(_reports(Parabola(), 10, checkpoint=checkpoint)) == 10
    assert [f"{checkpoint}: cannot be read" in message for message in caplog.messages] == [True]


def test_a_resumed_run_has_the_seconds_that_were_left(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    for report in fit(Parabola(), ONE, Budget(seconds=0.3), checkpoint=checkpoint):
        if report.progress > 0.7:
            break
    spent_s = report.spent_s
    rest = list(fit(Parabola(), ONE, Budget(seconds=0.3), checkpoint=checkpoint))
    assert rest[0].step == report.step + 1
    assert rest[0].spent_s > spent_s
    assert rest[-1].progress == 1 > rest[0].progress >= report.progress


def test_the_loop_keeps_nothing_of_its_steps() -> None:
    task = Parabola()
    run = fit(task, ONE, Budget(steps=3000), reviews=0)
    for _ in range(300):
        next(run)
    tracemalloc.start()
    try:
        for _ in range(300):
            next(run)
        task.seen.clear()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(1500):
            next(run)
        task.seen.clear()
        assert tracemalloc.get_traced_memory()[0] - before < 100_000  # bytes
    finally:
        tracemalloc.stop()


def test_a_batch_is_the_mean_of_its_pictures_each_with_its_own_random_numbers() -> None:
    first = _reports(Parabola(), 3, batch=4)[0]
    alone = [Parabola()._square(mixed(0, number)).item() for number in range(4)]
    assert len(set(alone)) == 4
    assert first.loss == pytest.approx(sum(alone) / 4)
    assert first.loss != pytest.approx(_reports(Parabola(), 3, batch=2)[0].loss)


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "count", lambda: 2)
    with pytest.raises(InputError, match="batch of 3 for 2 processes"):
        next(fit(Parabola(), ONE, Budget(steps=1), batch=3))


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    _reports(Parabola(), 5)
    assert torch.equal(torch.rand(2), expected)


def test_seeds_differ() -> None:
    losses = [[report.loss for report in _reports(Parabola(), 5, seed=seed)] for seed in (1, 1, 2)]
    assert losses[0] == losses[1]
    assert losses[0][0] != losses[2][0]


def _events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder)).Reload()


def test_tensorboard_gets_terms_rates_figures_and_pictures(tmp_path: Path) -> None:
    _reports(Parabola(), 8, log_dir=tmp_path, reviews=2)
    log = _events(tmp_path)
    assert set(log.Tags()["scalars"]) >= {"loss", "gradient", "terms/square", "rates/numbers", "figures/first"}
    assert [event.step for event in log.Images("picture")] == [4, 8]


def test_a_new_training_forgets_the_last_ones_events_and_a_resumed_one_goes_on_with_them(tmp_path: Path) -> None:
    checkpoint, logs = tmp_path / "checkpoint.safetensors", tmp_path / "logs"
    _reports(Parabola(), 40, log_dir=logs, reviews=4)
    for report in fit(Parabola(), ONE, Budget(steps=8), log_dir=logs, checkpoint=checkpoint, reviews=8):
        if report.step == 5:
            break
    _reports(Parabola(), 8, log_dir=logs, checkpoint=checkpoint, reviews=8)
    assert [event.step for event in _events(logs).Scalars("figures/first")] == list(range(1, 9))
    assert _reports(Parabola(), 8, log_dir=logs, checkpoint=checkpoint) == []
    assert len(list(logs.iterdir())) == 2, "a training that is done should write no events"
