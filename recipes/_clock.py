# SPDX-License-Identifier: Apache-2.0
"""What each stage of a work folder cost: seconds and peak memory, kept beside the stages' keys."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avatar3d.store import Work, read_json, write_json

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None  # type: ignore[assignment]


class Clock:
    """Times stages. A stage that is skipped, because its key has not changed, keeps the seconds of its last run."""

    def __init__(self, work: Work) -> None:
        self._work = work

    @property
    def costs(self) -> dict[str, Any]:
        """{"seconds": {stage: s}, "peak_rss_mb": MB} of the folder's stages."""
        return read_json(self._work.costs) if self._work.costs.is_file() else {"seconds": {}, "peak_rss_mb": None}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Times the block, in which the stage finishes under its key or finds it finished."""
        key, start = self._work.key(stage), time.perf_counter()
        yield
        costs = self.costs
        skipped = key is not None and key == self._work.key(stage) and stage in costs["seconds"]
        if not skipped:
            seconds = costs["seconds"] | {stage: round(time.perf_counter() - start, 2)}
            write_json(
                self._work.costs, {"seconds": seconds, "peak_rss_mb": _most(costs["peak_rss_mb"], peak_rss_mb())}
            )


def peak_rss_mb() -> float | None:
    """The most memory that this process has held so far, MB; None where the system does not tell."""
    told = Path("/proc/self/status")
    if told.exists():  # getrusage would count what the parent process held before it started this one
        kib = next((line.split()[1] for line in told.read_text().splitlines() if line.startswith("VmHWM")), None)
        return None if kib is None else round(int(kib) * 1.024e-3, 1)
    if resource is None:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(most / (1e6 if sys.platform == "darwin" else 1e3 / 1.024), 1)


def _most(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return max(known, default=None)
