# SPDX-License-Identifier: Apache-2.0
"""Trains a linear head: what `PictureFit` does, and tables whose gradient is never stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from avatar3d import ranks
from avatar3d.avatar._driven import DrivenHead
from avatar3d.avatar._fit_settings import FitSettings
from avatar3d.avatar._picture_fit import PictureFit
from avatar3d.contracts import Tools
from avatar3d.density import Relocation, Renewal, copy_moments
from avatar3d.ops.blend import adam_low_rank, blend
from avatar3d.records import Capture, Stage, Track

_RATE = 1e-3
# tables are learned in these units, so that one learning rate suits all nine channels
_UNITS = (0.1, 0.1, 0.1, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0)
# colour and rotation tables of what no frame shows shrink by this much at a time: they must not drift, or they are seen
# as coloured specks from another side
_CALM = 0.5


class LinearFit(PictureFit[DrivenHead]):
    """For heads with `tables` [K,N,9] among their parts; `learned["tables"]` are these in units of their own."""

    batches = True

    def __init__(
        self, head: DrivenHead, capture: Capture, track: Track, tools: Tools, settings: FitSettings | None = None
    ) -> None:
        super().__init__(head, capture, track, tools, settings)
        self.units = torch.tensor(_UNITS, device=self.device)
        # the optimiser of `fit` only schedules the tables' rate: their update is made here
        self.learned["tables"] = (head.parts["tables"] / self.units).requires_grad_()
        self.moments = {key: torch.zeros_like(head.parts["tables"]) for key in ("exp_avg", "exp_avg_sq")}
        self._updates = torch.zeros((), dtype=torch.int64)
        self._blended: list[tuple[Tensor, Tensor]] = []  # codes [K] or [B,K], and what is made of them

    def losses(self, stage: Stage, progress: float, step: int, seeds: Sequence[int]) -> dict[str, Tensor]:
        self._blended.clear()
        return super().losses(stage, progress, step, seeds)

    def param_groups(self) -> list[dict[str, Any]]:
        return [*super().param_groups(), {"name": "tables", "params": [self.learned["tables"]], "lr": _RATE}]

    def offsets(self, codes: Tensor) -> Tensor:
        with torch.no_grad():
            blended = blend(codes, self.learned["tables"])
        if torch.is_grad_enabled():
            blended.requires_grad_()
            self._blended.append((codes, blended))
        return blended * self.units

    def own_update(self, step: int, optimiser: torch.optim.Optimizer) -> None:  # noqa: ARG002
        self._update_tables(next(group["lr"] for group in optimiser.param_groups if group["name"] == "tables"))

    def own_calm(self, hidden: Tensor) -> None:
        self.learned["tables"].data[..., 3:] *= (1 - _CALM * hidden)[:, None]

    def own_relocation(self, plan: Relocation) -> None:
        tables = self.learned["tables"].data
        tables.index_copy_(1, plan.dead, tables.index_select(1, plan.source))
        copy_moments(self.moments, plan, axis=1)

    def own_renewal(self, plan: Renewal) -> None:
        for tensor in (self.learned["tables"], *self.moments.values()):
            tensor.data = tensor.data.index_select(1, plan.source)

    def own_state(self) -> dict[str, Tensor]:
        return self.moments | {"updates": self._updates}

    def own_parts(self) -> dict[str, Tensor]:
        return {"tables": self.learned["tables"].detach() * self.units}

    def _update_tables(self, rate: float) -> None:
        drawn = [(codes, blended.grad) for codes, blended in self._blended if blended.grad is not None]
        if not drawn:
            return
        self._updates += 1
        width = self.learned["tables"].shape[1:]
        codes = ranks.gathered(torch.cat([codes.view(-1, len(self.learned["tables"])) for codes, _ in drawn]))
        gradient = ranks.gathered(torch.cat([gradient.view(-1, *width) for _, gradient in drawn])) / ranks.count()
        first, second = self.moments["exp_avg"], self.moments["exp_avg_sq"]
        adam_low_rank(self.learned["tables"].data, first, second, codes, gradient, rate, int(self._updates))
        self.learned["tables"].data[:, self.core.rows] = 0
