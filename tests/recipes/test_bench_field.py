# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util

import pytest

from avatar3d.errors import InputError
from avatar3d.ops import _native
from avatar3d.recipes import bench_field as recipe
from avatar3d.recipes.bench_field import FieldSize, bench_field, report_field
from avatar3d.records import Progress

SMALL = FieldSize(points=300, levels=3, log2_rows=10, rays=64, samples=5, cells=8, step=0.05)
NERFACC = bool(importlib.util.find_spec("nerfacc"))


def test_rows_of_the_kernels_beside_torch() -> None:
    if _native.why_not():
        pytest.skip(f"no kernels here: {_native.why_not()}")
    told: list[Progress] = []
    before = _native.threads()
    rows = bench_field(SMALL, 1, 2, watch=told.append)["rows"]
    beside_torch = [row for row in rows if row["name"] == "reference"]
    assert [(row["op"], row["n"], row["threads"]) for row in beside_torch] == [
        ("hashgrid", 300, 2),
        ("composite", 64, 2),
        ("march", 64, 2),
    ]
    assert len(rows) == 3 + NERFACC
    for row in rows:
        steps = [""] if row["op"] == "march" else ["", "other_"]
        assert all(0 < row[f"{name}forward_ms_min"] <= row[f"{name}forward_ms_median"] for name in ("", "other_"))
        assert row["op"] == "march" or all(0 < row[f"{n}step_ms_min"] <= row[f"{n}step_ms_median"] for n in steps)
        assert row["times_forward"] == pytest.approx(row["other_forward_ms_min"] / row["forward_ms_min"], rel=0.1)
        assert row["isa"] == _native.isa()
    assert rows[-1]["times_step"] is None and rows[1]["samples"] == 64 * 5 and rows[-1]["samples"] > 0
    assert told[-1].done == 1.0 and _native.threads() == before
    assert {"hashgrid,", "march,", "300", "320", _native.isa()} <= set(report_field({"rows": rows}).split())


def test_nerfacc_sums_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nerfacc.volrend", reason="nerfacc is not installed; nothing to measure beside")
    case = recipe._compositing(SMALL, ["nerfacc"])
    ours, theirs = (case.forward[name]() for name in ("ours", "nerfacc"))
    assert all(abs(a - b).max() < 1e-5 for a, b in zip(ours, theirs, strict=True))


def test_nothing_to_measure_or_beside_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "_nerfacc", lambda: None)
    monkeypatch.setattr(_native, "why_not", lambda _kind: "")
    with pytest.raises(InputError, match="nothing to measure beside"):
        bench_field(SMALL, reference=False)
    monkeypatch.setattr(_native, "why_not", lambda _kind: "not built")
    with pytest.raises(InputError, match="not built"):
        bench_field(SMALL)
