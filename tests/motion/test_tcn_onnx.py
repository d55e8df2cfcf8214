# SPDX-License-Identifier: Apache-2.0
"""The voice for programs without torch: it says the same, and tells what they must know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_tcn import CODES, track_of

from avatar3d.audio.mel import Mel
from avatar3d.audio.mel_live import MelLive
from avatar3d.motion._manner import Manner
from avatar3d.motion._tcn_net import TcnNet, TcnShape
from avatar3d.motion.tcn import Tcn
from avatar3d.motion.tcn_live import TcnLive
from avatar3d.onnx import opened
from avatar3d.records import SAMPLE_RATE, Sound


def untrained(part: type[Tcn], listen: Mel) -> Tcn:
    """A voice of random weights, all of which count."""
    torch.manual_seed(0)
    net = TcnNet(TcnShape(listen.width, CODES, members=3, channels=8, ahead=part.ahead)).eval()
    torch.nn.init.normal_(net.leave.weight, std=0.1)
    for name, scale in (("linear", 0.05), ("linear_bias", 0.1), ("feature_mean", 0.3), ("feature_scale", 0.1)):
        getattr(net, name).add_(scale * torch.randn_like(getattr(net, name)))
    codes = np.random.default_rng(0).standard_normal((100, CODES)).astype(np.float32)
    silence = Sound(np.zeros(4 * SAMPLE_RATE, np.float32), SAMPLE_RATE)
    return part(listen, net, Manner.of(track_of(codes), 1.3, silence))


VOICES = [(Tcn, Mel), (TcnLive, MelLive)]


@pytest.mark.parametrize(("part", "listen"), VOICES)
@pytest.mark.parametrize("length", [1, 7, 200])
def test_a_runtime_says_what_the_network_says(part: type[Tcn], listen: type[Mel], length: int, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    voice = untrained(part, listen(16))
    file = tmp_path / "audio2motion.onnx"
    file.write_bytes(voice.onnx() or b"")
    rows = np.random.default_rng(1).standard_normal((length, voice.listen.width)).astype(np.float32)
    (said,) = opened(file, "").run(["expression"], {"rows": rows[None]})
    manner = voice.manner
    wanted = np.clip(manner.gain * voice.net.say(rows).mean(1), manner.low, manner.high)
    np.testing.assert_allclose(said[0], wanted, atol=1e-4)
    at_the_edge = ((wanted == manner.low) | (wanted == manner.high)).mean()
    assert length < 200 or 0.01 < at_the_edge < 0.9  # the range counts, and is not all


@pytest.mark.parametrize(("part", "listen"), VOICES)
def test_the_checker_of_the_format_accepts_it(part: type[Tcn], listen: type[Mel]) -> None:
    onnx = pytest.importorskip("onnx")
    onnx.checker.check_model(onnx.load_from_string(untrained(part, listen(16)).onnx()), full_check=True)


def test_it_tells_a_page_what_it_must_know() -> None:
    onnx = pytest.importorskip("onnx")
    voice = untrained(TcnLive, MelLive())
    (item,) = onnx.load_from_string(voice.onnx()).metadata_props
    told = json.loads(item.value)
    assert item.key == "avatar3d"
    asked = {"version": 1, "feature": "mel", "bands": 32, "width": 67, "reach_rows": 28, "look_ahead_rows": 2}
    assert told.items() >= (asked | {"causal": True, "fps": 25, "components": CODES}).items()
    np.testing.assert_allclose(told["closed"], voice.manner.closed)
    np.testing.assert_allclose(told["closing"], voice.manner.closing)
    usual = json.loads(onnx.load_from_string(untrained(Tcn, Mel()).onnx()).metadata_props[0].value)
    assert not usual["causal"] and usual["reach_rows"] == usual["look_ahead_rows"] == 15


def test_the_window_that_it_tells_is_all_that_a_page_needs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    voice = untrained(TcnLive, MelLive(16))
    file = tmp_path / "audio2motion.onnx"
    file.write_bytes(voice.onnx() or b"")
    session, shape = opened(file, ""), voice.net.shape
    rows = np.random.default_rng(1).standard_normal((1, 90, voice.listen.width)).astype(np.float32)
    (whole,) = session.run(None, {"rows": rows})
    for frame in range(60):
        window = rows[:, max(frame - shape.before, 0) : frame + shape.after + 1]
        (said,) = session.run(None, {"rows": window})
        np.testing.assert_allclose(said[0, -1 - shape.after], whole[0, frame], atol=1e-5)


def test_a_feature_that_no_page_can_compute_makes_none() -> None:
    class Own:
        width, look_ahead_s = 35, 0.0

        def __call__(self, sound: object) -> np.ndarray:
            return np.zeros((0, 35), np.float32)

    voice = untrained(Tcn, Mel(16))
    assert Tcn(Own(), voice.net, voice.manner).onnx() is None
