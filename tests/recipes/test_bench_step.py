# SPDX-License-Identifier: Apache-2.0
"""The benchmark of a training step takes the product's own path and accounts for all of its time."""

from __future__ import annotations

import pytest
import torch

from avatar3d.fit import Budget, Stage, fit
from avatar3d.ops import _native
from avatar3d.recipes._step_case import CODES, step_case
from avatar3d.recipes.bench_step import bench_step, report_step
from avatar3d.render.native import Native


@pytest.fixture(autouse=True)
def kernels() -> None:
    if _native.why_not():
        pytest.skip(f"no kernels here: {_native.why_not()}")


def test_every_part_of_a_step_is_accounted_for() -> None:
    figures = bench_step(((32, 300),), 3)
    assert [bool(row["perceptual"]) for row in figures["rows"]] == [False, True]
    for row in figures["rows"]:
        assert (row["size"], row["n"], row["codes"]) == (32, 300, CODES)
        assert 0 < row["step_ms_min"] <= row["step_ms_median"]
        parts = [row[f"{part}_ms"] for part in ("draw", "losses", "backward", "adam", "after")]
        assert all(part > 0 for part in parts)
        assert sum(parts) + row["rest_ms"] == pytest.approx(row["step_ms_median"], rel=1e-3)
    assert len(report_step(figures).splitlines()) == 3


def test_the_case_is_one_that_can_be_learned() -> None:
    torch.manual_seed(0)
    task = step_case(32, 300, Native(), None)
    stage = Stage("all", 1.0, {"picture": 1.0, "alpha": 0.2})
    losses = [report.terms["picture"] for report in fit(task, [stage], Budget(steps=60), reviews=0)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
