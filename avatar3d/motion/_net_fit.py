# SPDX-License-Identifier: Apache-2.0
"""What trainings of one small network have in common: nothing but the network changes, and there is nothing to see."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from avatar3d.records import Stage


class NetFit:
    """The plain half of a `Fittable`."""

    net: nn.Module

    def after_step(self, stage: Stage, progress: float, step: int, optimiser: torch.optim.Optimizer) -> None:
        pass

    def snapshot(self) -> dict[str, Tensor]:
        return dict(self.net.state_dict())

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.net.load_state_dict(dict(tensors))

    def pictures(self) -> dict[str, Tensor]:
        return {}
