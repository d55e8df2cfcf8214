# SPDX-License-Identifier: Apache-2.0
"""Curves of trainings: read while they are written, short enough to draw, and true after a second start."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avatar3d._fit_log import Log
from avatar3d.viewer.curves import Curves


def told(log: Log, steps: range, value: float) -> None:
    for step in steps:
        log.scalars(lambda: {"loss": value, "terms/picture": 1.0, "figures/psnr": 30.0}, step, 0.0, now=True)
    log._writer.flush()


def test_a_running_training_is_read_further_at_each_look(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "runs")
    assert curves.read() == {}
    log = Log(tmp_path / "runs" / "linear", 0)
    told(log, range(1, 5), 0.5)
    first = curves.read()["linear"]
    assert set(first) == {"loss", "figures/psnr"}
    np.testing.assert_array_equal(first["loss"].steps, [1, 2, 3, 4])
    told(log, range(5, 7), 0.25)
    np.testing.assert_allclose(curves.read()["linear"]["loss"].values, [0.5] * 4 + [0.25] * 2)
    log.close()


def test_a_training_that_went_back_to_its_checkpoint_shows_what_it_did_then(tmp_path: Path) -> None:
    first = Log(tmp_path / "linear", 0)
    told(first, range(1, 10), 0.5)
    first.close()
    again = Log(tmp_path / "linear", 4)
    told(again, range(5, 8), 0.1)
    again.close()
    loss = Curves(tmp_path).read()["linear"]["loss"]
    np.testing.assert_array_equal(loss.steps, range(1, 8))
    np.testing.assert_allclose(loss.values, [0.5] * 4 + [0.1] * 3, rtol=1e-6)


def test_a_long_training_is_averaged_to_a_few_hundred_points(tmp_path: Path) -> None:
    log = Log(tmp_path / "linear", 0)
    told(log, range(1, 2001), 2.0)
    log.close()
    loss = Curves(tmp_path).read()["linear"]["loss"]
    assert 200 < len(loss.steps) <= 400
    np.testing.assert_allclose(loss.values, 2.0)
    assert (np.diff(loss.steps) > 0).all()
