# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from avatar3d.errors import InputError
from avatar3d.ops import _native
from avatar3d.recipes.bench_posed import bench_posed, report_posed
from avatar3d.records import Progress


def check(device: str, isa: str) -> None:
    told: list[Progress] = []
    figures = bench_posed(((48, 300),), (1, 2), 2, device, told.append)
    expected = [(48, 300, 24, 1, isa), (48, 300, 24, 2, isa)]
    assert [tuple(row[name] for name in ("size", "n", "codes", "images", "isa")) for row in figures["rows"]] == expected
    assert all(0 < row["ms_min"] <= row["ms_median"] for row in figures["rows"])
    assert told[-1].done == 1.0
    assert {"48x48", "300", isa} <= set(report_posed(figures).split())


def test_rows_of_single_pictures_and_batches_on_cuda(cuda: torch.device) -> None:
    check(cuda.type, "cuda")


def test_rows_of_single_pictures_and_batches() -> None:
    if _native.why_not():
        pytest.skip(f"no kernels here: {_native.why_not()}")
    check("cpu", _native.isa())


def test_no_kernels_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "why_not", lambda _kind: "torch sees no CUDA device")
    with pytest.raises(InputError, match="torch sees no CUDA device"):
        bench_posed(device="cuda")
