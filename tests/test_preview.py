# SPDX-License-Identifier: Apache-2.0
"""The window into a running training: free when nobody looks, the newest for whoever does, and never in the way."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from avatar3d.contracts import Head
from avatar3d.fit import StepReport
from avatar3d.preview import Preview

LONG_S = 20.0  # a test that waits so long has failed


def _report(step: int) -> StepReport:
    return StepReport(step, step / 100, "all", 0.5, {}, 0.1 * step, 1.0, {})


def _head(name: str) -> Head:
    return cast(Head, name)  # a preview only passes heads on


def _unwanted() -> Head:
    pytest.fail("nobody asked for a head")


def test_nobody_looks_and_nothing_is_copied() -> None:
    preview = Preview(least_s=0)
    for step in range(5):
        preview.offer(_unwanted, _report(step))


def test_one_copy_per_question() -> None:
    preview = Preview(least_s=0)
    assert preview.newest(timeout_s=0) is None
    preview.offer(lambda: _head("first"), _report(1))
    preview.offer(_unwanted, _report(2))
    seen = preview.newest(timeout_s=0)
    assert seen is not None
    assert (seen.head, seen.report.step) == ("first", 1)


def test_a_newer_head_takes_the_place_of_one_that_was_not_fetched() -> None:
    preview = Preview(least_s=0)
    assert preview.newest(timeout_s=0) is None
    preview.offer(lambda: _head("old"), _report(1))
    preview._wanted.set()  # a second watcher asks
    preview.offer(lambda: _head("new"), _report(2))
    seen = preview.newest(timeout_s=0)
    assert seen is not None and seen.head == "new"
    assert preview.newest(timeout_s=0) is None, "a head is fetched once"


def test_an_eager_watcher_gets_few_copies() -> None:
    preview = Preview(least_s=1000)
    made: list[int] = []
    for step in range(20):
        preview.newest(timeout_s=0)
        preview.offer(lambda step=step: made.append(step) or _head("head"), _report(step))  # type: ignore[misc]
    assert made == [0]


def test_a_watcher_in_another_thread_sees_heads_until_the_training_ends() -> None:
    preview = Preview(least_s=0)
    steps: list[int] = []
    enough = threading.Event()

    def watch() -> None:
        while (seen := preview.newest(LONG_S)) is not None:
            steps.append(seen.report.step)
            if len(steps) == 5:
                enough.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    step = 0
    while not enough.wait(0.001):
        step += 1
        assert step < 20_000
        preview.offer(lambda step=step: _head(str(step)), _report(step))  # type: ignore[misc]
    preview.close()
    watcher.join(LONG_S)
    assert not watcher.is_alive()
    assert steps == sorted(set(steps))


def test_the_trainer_never_waits_for_a_watcher_that_is_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    preview = Preview(least_s=0)
    waited: list[Any] = []
    monkeypatch.setattr(preview._changed, "wait_for", lambda *_: waited.append(1))
    for step in range(3):
        preview._wanted.set()
        preview.offer(lambda: _head("head"), _report(step))
    assert not waited
