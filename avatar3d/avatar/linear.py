# SPDX-License-Identifier: Apache-2.0
"""The linear head: one set of Gaussians whose positions, rotations and colours are linear in a frame's codes.

For codes psi [K] Gaussian i has mean mu_i + sum_k psi_k dmu_ki, rotation exp(sum_k psi_k dr_ki) q_i and colour
c_i + sum_k psi_k dc_ki (as in RGBAvatar, Li et al., CVPR 2025, but with the codes given by a tracker).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from avatar3d.avatar._codes import EXTRA_CODES
from avatar3d.avatar._driven import CARRIED, DrivenHead
from avatar3d.avatar._driving import Start
from avatar3d.avatar._fit_settings import FitSettings
from avatar3d.avatar._linear_fit import LinearFit
from avatar3d.avatar._scatter import Counts
from avatar3d.ops.blend import blend
from avatar3d.records import AtRest, Stage

__all__ = ["LinearHead"]

_SHAPE = {"picture": 1.0, "alpha": 0.2, "solid": 0.6}


@dataclass(frozen=True)
class LinearSettings:
    """How large a linear head is, and how it is trained."""

    counts: Counts = field(default_factory=Counts)
    expression: int = 16  # leading components of the tracker's basis
    fit: FitSettings = field(default_factory=FitSettings)


class LinearHead(DrivenHead):
    """A drivable head (contracts.Head); beside what every head has, `parts` holds tables [K,N,9]."""

    settings_kind: ClassVar = LinearSettings
    fit_kind: ClassVar = LinearFit
    # tables move once sizes and opacities are roughly right, and detail comes last
    stages: ClassVar = (
        Stage("start", 0.02, _SHAPE, {"tables": 0.0}),
        Stage("shape", 0.4, _SHAPE),
        Stage("detail", 0.75, _SHAPE | {"perceptual": 0.2}),
        Stage("sharpness", 1.0, _SHAPE | {"perceptual": 0.2, "sharpness": 1.0}),
    )

    @classmethod
    def own_start(cls, start: Start, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG003
        """Tables that move the face as the tracker's basis does."""
        points = start.points
        tables = torch.zeros(start.expression + EXTRA_CODES, len(points), CARRIED)
        tables[: start.expression, :, :3] = torch.from_numpy(points.tables)
        return {"tables": tables}

    def deform(self, codes: Tensor) -> Tensor:
        """Offsets [N,9] at codes [K]."""
        return blend(codes, self.parts["tables"])

    def at_rest(self) -> AtRest:
        """The head as renderers pose it themselves; a copy, which later training does not change."""
        parts = self.parts
        still = (
            parts["tables"].abs().amax((0, 2)) == 0 if len(parts["tables"]) else torch.ones(len(self), dtype=torch.bool)
        )
        moving = int((~still).nonzero().max()) + 1 if not still.all() else 0
        return AtRest(
            parts["means"].clone(),
            parts["quats"].clone(),
            parts["log_scales"].exp(),
            parts["opacity_logits"].sigmoid(),
            parts["colours"].clone(),
            parts["skin_logits"].clone(),
            parts["tables"][:, :moving].clone(memory_format=torch.contiguous_format),
        )

    def keep(self, rows: Tensor) -> Self:
        """The head with only the Gaussians `rows` [M]."""
        kept = super().keep(rows)
        kept.parts["tables"] = self.parts["tables"][:, rows]
        return kept
