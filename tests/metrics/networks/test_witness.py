# SPDX-License-Identifier: Apache-2.0
"""The user's networks, with stand-ins of the same interface."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from openface_stand_in import stand_in

from avatar3d.errors import InputError
from avatar3d.face.groups import LEFT_IRIS, RIGHT_IRIS
from avatar3d.metrics.networks import NetworkFigures, Witness
from avatar3d.metrics.networks.faces import ArcFace
from avatar3d.metrics.networks.syncnet import _towers
from avatar3d.records import SAMPLE_RATE, Sound

FRAMES, SIZE = 9, 96


@pytest.fixture
def points() -> np.ndarray:
    """[T,478,3] a face that stands still."""
    rng = np.random.default_rng(0)
    face = rng.uniform(30, 66, (478, 3)).astype(np.float32)
    face[[RIGHT_IRIS, LEFT_IRIS, 4, 61, 291], :2] = [[40, 40], [56, 40], [48, 49], [42, 58], [55, 58]]
    return np.repeat(face[None], FRAMES, 0)


def _onnx(path: Path, side: int) -> None:
    """A network that gives the mean colour of its picture."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["m"]), helper.make_node("Flatten", ["m"], ["y"])]
    given = helper.make_tensor_value_info("x", kind, [1, 3, side, side])
    made = helper.make_tensor_value_info("y", kind, [1, 3])
    model = helper.make_model(
        helper.make_graph(nodes, "mean", [given], [made]), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    onnx.save(model, str(path))


def _frame(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((SIZE, SIZE, 3), colour, np.uint8)


def _shown(witness: Witness, made: tuple[int, int, int]) -> dict[str, NetworkFigures]:
    for index in range(FRAMES):
        witness.look(index, _frame((200, 40, 40 + index)), {"head/self_tracked": _frame((*made[:2], made[2] + index))})
    return witness.figures()


def test_faces_are_compared_by_their_networks(tmp_path: Path, points: np.ndarray) -> None:
    _onnx(tmp_path / "inception.onnx", 299)
    _onnx(tmp_path / "arcface.onnx", 112)
    with Witness(tmp_path, points, None) as witness:
        same = _shown(witness, (200, 40, 40))
    found = same["head/self_tracked"]
    assert found.fid == pytest.approx(0, abs=1e-9) and found.csim == pytest.approx(1)
    assert found.lse_d is None and found.aue_upper is None
    assert same["real"] == NetworkFigures()
    assert any(note.startswith("no LSE-C and LSE-D") for note in witness.notes)
    with Witness(tmp_path, points, None) as witness:
        other = _shown(witness, (40, 200, 40))["head/self_tracked"]
    assert other.fid == pytest.approx(2 * (160 / 127.5) ** 2, rel=1e-4) and other.csim is not None and other.csim < 0.5


def test_arcface_sees_the_five_points_where_it_expects_them(points: np.ndarray) -> None:
    picture = _frame((0, 0, 0))
    x, y = np.mgrid[0:SIZE, 0:SIZE][::-1]
    for at, colour in zip(points[0, [RIGHT_IRIS, LEFT_IRIS]], ((255, 0, 0), (0, 255, 0)), strict=True):
        picture[np.hypot(x + 0.5 - at[0], y + 0.5 - at[1]) < 2.5] = colour
    seen = ArcFace.face(picture, points[0]).astype(float)
    for channel, wanted in ((0, (38.3, 51.7)), (1, (73.5, 51.5))):
        rows, columns = np.mgrid[0:112, 0:112] + 0.5
        weight = seen[..., channel] / seen[..., channel].sum()
        assert ((weight * columns).sum(), (weight * rows).sum()) == pytest.approx(wanted, abs=3)


def test_lips_are_held_against_the_sound(tmp_path: Path, points: np.ndarray) -> None:
    torch.manual_seed(0)
    torch.save(_towers().state_dict(), tmp_path / "syncnet_v2.model")
    sound = Sound(
        np.random.default_rng(0).uniform(-0.1, 0.1, FRAMES * SAMPLE_RATE // 25).astype(np.float32), SAMPLE_RATE
    )
    with Witness(tmp_path, points, sound) as witness:
        found = _shown(witness, (40, 200, 40))
    for name in ("real", "head/self_tracked"):
        assert found[name].lse_d is not None and found[name].lse_d > 0
        assert found[name].lse_c is not None and found[name].lse_offset_frames is not None
    with Witness(tmp_path, points, None) as witness:
        assert _shown(witness, (40, 200, 40))["real"].lse_d is None, "there is no sound"


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for OpenFace is a script with a #! line")
def test_action_units_come_from_the_users_program(tmp_path: Path, points: np.ndarray) -> None:
    program = tmp_path / "FeatureExtraction"
    stand_in(program)
    with Witness(tmp_path, points, None) as witness:
        found = _shown(witness, (40, 200, 40))["head/self_tracked"]
    assert (found.aue_upper, found.aue_lower) == (8.0, 12.0)
    program.write_text(f"#!{sys.executable}\nraise SystemExit(3)\n")
    with Witness(tmp_path, points, None) as witness, pytest.raises(InputError, match="exit code 3"):
        _shown(witness, (40, 200, 40))


def test_what_is_missing_is_said(tmp_path: Path, points: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"syncnet_v2\.model"):
        Witness(tmp_path, points, None)
    (tmp_path / "arcface.onnx").write_bytes(b"something else")
    pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match="cannot be read as ONNX"):
        Witness(tmp_path, points, None)
    _onnx(tmp_path / "arcface.onnx", 100)
    with pytest.raises(InputError, match=r"expected \[1, 3, 112, 112\]"):
        Witness(tmp_path, points, None)
    _onnx(tmp_path / "arcface.onnx", 112)
    with Witness(tmp_path, None, None) as witness:
        assert _shown(witness, (1, 2, 3)) == {} and any("no face" in note for note in witness.notes)
