# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from avatar3d.errors import InputError
from avatar3d.ops import _native
from avatar3d.recipes._bench_cuda import bench_cuda, report_cuda
from avatar3d.records import Progress


def test_rows_of_single_pictures_and_batches(cuda: torch.device) -> None:
    told: list[Progress] = []
    figures = bench_cuda(((48, 300),), (1, 2), 2, cuda, told.append)
    ours = [row for row in figures["rows"] if row["renderer"] == "avatar3d"]
    assert [(row["size"], row["n"], row["images"]) for row in ours] == [(48, 300, 1), (48, 300, 2)]
    for row in ours:
        assert 0 < row["forward_ms_min"] <= row["forward_ms_median"]
        assert 0 < row["step_ms_min"] <= row["step_ms_median"]
        assert 0 < row["posed_ms_min"] <= row["posed_ms_median"]
    assert told[-1].done == 1.0
    lines = report_cuda(figures).splitlines()
    assert lines[0].split()[:3] == ["size", "Gaussians", "images"]
    assert lines[1].split()[:4] == ["48x48", "300", "1", "avatar3d"]


def test_no_kernels_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "why_not", lambda _kind: "torch sees no CUDA device")
    with pytest.raises(InputError, match="torch sees no CUDA device"):
        bench_cuda()
