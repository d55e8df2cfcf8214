# SPDX-License-Identifier: Apache-2.0
"""Trains a rigged head: what `PictureFit` does, the mesh, and limits to how far Gaussians leave their triangles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from avatar3d.avatar._mesh import Frames
from avatar3d.avatar._picture_fit import PictureFit
from avatar3d.density import Relocation, keep_last
from avatar3d.records import Gaussians, Stage

if TYPE_CHECKING:
    from avatar3d.avatar.rigged import RiggedHead

# in sizes of the triangle (GaussianAvatars): how far from its centre, and how large, a Gaussian may be for nothing
_NEAR, _SMALL = 1.0, 0.6


class RiggedFit(PictureFit["RiggedHead"]):
    """For heads whose parts hold a mesh, see `rigged.RiggedHead`."""

    rates: ClassVar = {**PictureFit.rates, "vertex_tables": 1e-4}
    head: RiggedHead
    _rest: Frames | None = None  # of the triangles, within a step

    def losses(self, stage: Stage, progress: float, step: int, seeds: Sequence[int]) -> dict[str, Tensor]:
        self._rest = self.head.rest()
        try:
            return super().losses(stage, progress, step, seeds)
        finally:
            self._rest = None

    def offsets(self, codes: Tensor) -> Tensor:
        return self.head.deform(codes) if self._rest is None else self.head.deformed(codes, self._rest)

    def own_terms(self, stage: Stage, gaussians: Gaussians) -> dict[str, Tensor]:  # noqa: ARG002
        """strayed: how far the Gaussians of the skin have gone from their triangles; swollen: how large they are."""
        parts, rest = self.head.parts, self._rest or self.head.rest()
        triangle, follow = parts["triangle"], parts["follow"]
        size = rest.sizes[triangle]
        away = (parts["means"] - rest.origins[triangle]).norm(dim=1) / size
        extent = parts["log_scales"].exp() / size[:, None]
        return {
            "strayed": (follow * (away - _NEAR).relu()).mean(),
            "swollen": (follow[:, None] * (extent - _SMALL).relu()).mean(),
        }

    def own_plan(self, plan: Relocation) -> Relocation:
        return keep_last(plan, self.head.parts["triangle"])
