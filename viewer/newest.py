# SPDX-License-Identifier: Apache-2.0
"""The newest request wins: a slot that holds one, and a thread that answers them.

Whoever drags a slider or a camera asks much faster than pictures can be drawn. What was asked and not begun is dropped
when something newer is asked, so a picture is never older than one drawing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Answerer", "Newest"]

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Newest(Generic[T]):
    """A slot between two threads: a newer thing takes the place of one that was not fetched."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: tuple[T] | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, item: T) -> None:
        """Never waits; without effect once the slot is closed."""
        with self._changed:
            if not self._closed:
                self._held = (item,)
                self._changed.notify_all()

    def take(self, timeout_s: float | None = None) -> T | None:
        """What was put last and not taken yet; waits for it. None: nothing came within the time, or it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._held is not None or self._closed, timeout_s)
            held, self._held = self._held, None
        return None if held is None else held[0]

    def close(self) -> None:
        """Nobody needs to wait any more; what was not taken is dropped."""
        with self._changed:
            self._closed, self._held = True, None
            self._changed.notify_all()


class Answerer(Generic[T]):
    """One thread that answers requests: at once as long as they keep coming, and once more, at leisure, at rest.

    Args:
        answer: called with a request and whether more are likely to follow at once: then a small picture is better
            now than a large one later. Where it fails, the fault is logged and the next request is answered.
        settle_s: without a new request after which the last one is answered at leisure.
    """

    def __init__(self, answer: Callable[[T, bool], None], settle_s: float = 0.2) -> None:
        self._answer, self._settle_s = answer, settle_s
        self._slot: Newest[T] = Newest()
        self._thread = threading.Thread(target=self._work, name="answer", daemon=True)
        self._thread.start()

    def ask(self, request: T) -> None:
        """Never waits; takes the place of a request that is not begun."""
        self._slot.put(request)

    def close(self, timeout_s: float = 5.0) -> None:
        """Ends the thread after the answer that it is giving."""
        self._slot.close()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        request = self._slot.take()
        while request is not None:
            self._give(request, True)
            newer = self._slot.take(self._settle_s)
            if newer is None and not self._slot.closed:
                self._give(request, False)
                newer = self._slot.take()
            request = newer

    def _give(self, request: T, moving: bool) -> None:
        try:
            self._answer(request, moving)
        except Exception:
            _log.exception("a picture could not be drawn")
