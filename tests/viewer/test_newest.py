# SPDX-License-Identifier: Apache-2.0
"""The newest request wins, an old one never blocks, and what stands still is drawn once more at leisure."""

from __future__ import annotations

import logging
import threading

import pytest

from avatar3d.viewer.newest import Answerer, Newest

LONG_S = 20.0  # a test that waits so long has failed


def test_a_slot_holds_what_came_last() -> None:
    slot: Newest[int] = Newest()
    for number in range(5):
        slot.put(number)
    assert slot.take(0) == 4
    assert slot.take(0) is None


def test_a_closed_slot_lets_whoever_waits_go_and_takes_nothing_more() -> None:
    slot: Newest[int] = Newest()
    taken: list[int | None] = []
    waiter = threading.Thread(target=lambda: taken.append(slot.take(LONG_S)))
    waiter.start()
    slot.close()
    waiter.join(LONG_S)
    slot.put(2)
    assert slot.closed and taken == [None]
    assert slot.take(0) is None


class Painter:
    """Notes what it was asked, and works on the first request until it is let go."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, bool]] = []
        self.begun, self.go, self.rested = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, request: int, moving: bool) -> None:
        self.seen.append((request, moving))
        self.begun.set()
        assert self.go.wait(LONG_S)
        if not moving:
            self.rested.set()


def test_of_many_requests_during_one_drawing_only_the_newest_is_drawn() -> None:
    painter = Painter()
    answerer = Answerer(painter, settle_s=0.01)
    answerer.ask(0)
    assert painter.begun.wait(LONG_S)
    for request in range(1, 50):
        answerer.ask(request)  # returns although the first is still being drawn
    painter.go.set()
    assert painter.rested.wait(LONG_S)
    answerer.close()
    assert painter.seen == [(0, True), (49, True), (49, False)]


def test_an_answer_that_fails_is_logged_and_the_next_one_is_given(caplog: pytest.LogCaptureFixture) -> None:
    answered = threading.Event()

    def answer(request: str, moving: bool) -> None:
        if request == "bad":
            failed.set()
            raise ValueError("no such head")
        answered.set()

    failed = threading.Event()
    with caplog.at_level(logging.ERROR):
        answerer = Answerer(answer, settle_s=0.0)
        answerer.ask("bad")
        assert failed.wait(LONG_S)
        answerer.ask("good")
        assert answered.wait(LONG_S)
        answerer.close()
    assert "no such head" in caplog.text


def test_closing_ends_the_thread() -> None:
    answerer: Answerer[int] = Answerer(lambda *_: None)
    answerer.ask(1)
    answerer.close()
    assert not answerer._thread.is_alive()
