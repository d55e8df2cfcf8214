# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from avatar3d.recipes._bench_table import markdown
from avatar3d.recipes.bench_track import TrackCase, bench_track, report_track
from avatar3d.records import Progress


def test_a_case_is_tracked_and_judged(face_task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avatar3d.assets.find", lambda *_: face_task)
    told: list[Progress] = []
    figures = bench_track((TrackCase(160, 20.0, 1200.0, 4), TrackCase(120, 4.0, 1200.0, 4)), told.append)
    turning, still = figures["rows"]
    assert turning["rotation_jitter_deg"] < 0.3
    assert turning["rotation_error_deg"] < 2.0
    assert turning["mouth_r"] > 0.98 and 0.7 < turning["mouth_gain"] < 1.3
    assert turning["track_s"] > 0 and turning["track_cpu_s"] > 0
    assert not still["focal_observable"]
    assert told[-1].done == 1.0
    text = report_track(figures)
    assert "160, 20, 1200, 4" in text and "not observable" in text
    assert text.count("\n") == 2
    machine = {"processor": "p", "cores": 2}
    assert "| 120, 4, 1200, 4 | not observable |" in markdown({"machine": machine, "track": figures["rows"]})
