# SPDX-License-Identifier: Apache-2.0
"""The temporal convolution networks as one ONNX graph: from an audio feature's rows to the expressions of a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from avatar3d.motion._manner import Manner
from avatar3d.motion._tcn_net import TcnNet
from avatar3d.onnx_graph import Graph
from avatar3d.records import FPS

_VERSION = 1
_OUT = "expression"
_ABOUT = "avatar3d"  # the key of what a player must know


def written(net: TcnNet, manner: Manner, feature: Mapping[str, Any]) -> bytes:
    """An ONNX file: "rows" [1,T,D] as the feature gives them, to "expression" [1,T,K], kept to the person's range.

    That is the members' mean times the gain; neither neighbours nor the gate of silence are in it. The metadata
    "avatar3d" is JSON: what the feature says of itself, `width`, `reach_rows` and `look_ahead_rows` (before and after a
    row, that its expression sees), `causal`, `fps`, `components`, and of the person `closed`, `closing`, `usual_lids`
    and the habit of blinking, which see `Manner`.
    """
    shape, graph = net.shape, Graph("audio2motion")
    part = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    centred = graph.node("Sub", "rows", graph.constant(part["feature_mean"]))
    scaled = graph.node("Div", centred, graph.constant(part["feature_scale"]))
    columns = graph.node("Transpose", scaled, perm=(0, 2, 1))
    entered = _conv(graph, columns, part["enter.weight"], part["enter.bias"], shape.enter_pads)
    hidden = graph.node("Gelu", entered)
    for index, (step, pads) in enumerate(zip(shape.dilations, shape.block_pads, strict=True)):
        weight, bias = part[f"blocks.{index}.weight"], part[f"blocks.{index}.bias"]
        turned = _conv(graph, hidden, weight, bias, pads, dilations=(step,), group=shape.members)
        hidden = graph.node("Add", hidden, graph.node("Gelu", turned))
    # the mean of the members is linear in what each of them says, and so is the gain
    of_members = part["leave.weight"].reshape(shape.members, shape.expressions, -1, 1)
    leave = manner.gain / shape.members * np.concatenate(list(of_members), axis=1)
    bias, linear, linear_bias = (
        manner.gain * part[name].reshape(shape.members, shape.expressions, *part[name].shape[1:]).mean(0)
        for name in ("leave.bias", "linear", "linear_bias")
    )
    learned = _conv(graph, hidden, leave, bias, (0, 0))
    said = graph.node("Add", learned, _conv(graph, columns, linear, linear_bias, shape.linear_pads))
    rows = graph.node("Transpose", said, perm=(0, 2, 1))
    graph.result("Min", graph.node("Max", rows, graph.constant(manner.low)), graph.constant(manner.high), name=_OUT)
    described = {
        "version": _VERSION,
        **feature,
        "width": shape.features,
        "reach_rows": shape.before,
        "look_ahead_rows": shape.after,
        "causal": shape.ahead is not None,
        "fps": int(FPS),
        "components": shape.expressions,
        "closed": manner.closed.tolist(),
        "closing": manner.closing.tolist(),
        "usual_lids": manner.usual_lids,
        "blink_log_interval": manner.habit.log_interval,
        "blink_log_spread": manner.habit.log_spread,
    }
    given, made = {"rows": (1, "T", shape.features)}, {_OUT: (1, "T", shape.expressions)}
    return graph.written(given, made, {_ABOUT: json.dumps(described)})


def _conv(
    graph: Graph, columns: str, weight: np.ndarray, bias: np.ndarray, pads: tuple[int, int], **others: int | tuple[int]
) -> str:
    return graph.node("Conv", columns, graph.constant(weight), graph.constant(bias), pads=pads, **others)
