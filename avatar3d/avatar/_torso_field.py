# SPDX-License-Identifier: Apache-2.0
"""What stands behind a radiance field: the torso, as a picture that bends (after RAD-NeRF's pseudo-3D torso).

The picture hangs upright in the world, facing the camera that films, as far from it as the head usually is. There it is
carried by the body's pose, as anything rigid would be, and bent further by a small network that sees where three
anchors of the head and of the body stand in the filmed picture (ER-NeRF's anchors: points, not angles). From another
camera it is still that flat picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar3d.avatar._told_mlp import ToldMlp
from avatar3d.ops.hashgrid import HashGrid, hashgrid

ANCHORS = 3
_MARGIN = 0.15  # of the filmed picture's size: so far beyond its edges the field goes on
_BENT = 0.1  # of the picture's size, by an output of one
_PLANES_START = 1e-4
_ALPHA_START = -2.0  # logit
_LAST_START = 0.1
_LINE = ((0, 1),)


@dataclass(frozen=True)
class Torso:
    """The shape of the field; its weights are a dictionary of tensors (see `start`)."""

    told: int = 4 * ANCHORS + 4  # anchors of head and body, across and down, and a frame's own code
    cells: tuple[int, ...] = (16, 32, 64, 128, 256)  # along the picture's sides, level by level
    features: int = 2
    bend_cells: tuple[int, ...] = (4, 8, 16)
    hidden: int = 32

    @property
    def grid(self) -> HashGrid:
        return HashGrid(self.cells, self.features, axes=_LINE)

    @property
    def bend_grid(self) -> HashGrid:
        return HashGrid(self.bend_cells, self.features, axes=_LINE)

    @property
    def networks(self) -> dict[str, ToldMlp]:
        return {
            "bend": ToldMlp((2 + self.bend_grid.width, self.hidden, 2), self.told),
            "paint": ToldMlp((self.grid.width, self.hidden, 4), self.told),
        }

    def start(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights before training: a thin grey veil that hardly anything bends."""
        found = {}
        for name, grid in (("planes", self.grid), ("bend_planes", self.bend_grid)):
            table = torch.empty(grid.rows, grid.features)
            found[name] = table.uniform_(-_PLANES_START, _PLANES_START, generator=generator)
        for name, network in self.networks.items():
            found |= network.start(name, generator, _LAST_START)
        return found

    def look(self, at: Tensor, told: Tensor, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Colours [N,3] times alpha, and alpha [N], at points [N,2] of the picture 0..1 as it hangs at rest."""
        networks = self.networks
        bend = networks["bend"]("bend", [2 * at - 1, self._read("bend_planes", at, weights)], told, weights)
        bent = at + _BENT * bend.tanh()
        painted = networks["paint"]("paint", [self._read("planes", bent, weights)], told, weights)
        inside = ((bent > -_MARGIN) & (bent < 1 + _MARGIN)).all(1)
        alpha = (painted[:, 3] + _ALPHA_START).sigmoid() * inside
        return painted[:, :3].sigmoid() * alpha[:, None], alpha

    def _read(self, name: str, at: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        grid = self.grid if name == "planes" else self.bend_grid
        return hashgrid((at + _MARGIN) / (1 + 2 * _MARGIN), weights[name], grid)
