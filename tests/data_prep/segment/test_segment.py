# SPDX-License-Identifier: Apache-2.0
"""Networks for masks: refused by name where their files are not, and heard where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatar3d import assets
from avatar3d.choose import choose, names
from avatar3d.errors import InputError
from avatar3d.recipes._masks import MaskChoice

ROOM = "avatar3d.data_prep.segment"


def test_each_is_refused_without_its_file(tmp_path: Path) -> None:
    for name in names(ROOM):
        for file in (None, tmp_path / "nothing.tflite"):
            with pytest.raises(InputError, match="no such file"):
                choose(ROOM, name)(file)


def test_without_its_file_masks_come_from_geometry_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object) -> Path:
        raise InputError("cannot be fetched", "go online")

    monkeypatch.setattr(assets, "find", nowhere)
    for name in ("auto", "geometry"):
        with MaskChoice(name).loaded() as network:
            assert network is None
        with pytest.raises(InputError, match="take no file"), MaskChoice(name, Path("x.tflite")).loaded():
            pass
    with pytest.raises(InputError, match="fetched"), MaskChoice("selfie").loaded():
        pass


def test_another_file_is_no_selfie_model(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    file = tmp_path / "other.tflite"
    file.write_bytes(b"something else altogether")
    with pytest.raises(InputError, match="not a selfie"):
        choose(ROOM, "selfie")(file)


def test_the_selfie_model_sees_nobody_in_an_empty_room() -> None:
    pytest.importorskip("mediapipe")
    try:
        file = assets.find(assets.SELFIE)
    except InputError as error:
        pytest.skip(str(error))
    with MaskChoice("selfie", file).loaded() as network:
        assert network is not None
        chance = network.chance(np.full((200, 160, 3), 120, np.uint8))
    assert chance.shape == (200, 160)
    assert chance.min() >= 0 and chance.max() <= 1 and chance.mean() < 0.2


def test_a_parser_of_19_classes_is_heard(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    # class 0 says "dark", the others nothing: a stand-in of the same interface
    weight = np.zeros((19, 3, 1, 1), np.float32)
    weight[0] = -20.0
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["picture", "weight"], ["classes"])],
        "parser",
        [onnx.helper.make_tensor_value_info("picture", 1, [1, 3, 512, 512])],
        [onnx.helper.make_tensor_value_info("classes", 1, [1, 19, 512, 512])],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    file = tmp_path / "parser.onnx"
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    file.write_bytes(model.SerializeToString())
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 32:] = 255
    chance = choose(ROOM, "parser")(file)(picture)
    assert chance.shape == (512, 512)
    assert chance[:, :200].max() < 0.01 and chance[:, 300:].min() > 0.99


def test_a_network_of_ones_own_is_closed_when_it_has_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package_of_mine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "segmenter.py").write_text(
        "__all__ = ['Mine']\n\nclass Mine:\n    closed = 0\n\n    def __init__(self, file):\n        pass\n\n"
        "    def __call__(self, picture):\n        return picture[..., 0] / 255\n\n"
        "    def close(self):\n        Mine.closed += 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with MaskChoice("package_of_mine.segmenter").loaded() as network:
        assert network is not None and network.key.startswith("package_of_mine.segmenter")
        assert network.chance(np.full((2, 2, 3), 255, np.uint8)).min() == 1
        assert type(network.chance).closed == 0
    assert type(network.chance).closed == 1
