# SPDX-License-Identifier: Apache-2.0
"""What the user sees while a verb works: bars on a terminal, a few plain lines elsewhere, and the result at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from avatar3d.records import Progress

QUIET_S = 5.0  # a log file gets at most one line per stage in this time


class _Shown(Protocol):
    def show(self, progress: Progress) -> None: ...
    def close(self) -> None: ...


class Output:
    """Progress goes to stderr, results to stdout, so that `avatar3d info DIR > file` holds the result alone."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._shown: _Shown | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.settle()

    def watch(self, progress: Progress) -> None:
        """Shows one message of a long piece of work (a `records.Watch`)."""
        if self._quiet:
            return
        if self._shown is None:
            self._shown = Bars() if sys.stderr.isatty() else Lines()
        self._shown.show(progress)

    def settle(self) -> None:
        """Ends the bars, so that what is said next stands below them."""
        if self._shown is not None:
            self._shown.close()
            self._shown = None

    def say(self, text: str) -> None:
        """One or more lines of the result."""
        self.settle()
        sys.stdout.write(text + "\n")

    def note(self, text: str) -> None:
        """A line about the run that is no result: a warning, what was skipped."""
        self.settle()
        if not self._quiet:
            sys.stderr.write(text + "\n")

    def table(self, rows: Iterable[tuple[str, Any]]) -> None:
        """Two aligned columns."""
        from avatar3d.recipes._text import columns

        self.say(columns(rows))


class Bars:
    """A rich bar per stage; a bar that is full stays as a record of what was done."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bars = RichProgress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}
        self._bars.start()

    def show(self, progress: Progress) -> None:
        if progress.stage not in self._tasks:
            self._tasks[progress.stage] = self._bars.add_task(progress.stage, total=1.0, note=progress.note)
        self._bars.update(self._tasks[progress.stage], completed=progress.done, note=progress.note)

    def close(self) -> None:
        self._bars.stop()


class Lines:
    """For a log file: a line when a stage begins, one now and then, and one when it is done."""

    def __init__(self) -> None:
        self._last_s: dict[str, float] = {}
        self._done: set[str] = set()

    def show(self, progress: Progress) -> None:
        now, stage = time.monotonic(), progress.stage
        finished = progress.done >= 1
        if stage in self._done or (not finished and now - self._last_s.get(stage, -QUIET_S) < QUIET_S):
            return
        self._last_s[stage] = now
        if finished:
            self._done.add(stage)
        sys.stderr.write(f"{stage:<12} {100 * progress.done:3.0f} %  {progress.note}".rstrip() + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Nothing is open."""
