# SPDX-License-Identifier: Apache-2.0
"""Networks of the user's own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from avatar3d.errors import InputError
from avatar3d.onnx import opened


def test_a_missing_runtime_is_named_with_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    with pytest.raises(InputError, match="onnxruntime is not installed") as caught:
        opened(tmp_path / "any.onnx", "export it again")
    assert caught.value.remedy == "pip install onnxruntime"


def test_a_file_that_is_no_network_is_named_with_its_remedy(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    file = tmp_path / "network.onnx"
    file.write_bytes(b"something else")
    with pytest.raises(InputError, match=r"network\.onnx: cannot be read as ONNX") as caught:
        opened(file, "export it again")
    assert caught.value.remedy == "export it again"


def test_the_runtime_reports_nothing_to_its_maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def session(file: str, providers: list[str]) -> str:
        calls.append(os.environ["ORT_DISABLE_TELEMETRY"])
        return file

    runtime = SimpleNamespace(InferenceSession=session, disable_telemetry_events=lambda: calls.append("disabled"))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    assert opened(tmp_path / "any.onnx", "") == str(tmp_path / "any.onnx")
    assert calls == ["disabled", "1"], "told before the first network is read"
