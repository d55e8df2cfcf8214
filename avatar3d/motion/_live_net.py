# SPDX-License-Identifier: Apache-2.0
"""The temporal convolution networks a few rows at a time: every layer keeps what its next rows look back at.

Numpy, since a row is so little work that calling torch would cost more than the work.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import erf

from avatar3d.motion._tcn_net import TcnNet

_TAPS = 3


class LiveNet:
    """The members' mean, as `TcnNet.say` of all rows gives it, of a network whose shape says how far it looks ahead.

    Each row is computed once. Members are apart until the last layer: hidden values are [M,T,C].
    """

    def __init__(self, net: TcnNet) -> None:
        shape = net.shape
        part = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
        members, channels, outputs = shape.members, shape.channels, shape.expressions
        self._mean, self._scale = part["feature_mean"], part["feature_scale"]
        linear = part["linear"].reshape(members, outputs, shape.features, -1).mean(0)
        self._linear = linear.reshape(outputs, -1).T
        self._bias = sum(part[name].reshape(members, outputs).mean(0) for name in ("linear_bias", "leave.bias"))
        self._enter = _Conv(part["enter.weight"], part["enter.bias"], members)
        self._blocks = [
            _Conv(part[f"blocks.{index}.weight"], part[f"blocks.{index}.bias"], members)
            for index in range(len(shape.dilations))
        ]
        self._leave = part["leave.weight"].reshape(members, outputs, channels).transpose(0, 2, 1) / members
        self._dilations = shape.dilations
        self._before, self._ahead = shape.linear_pads
        self._enter_first = self._before - shape.enter_pads[0]
        self._columns = np.zeros((self._before, shape.features), np.float32)  # normalised rows; before the first zeros
        self._hidden = [np.zeros((members, 2 * step, channels), np.float32) for step in shape.dilations]

    def push(self, rows: np.ndarray) -> np.ndarray:
        """Expressions [T,K] that these feature rows [S,D] complete."""
        return self._said((rows - self._mean) / self._scale)

    def close(self) -> np.ndarray:
        """Expressions that were still to come: after the last row there are zeros."""
        return self._said(np.zeros((self._ahead, len(self._mean)), np.float32))

    def _said(self, fresh: np.ndarray) -> np.ndarray:
        columns = np.concatenate([self._columns, fresh])
        taps = self._before + 1 + self._ahead
        self._columns = columns[max(len(columns) - taps + 1, 0) :]
        if (rows := len(columns) - taps + 1) < 1:
            return np.zeros((0, len(self._bias)), np.float32)
        hidden = gelu(self._enter(columns[None, self._enter_first : self._enter_first + rows + _TAPS - 1], 1))
        for index, (block, step) in enumerate(zip(self._blocks, self._dilations, strict=True)):
            known = np.concatenate([self._hidden[index], hidden], axis=1)
            self._hidden[index] = known[:, -2 * step :]
            hidden = hidden + gelu(block(known, step))
        near = sliding_window_view(columns, taps, axis=0).reshape(rows, -1)
        said: np.ndarray = near @ self._linear + (hidden @ self._leave).sum(0) + self._bias
        return said


class _Conv:
    """A convolution of three taps, in `members` groups or over one input for all of them."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray, members: int) -> None:
        apart = weight.reshape(members, len(weight) // members, weight.shape[1], _TAPS)  # [M,C,I,taps]
        self._weight = apart.transpose(0, 3, 2, 1).reshape(members, -1, apart.shape[1])
        self._bias = bias.reshape(members, 1, -1)

    def __call__(self, values: np.ndarray, step: int) -> np.ndarray:
        """[M,T,C] of values [M or 1,T+2*step,I]."""
        rows = values.shape[1] - (_TAPS - 1) * step
        near = np.concatenate([values[:, tap * step : tap * step + rows] for tap in range(_TAPS)], axis=2)
        made: np.ndarray = near @ self._weight + self._bias
        return made


def gelu(values: np.ndarray) -> np.ndarray:
    """Gaussian error linear unit (Hendrycks and Gimpel, 2016), as torch's default computes it."""
    half = np.float32(0.5)
    return half * values * (1 + erf(values * np.sqrt(half)))
