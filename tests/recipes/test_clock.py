# SPDX-License-Identifier: Apache-2.0
"""What stages cost: the seconds of the run that did the work, not of the one that skipped it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from avatar3d.recipes._clock import Clock, peak_rss_mb
from avatar3d.store import Work


def test_a_skipped_stage_keeps_its_seconds(tmp_path: Path) -> None:
    work = Work(tmp_path)
    with Clock(work).timed("track"):
        time.sleep(0.05)
        work.finish("track", "first")
    first = Clock(work).costs["seconds"]["track"]
    assert first >= 0.05
    with Clock(work).timed("track"):
        pass
    assert Clock(work).costs["seconds"]["track"] == first
    with Clock(work).timed("track"):
        work.finish("track", "second")
    assert Clock(work).costs["seconds"]["track"] < first


def test_a_stage_that_failed_leaves_no_figure(tmp_path: Path) -> None:
    clock = Clock(Work(tmp_path))
    try:
        with clock.timed("track"):
            raise RuntimeError
    except RuntimeError:
        pass
    assert clock.costs == {"seconds": {}, "peak_rss_mb": None}


def test_peak_memory_sees_an_array() -> None:
    before = peak_rss_mb()
    assert before is not None
    held = np.ones(int(before * 1e6), np.uint8)  # whatever has been given back since the peak: this exceeds it
    after = peak_rss_mb()
    assert after is not None and after > before
    assert held[-1] == 1
