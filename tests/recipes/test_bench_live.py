# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avatar3d.errors import InputError
from avatar3d.motion._at_rest import at_rest
from avatar3d.recipes import bench_live as recipe
from avatar3d.recipes.bench_live import bench_live, report_live
from avatar3d.records import Motion


class Slow:
    """A voice that waits 80 ms and says nothing of interest."""

    look_ahead_s = 0.08

    def __init__(self) -> None:
        self.heard = self.said = 0

    def push(self, samples: np.ndarray) -> Motion:
        self.heard += len(samples)
        ready = max(int((self.heard / 16_000 - self.look_ahead_s) * 25 + 1e-9), 0)
        fresh, self.said = ready - self.said, ready
        return at_rest(np.zeros((fresh, 2), np.float32), np.zeros((fresh, 2), np.float32))


def test_it_tells_what_the_voice_costs_and_how_late_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    voice = SimpleNamespace(live=lambda _: Slow(), tensors=lambda: {"w": torch.zeros(250_000)})
    monkeypatch.setattr(recipe, "open_avatar", lambda _: SimpleNamespace(live=voice))
    figures = bench_live(Path("me.avatar"), minutes=2)
    (row,) = figures["rows"]
    assert (row["seconds"], row["chunk_ms"], row["look_ahead_ms"], row["voice_mb"]) == (120.0, 20.0, 80.0, 1.0)
    assert row["lag_ms_first"] == row["lag_ms_last"] == pytest.approx(80.0, abs=0.1)
    assert 0 < row["real_time_factor"] < 1 and 0 < row["push_ms_p50"] <= row["push_ms_p99"]
    assert "120, 20" in report_live(figures)


def test_an_avatar_without_such_a_voice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "open_avatar", lambda _: SimpleNamespace(live=None))
    with pytest.raises(InputError, match=r"me\.avatar: has no voice for speech that is still coming"):
        bench_live(Path("me.avatar"))
