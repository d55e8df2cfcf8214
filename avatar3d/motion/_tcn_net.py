# SPDX-License-Identifier: Apache-2.0
"""The network behind `tcn`: several independent stacks of dilated convolutions that share nothing but their input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avatar3d.motion._ridge import mean_ridge

_ROWS_AT_ONCE = 1_500


@dataclass(frozen=True)
class TcnShape:
    """The shape of the network."""

    features: int  # numbers per row that come in
    expressions: int  # numbers per row that go out
    members: int = 5
    channels: int = 32  # per member
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)
    dropout: float = 0.3
    contexts: tuple[int, ...] = (1, 2, 4, 8)  # rows before and after that each of the linear maps sees

    @property
    def reach(self) -> int:
        """Rows before and after that one prediction sees."""
        return max(1 + sum(self.dilations), *self.contexts)


class TcnNet(nn.Module):
    """Feature rows [B,T,D] to the expressions [B,T,M,K] of every member (Bai et al., 2018, not causal here).

    A member is the mean of linear maps of the rows about a frame, short and long, which are solved for; plus dilated
    convolutions, which are trained and begin at nothing: a training cut short still leaves the linear model.
    """

    feature_mean: Tensor
    feature_scale: Tensor
    linear: Tensor
    linear_bias: Tensor

    def __init__(self, shape: TcnShape) -> None:
        super().__init__()
        self.shape = shape
        members, width = shape.members, shape.members * shape.channels
        self.enter = nn.Conv1d(shape.features, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Conv1d(width, width, 3, dilation=step, padding=step, groups=members) for step in shape.dilations
        )
        self.leave = nn.Conv1d(width, members * shape.expressions, 1, groups=members)
        nn.init.zeros_(self.leave.weight)
        outputs, taps = members * shape.expressions, 2 * max(shape.contexts) + 1
        self.register_buffer("linear", torch.zeros(outputs, shape.features, taps))
        self.register_buffer("linear_bias", torch.zeros(outputs))
        self.register_buffer("feature_mean", torch.zeros(shape.features))
        self.register_buffer("feature_scale", torch.ones(shape.features))

    def normalise_as(self, rows: np.ndarray) -> None:
        """Takes mean and spread of the features from rows [T,D]."""
        self.feature_mean.copy_(torch.from_numpy(rows.mean(0)))
        # a feature that hardly moves must not be blown up
        self.feature_scale.copy_(torch.from_numpy(rows.std(0) + 0.1))

    def solve_linear(self, rows: np.ndarray, codes: np.ndarray, heard: np.ndarray) -> None:
        """Solves every member's linear part by ridge regression.

        Args:
            rows: [T,D] features, not normalised; codes [T,K].
            heard: [T,M] bool, the rows each member may learn from.
        """
        scaled = self.normalised(torch.from_numpy(rows)).numpy()
        maps = [mean_ridge(scaled, codes, heard[:, member], self.shape.contexts) for member in range(heard.shape[1])]
        self.linear.copy_(torch.from_numpy(np.concatenate([weights for weights, _ in maps])))
        self.linear_bias.copy_(torch.from_numpy(np.concatenate([bias for _, bias in maps])))

    def normalised(self, rows: Tensor) -> Tensor:
        """Feature rows [...,D] about zero mean and unit spread, as `forward` takes them."""
        return (rows - self.feature_mean) / self.feature_scale

    def forward(self, rows: Tensor) -> Tensor:
        dropout = self.shape.dropout
        columns = rows.transpose(1, 2)
        hidden = functional.gelu(self.enter(columns))
        for block in self.blocks:
            hidden = hidden + functional.dropout(functional.gelu(block(hidden)), dropout, self.training)
        out = self.leave(functional.dropout(hidden, dropout, self.training))
        out = out + functional.conv1d(columns, self.linear, self.linear_bias, padding=max(self.shape.contexts))
        return out.unflatten(1, (self.shape.members, self.shape.expressions)).permute(0, 3, 1, 2)

    @torch.no_grad()
    def say(self, rows: np.ndarray) -> np.ndarray:
        """Expressions [T,M,K] for feature rows [T,D] of any length, worked through in pieces."""
        training = self.training
        self.eval()
        said = np.empty((len(rows), self.shape.members, self.shape.expressions), np.float32)
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            end = min(begin + _ROWS_AT_ONCE, len(rows))
            first = max(begin - self.shape.reach, 0)
            piece = self.normalised(torch.from_numpy(rows[first : end + self.shape.reach]))[None]
            said[begin:end] = self(piece)[0, begin - first : end - first].numpy()
        self.train(training)
        return said
