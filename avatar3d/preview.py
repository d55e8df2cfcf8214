# SPDX-License-Identifier: Apache-2.0
"""Looking at a training while it runs: the newest head for whoever watches from another thread.

    preview = Preview()
    threading.Thread(target=train, args=(work, ...), kwargs={"preview": preview}).start()
    while (seen := preview.newest(timeout_s=2.0)) is not None:  # None: no step within that time, or training has ended
        show(seen.head, f"step {seen.report.step}: loss {seen.report.loss:.4f}")

The trainer offers its head after every step. It is copied only when somebody has asked since the last copy, so a
training that nobody watches pays one look at a flag, and one that is watched never waits for the watcher: a newer head
takes the place of one that was not fetched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from avatar3d.contracts import Head
from avatar3d.fit import StepReport

__all__ = ["Preview", "Seen"]


@dataclass(frozen=True)
class Seen:
    """A head in training, as it stood after one step."""

    head: Head  # a copy, on the device of the training
    report: StepReport


class Preview:
    """One slot between a trainer and a watcher in two threads; the newest head wins.

    Args:
        least_s: between two copies, so that an eager watcher cannot slow the training down.
    """

    def __init__(self, least_s: float = 0.2) -> None:
        self._least_s, self._next_s = least_s, 0.0
        self._wanted = threading.Event()
        self._changed = threading.Condition()
        self._seen: Seen | None = None
        self._over = False

    # the trainer's side

    def offer(self, make: Callable[[], Head], report: StepReport) -> None:
        """To be called between two steps; calls `make` only if somebody waits for a head."""
        if not self._wanted.is_set() or time.monotonic() < self._next_s:
            return
        seen = Seen(make(), report)
        self._next_s = time.monotonic() + self._least_s
        with self._changed:
            self._seen = seen
            self._wanted.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Training has ended: nobody needs to wait any more. What was offered last can still be fetched."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    # the watcher's side

    def newest(self, timeout_s: float) -> Seen | None:
        """A head that has not been fetched yet, and asks for the next one; None if there is none within `timeout_s`."""
        self._wanted.set()
        with self._changed:
            self._changed.wait_for(lambda: self._seen is not None or self._over, timeout_s)
            seen, self._seen = self._seen, None
        return seen
