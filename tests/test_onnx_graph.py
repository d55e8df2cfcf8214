# SPDX-License-Identifier: Apache-2.0
"""Networks that are written: every ONNX tool reads them, and they compute what was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatar3d.onnx import opened
from avatar3d.onnx_graph import Graph


def network(kernel: np.ndarray, offset: np.ndarray) -> bytes:
    graph = Graph("test")
    turned = graph.node("Conv", "x", graph.constant(kernel), pads=(2, 0), dilations=(2,), group=2)
    graph.result("Add", turned, graph.constant(offset), name="y")
    return graph.written({"x": (1, 4, "T")}, {"y": (1, 2, "T")}, {"about": "é" * 300})


@pytest.fixture
def parts() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, 2, 2)), rng.standard_normal((2, 1))


def test_the_checker_of_the_format_accepts_it(parts: tuple[np.ndarray, np.ndarray]) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(network(*parts))
    onnx.checker.check_model(model, full_check=True)
    assert [(item.key, item.value) for item in model.metadata_props] == [("about", "é" * 300)]
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(model.graph.initializer[0]), parts[0].astype(np.float32))


def test_a_runtime_computes_what_was_asked_for(tmp_path: Path, parts: tuple[np.ndarray, np.ndarray]) -> None:
    pytest.importorskip("onnxruntime")
    kernel, offset = parts
    file = tmp_path / "network.onnx"
    file.write_bytes(network(kernel, offset))
    x = np.random.default_rng(1).standard_normal((1, 4, 30)).astype(np.float32)
    (made,) = opened(file, "").run(None, {"x": x})
    late = np.pad(x[0], ((0, 0), (2, 0)))[:, :30]
    wanted = [
        sum(kernel[g, c, 0] * late[2 * g + c] + kernel[g, c, 1] * x[0, 2 * g + c] for c in (0, 1)) for g in (0, 1)
    ]
    np.testing.assert_allclose(made[0], np.array(wanted) + offset, atol=1e-5)
