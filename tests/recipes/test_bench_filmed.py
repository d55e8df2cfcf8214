# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from avatar3d.errors import InputError
from avatar3d.ops import _native
from avatar3d.recipes.bench_filmed import bench_filmed, report_filmed
from avatar3d.records import Progress


def test_rows_of_the_kernel_beside_the_ops_and_torch() -> None:
    if _native.why_not():
        pytest.skip(f"no kernels here: {_native.why_not()}")
    told: list[Progress] = []
    before = _native.threads()
    figures = bench_filmed(((48, 300),), 1, (1, 2), told.append)
    assert [(row["size"], row["n"], row["threads"], row["isa"]) for row in figures["rows"]] == [
        (48, 300, 1, _native.isa()),
        (48, 300, 2, _native.isa()),
    ]
    for row in figures["rows"]:
        assert all(0 < row[f"{name}ms_min"] <= row[f"{name}ms_median"] for name in ("", "ops_", "torch_"))
    assert told[-1].done == 1.0 and _native.threads() == before
    assert {"48x48", "300", _native.isa()} <= set(report_filmed(figures).split())


def test_no_kernels_to_film_with_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "why_not", lambda _kind: "not built")
    with pytest.raises(InputError, match="not built"):
        bench_filmed()
