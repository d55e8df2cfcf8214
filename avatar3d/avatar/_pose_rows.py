# SPDX-License-Identifier: Apache-2.0
"""Small corrections of every training frame's head and body pose, each row with an Adam of its own.

A frame is drawn only a few times in a training, so a shared optimiser would never get anywhere with its row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

_RATE = (1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 4e-3) * 2  # rad, rad, rad, u, u, u: depth shows least
_BETAS = (0.8, 0.95)
_NEIGHBOUR_PULL = 0.3  # of a body towards the mean of the frames before and after: a body moves slowly
_HEAD_DECAY = 0.995  # per visit: the tracker's head pose is good


class PoseRows:
    """`begin` a step on a frame, draw with `row`, then `update` from its gradient."""

    def __init__(self, frames: int, cuts: Sequence[int]) -> None:
        self.values = torch.zeros(frames, 12)  # head: rotation vector, translation; body: likewise
        self.first, self.second = torch.zeros(frames, 12), torch.zeros(frames, 12)
        self.visits = torch.zeros(frames)
        self.rate = np.array(_RATE, np.float32)
        self.edges = {0, frames, *cuts}
        self.frame = 0
        self.row = self.values[0]

    def begin(self, frame: int) -> None:
        self.frame = frame
        self.row = self.values[frame].clone().requires_grad_()

    def update(self, decay: float) -> None:
        """One Adam step of the current row at `decay` times the starting rate."""
        i, grad = self.frame, self.row.grad
        if grad is None:
            return
        # on twelve numbers numpy is several times quicker than torch; the arrays share the tensors' memory
        values, pull = self.values.numpy(), grad.numpy()
        first, second = self.first.numpy()[i], self.second.numpy()[i]
        self.visits[i] += 1
        visits = int(self.visits[i])
        first += (1 - _BETAS[0]) * (pull - first)
        second += (1 - _BETAS[1]) * (pull * pull - second)
        mean = first / (1 - _BETAS[0] ** visits)
        size = np.sqrt(second / (1 - _BETAS[1] ** visits)) + 1e-12
        values[i] -= decay * self.rate * mean / size
        values[i, :6] *= _HEAD_DECAY
        if i not in self.edges and i + 1 not in self.edges:
            body = values[:, 6:]
            body[i] += _NEIGHBOUR_PULL * ((body[i - 1] + body[i + 1]) / 2 - body[i])

    def forget_heads(self) -> None:
        """Takes back the corrections of the head: its poses have been measured anew."""
        for state in (self.values, self.first, self.second):
            state[:, :6] = 0

    def snapshot(self) -> dict[str, Tensor]:
        return {"values": self.values, "first": self.first, "second": self.second, "visits": self.visits}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self.snapshot().items():
            tensor.copy_(tensors[name])
