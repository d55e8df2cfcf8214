# SPDX-License-Identifier: Apache-2.0
"""What a point of a head's space absorbs and which colour it has, at a frame's codes: three papers' fields as one.

A point is read from a grid. How the codes reach it is what sets the papers apart:
- RAD-NeRF (Tang et al. 2022, arXiv 2211.12368): a network of point and codes gives an "ambient" coordinate of few
  dimensions, and a second grid is read there; lids and gaze enter the density's network beside it.
- GeneFace++ (Ye et al. 2023, arXiv 2305.00787): the same in three ambient dimensions, with the codes of a window of
  frames, weighed by attention (`attended`).
- ER-NeRF (Li et al. 2023, arXiv 2307.09323): the grid is three planes, and two networks of the point say channel by
  channel how much the codes of the lower and of the upper face count there.

Beside all of this the density's network is told the lower face's codes too, by which lips move sooner than by an
ambient coordinate or attention alone. Colour does not hang on the direction of view, where the papers' does: a filmed
head is seen by one camera, so direction is the head's turn said otherwise, and that is among the codes that shade
(`shade`), beside a code of each frame's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar3d.avatar._told_mlp import ToldMlp
from avatar3d.ops.hashgrid import TRIPLANE, VOLUME, HashGrid, geometric, hashgrid
from avatar3d.ops.mlp import Layers, mlp

_PLANES_START = 1e-4
DENSITY_START = 3.0  # per u, of a field that knows nothing
_LOG_DENSITY_MOST = 8.0  # 9,000 per u: solid within a tenth of a millimetre
_LINE = ((0, 1),)  # columns of a grid in a plane


@dataclass(frozen=True)
class Told:
    """What a field is told of a frame."""

    lower: Tensor  # [L] codes of the lower face
    upper: Tensor  # [U] codes of the upper face
    shade: Tensor  # [C] what light and camera did


@dataclass(frozen=True)
class Field:
    """The shape of a field; its weights are a dictionary of tensors (see `start`)."""

    lower: int  # codes of the lower face
    upper: int  # codes of the upper face
    shade: int  # numbers that only colour hangs on
    cells: tuple[int, ...] = (16, 25, 40, 63, 100, 159, 252, 400)  # of the grid along an axis, level by level
    features: int = 2  # of a vertex
    log2_rows: int = 17  # levels of more vertices are hashed
    planes: bool = False  # three planes in place of the volume
    ambient: int = 2  # dimensions of the ambient coordinate; 0: attention by region in its place
    ambient_cells: tuple[int, ...] = (8, 16, 32, 64)
    ambient_features: int = 4
    hidden: int = 64  # width of the density's network
    hidden_ambient: int = 32
    hidden_colour: int = 32
    given: int = 15  # numbers that density gives to colour
    layout: str = "lines"  # of the grids' tables, see `HashGrid`; the hull's, which is given, has always this one
    half: bool = False  # the grids are read in half precision; not the hull's, whose rounding would be that of density
    hull_cells: int = 64  # of the grid, along an axis, in which the field knows from the start where a head is

    @property
    def grid(self) -> HashGrid:
        return self._grid(self.cells, self.features, TRIPLANE if self.planes else VOLUME)

    @property
    def hull_grid(self) -> HashGrid:
        return HashGrid((self.hull_cells,), 1, 24)

    @property
    def ambient_grid(self) -> HashGrid:
        axes = VOLUME if self.ambient == 3 else _LINE
        return self._grid(self.ambient_cells, self.ambient_features, axes)

    def _grid(self, cells: tuple[int, ...], features: int, axes: tuple[tuple[int, ...], ...]) -> HashGrid:
        if self.layout == "lines":
            return HashGrid(cells, features, self.log2_rows, axes)
        # from the same coarsest level to about the same finest; rounded, lest that be whole but for a last bit
        growth = int(1000 * (cells[-1] / cells[0]) ** (1 / max(len(cells) - 1, 1)) + 1e-6) / 1000
        return HashGrid(geometric(len(cells), cells[0], growth), features, self.log2_rows, axes, self.layout)

    @property
    def networks(self) -> dict[str, ToldMlp]:
        """By name: those that are told something of the frame."""
        seen = self.grid.width
        colour = ToldMlp((self.given, self.hidden_colour, 3), self.shade)
        if not self.ambient:
            inputs = seen + self.lower + self.upper
            return {
                "density": ToldMlp((inputs, self.hidden, 1 + self.given), self.lower + self.upper),
                "colour": colour,
            }
        ambient = ToldMlp((seen, self.hidden_ambient, self.hidden_ambient, self.ambient), self.lower)
        inputs = seen + self.ambient_grid.width
        density = ToldMlp((inputs, self.hidden, 1 + self.given), self.lower + self.upper)
        return {"ambient": ambient, "density": density, "colour": colour}

    @property
    def attentions(self) -> dict[str, Layers]:
        """By name: those that say how much codes count at a point."""
        if self.ambient:
            return {}
        seen, small = self.grid.width, self.hidden_ambient
        return {"lower": Layers((seen, small, self.lower)), "upper": Layers((seen, small, self.upper))}

    def start(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights before training: "planes", "ambient_planes" and "hull_planes" [rows,features] (log density, here of a
        field that knows nothing), and the networks' own.
        """
        found = {"planes": _small(self.grid, generator), "hull_planes": torch.zeros(self.hull_grid.rows, 1)}
        if self.ambient:
            found["ambient_planes"] = _small(self.ambient_grid, generator)
        for name, network in self.networks.items():
            found |= network.start(name, generator)
        # random rows would let all of a head pulse with every expression, and shape would be learned late
        found["density_told"][: self.lower] = 0
        for name, layers in self.attentions.items():
            found[name] = torch.empty(layers.weights)
            for matrix in layers.split(found[name]):
                matrix.uniform_(-1, 1, generator=generator).mul_((3 / len(matrix)) ** 0.5)
        return found

    def density(
        self, points: Tensor, told: Told, weights: Mapping[str, Tensor], path: str = "auto"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of points [S,3] in the cube 0..1: density per u [S], what colour is made of [S,F], and how the codes reached
        them: ambient coordinates -1..1 [S,A], or attention [S,lower+upper]. `path`: by which `hashgrid` reads.
        """
        seen, networks = hashgrid(points, weights["planes"], self.grid, path, self.half), self.networks
        factors = None
        if self.ambient:
            reached = networks["ambient"]("ambient", [seen], told.lower, weights).tanh()
            beside = hashgrid((reached + 1) / 2, weights["ambient_planes"], self.ambient_grid, path, self.half)
        else:
            lower, upper = (mlp(seen, weights[name], layers) for name, layers in self.attentions.items())
            beside = reached = torch.cat([lower, upper.sigmoid()], 1)
            factors = torch.cat([seen.new_ones(seen.shape[1]), told.lower, told.upper])
        out = networks["density"]("density", [seen, beside], torch.cat([told.lower, told.upper]), weights, factors)
        told_before = hashgrid(points, weights["hull_planes"], self.hull_grid)[:, 0]
        log_density = (out[:, 0] + told_before).clamp(max=_LOG_DENSITY_MOST)
        return DENSITY_START * log_density.exp(), out[:, 1:], reached

    def colour(self, given: Tensor, told: Told, weights: Mapping[str, Tensor]) -> Tensor:
        """Colours [S,3] 0..1 from what `density` gave [S,F]."""
        return self.networks["colour"]("colour", [given], told.shade, weights).sigmoid()


def attended(window: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """The codes [K] of a frame from those of a window about it [W,K]: a mean, weighed by what all of them say."""
    scores = window.flatten() @ weights["attend"] + weights["attend_about"]
    return scores.softmax(0) @ window


def attention_start(window: int, codes: int) -> dict[str, Tensor]:
    """Weights of `attended` before training: the middle frame counts most."""
    about = torch.zeros(window)
    about[window // 2] = 2.0
    return {"attend": torch.zeros(window * codes, window), "attend_about": about}


def _small(grid: HashGrid, generator: torch.Generator) -> Tensor:
    return torch.empty(grid.rows, grid.features).uniform_(-_PLANES_START, _PLANES_START, generator=generator)
