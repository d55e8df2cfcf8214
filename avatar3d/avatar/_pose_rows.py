# SPDX-License-Identifier: Apache-2.0
"""Small corrections of every training frame's head and body pose, each row with an Adam of its own.

A frame is drawn only a few times in a training, so a shared optimiser would never get anywhere with its row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from avatar3d import ranks

_RATE = (1e-3, 1e-3, 1e-3, 1e-3, 1e-3, 4e-3) * 2  # rad, rad, rad, u, u, u: depth shows least
_BETAS = (0.8, 0.95)
_NEIGHBOUR_PULL = 0.3  # of a body towards the mean of the frames before and after: a body moves slowly
_HEAD_DECAY = 0.995  # per visit: the tracker's head pose is good


class PoseRows:
    """`begin` a step on its frames, draw with `rows`, then `update` from their gradients.

    Under several processes each draws other frames, and all rows are updated in all of them.
    """

    def __init__(self, frames: int, cuts: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.values = torch.zeros(frames, 12, device=device)  # head: rotation vector, translation; body: likewise
        self.first, self.second = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self.visits = torch.zeros(frames, 1, device=device)
        self.rate = torch.tensor(_RATE, device=device)
        self.edges = {0, frames, *cuts}
        self.frames: list[int] = []
        self.rows = self.values[:0]

    def begin(self, frames: Sequence[int]) -> None:
        self.frames = list(frames)
        self.rows = self.values[self.frames].requires_grad_()

    def update(self, decay: float) -> None:
        """One Adam step of the current rows at `decay` times the starting rate."""
        if self.rows.grad is None:
            return
        drawn = ranks.gathered(torch.tensor(self.frames)).tolist()
        frames = sorted(set(drawn))
        pull = ranks.gathered(self.rows.grad) / ranks.count()
        if len(frames) < len(drawn):
            place = torch.tensor([frames.index(frame) for frame in drawn], device=pull.device)
            pull = pull.new_zeros(len(frames), 12).index_add_(0, place, pull)
        inner = [frame for frame in frames if frame not in self.edges and frame + 1 not in self.edges]
        state = (self.values, self.first, self.second, self.visits, pull, self.rate)
        rows, between = (torch.tensor(which, device=pull.device, dtype=torch.int64) for which in (frames, inner))
        if self.values.device.type == "cpu":
            # on a few numbers numpy is several times quicker than torch; the arrays share the tensors' memory
            _adam_step([tensor.numpy() for tensor in state], rows.numpy(), between.numpy(), decay)
        else:
            _adam_step(state, rows, between, decay)

    def forget(self, *, heads: bool, bodies: bool) -> None:
        """Takes back corrections: these poses have been measured anew."""
        for state in (self.values, self.first, self.second):
            state[:, : 6 * heads] = 0
            state[:, 12 - 6 * bodies :] = 0

    def snapshot(self) -> dict[str, Tensor]:
        return {"values": self.values, "first": self.first, "second": self.second, "visits": self.visits}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self.snapshot().items():
            tensor.copy_(tensors[name])


def _adam_step(state: Sequence[Any], frames: Any, inner: Any, decay: float) -> None:
    """Of arrays or tensors, in place; bodies of the frames `inner`, which have neighbours, are pulled to them."""
    values, first, second, visits, pull, rate = state
    visits[frames] += 1
    first[frames] += (1 - _BETAS[0]) * (pull - first[frames])
    second[frames] += (1 - _BETAS[1]) * (pull * pull - second[frames])
    mean = first[frames] / (1 - _BETAS[0] ** visits[frames])
    size = (second[frames] / (1 - _BETAS[1] ** visits[frames])) ** 0.5 + 1e-12
    moved = values[frames] - decay * rate * mean / size
    moved[:, :6] *= _HEAD_DECAY
    values[frames] = moved
    body = values[:, 6:]
    body[inner] += _NEIGHBOUR_PULL * ((body[inner - 1] + body[inner + 1]) / 2 - body[inner])
