# SPDX-License-Identifier: Apache-2.0
"""The network behind `tcn`: several independent stacks of dilated convolutions that share nothing but their input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avatar3d.motion._ridge import Moments

_ROWS_AT_ONCE = 1_500


@dataclass(frozen=True)
class TcnShape:
    """The shape of the network."""

    features: int  # numbers per row that come in
    expressions: int  # numbers per row that go out
    members: int = 5
    schools: int = 1  # equal groups of members that learn from other versions of the sound: see `_schools`
    channels: int = 32  # per member
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)
    dropout: float = 0.3
    contexts: tuple[int, ...] = (1, 2, 4, 8)  # rows before and after that each of the linear maps sees
    ahead: int | None = None  # rows after it that a prediction sees, 0 to 2; None: as many as before it

    @property
    def before(self) -> int:
        """Rows before its frame that a prediction sees."""
        return max(sum(pads[0] for pads in (self.enter_pads, *self.block_pads)), *self.contexts)

    @property
    def after(self) -> int:
        """Rows after its frame that a prediction sees."""
        return self.before if self.ahead is None else self.ahead

    @property
    def enter_pads(self) -> tuple[int, int]:
        """Zeros before and after what the first convolution takes: it alone looks ahead, where little is allowed."""
        return (1, 1) if self.ahead is None else (2 - self.ahead, self.ahead)

    @property
    def block_pads(self) -> tuple[tuple[int, int], ...]:
        """The same of each dilated convolution."""
        return tuple((step, step) if self.ahead is None else (2 * step, 0) for step in self.dilations)

    @property
    def linear_pads(self) -> tuple[int, int]:
        """The same of the linear maps."""
        longest = max(self.contexts)
        return longest, longest if self.ahead is None else min(longest, self.ahead)


class TcnNet(nn.Module):
    """Feature rows [B,T,D] to the expressions [B,T,M,K] of every member (after Bai et al., 2018).

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
        self.enter = nn.Conv1d(shape.features, width, 3)
        self.blocks = nn.ModuleList(
            nn.Conv1d(width, width, 3, dilation=step, groups=members) for step in shape.dilations
        )
        self.leave = nn.Conv1d(width, members * shape.expressions, 1, groups=members)
        nn.init.zeros_(self.leave.weight)
        outputs, taps = members * shape.expressions, sum(shape.linear_pads) + 1
        self.register_buffer("linear", torch.zeros(outputs, shape.features, taps))
        self.register_buffer("linear_bias", torch.zeros(outputs))
        self.register_buffer("feature_mean", torch.zeros(shape.features))
        self.register_buffer("feature_scale", torch.ones(shape.features))

    def normalise_as(self, rows: np.ndarray) -> None:
        """Takes mean and spread of the features from rows [T,D]."""
        self.feature_mean.copy_(torch.from_numpy(rows.mean(0)))
        # a feature that hardly moves must not be blown up
        self.feature_scale.copy_(torch.from_numpy(rows.std(0) + 0.1))

    def solve_linear(self, takes: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        """Solves every member's linear part by ridge regression.

        Args:
            takes: of each recording rows [T,D] of features, normalised; codes [T,K]; and heard [T,M] bool, the rows
                each member may learn from. Members that share no row with others are solved apart.
        """
        shape = self.shape
        weights, biases = [], []
        for school in np.split(np.arange(shape.members), shape.schools):
            every, *missed = (
                Moments(shape.features, shape.expressions, *shape.linear_pads) for _ in range(len(school) + 1)
            )
            for rows, codes, heard in takes:
                known = np.logical_or.reduce(heard[:, school], axis=1)
                every.add(rows, codes, known)
                for sums, member in zip(missed, school, strict=True):
                    sums.add(rows, codes, known & ~heard[:, member])
            maps = [every.without(sums).mean_ridge(shape.contexts) for sums in missed]
            weights += [weight for weight, _ in maps]
            biases += [bias for _, bias in maps]
        self.linear.copy_(torch.from_numpy(np.concatenate(weights)))
        self.linear_bias.copy_(torch.from_numpy(np.concatenate(biases)))

    def normalised(self, rows: Tensor) -> Tensor:
        """Feature rows [...,D] about zero mean and unit spread, as `forward` takes them."""
        return (rows - self.feature_mean) / self.feature_scale

    def forward(self, rows: Tensor) -> Tensor:
        shape, dropout = self.shape, self.shape.dropout
        columns = rows.transpose(1, 2)
        hidden = functional.gelu(self.enter(functional.pad(columns, shape.enter_pads)))
        for block, pads in zip(self.blocks, shape.block_pads, strict=True):
            fresh = functional.gelu(block(functional.pad(hidden, pads)))
            hidden = hidden + functional.dropout(fresh, dropout, self.training)
        out = self.leave(functional.dropout(hidden, dropout, self.training))
        out = out + functional.conv1d(functional.pad(columns, shape.linear_pads), self.linear, self.linear_bias)
        return out.unflatten(1, (shape.members, shape.expressions)).permute(0, 3, 1, 2)

    @torch.no_grad()
    def say(self, rows: np.ndarray) -> np.ndarray:
        """Expressions [T,M,K] for feature rows [T,D] of any length, worked through in pieces."""
        training = self.training
        self.eval()
        said = np.empty((len(rows), self.shape.members, self.shape.expressions), np.float32)
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            end = min(begin + _ROWS_AT_ONCE, len(rows))
            first = max(begin - self.shape.before, 0)
            piece = self.normalised(torch.from_numpy(rows[first : end + self.shape.after]))[None]
            said[begin:end] = self(piece)[0, begin - first : end - first].numpy()
        self.train(training)
        return said
