# SPDX-License-Identifier: Apache-2.0
"""Where a face moves, as a field over its space: three planes, small networks without biases, attention by region.

After TalkingGaussian (Li et al., ECCV 2024, arXiv 2404.15264), section 3.2. A point is read from three planes; what it
is drives two attentions, by which the codes of the lower and of the upper face count there; a network of features and
attended codes gives the motion. Beyond the box of the field features are zero, and without biases so is the motion.

Codes enter as factors of the first layer's rows: (c * v) W = v (diag(c) W). So features and attention, all that depends
on the points alone, are one array that can be kept while a still head is drawn, and a frame costs one network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar3d.ops.hashgrid import TRIPLANE, HashGrid, hashgrid
from avatar3d.ops.mlp import Layers, mlp

_PLANES_START = 1e-4


@dataclass(frozen=True)
class Branch:
    """The shape of one field."""

    cells: tuple[int, ...]  # of a plane, level by level, along an axis of the box
    lower: int  # codes that move the lower face
    upper: int  # codes that move the upper face; 0: neither these nor attention
    hidden: int  # width of the network's two hidden layers
    out: int  # numbers per point
    features: int = 4  # of a vertex, at each level
    half_u: float = 1.5  # the box reaches so far from the origin of head space, along each axis

    @property
    def grid(self) -> HashGrid:
        return HashGrid(self.cells, self.features, axes=TRIPLANE)

    @property
    def networks(self) -> dict[str, Layers]:
        """By name: the attentions, where there are some, and the motion."""
        seen, codes = self.grid.width, self.lower + self.upper
        motion = {"motion": Layers((seen + codes, self.hidden, self.hidden, self.out))}
        if not self.upper:
            return motion
        return {"lower": Layers((seen, 32, self.lower)), "upper": Layers((seen, 16, self.upper))} | motion

    def start(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights before training: "planes" [rows,features], and of each network [weights]."""
        planes = torch.empty(self.grid.rows, self.features).uniform_(-_PLANES_START, _PLANES_START, generator=generator)
        found = {"planes": planes}
        for name, layers in self.networks.items():
            weights = torch.empty(layers.weights)
            for matrix in layers.split(weights):
                # as torch starts a layer
                matrix.uniform_(-1, 1, generator=generator).mul_(len(matrix) ** -0.5)
            found[name] = weights
        return found

    def look(self, points: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """What the field knows of points [N,3] u before it is told a code: features, then attention, [N,F+codes].

        Without attention every code counts everywhere the same.
        """
        at = points / (2 * self.half_u) + 0.5
        inside = ((at >= 0) & (at <= 1)).all(1, keepdim=True)
        features = hashgrid(at, weights["planes"], self.grid) * inside
        if not self.upper:
            return torch.cat([features, inside.expand(-1, self.lower).to(features.dtype)], 1)
        lower, upper = (mlp(features, weights[name], self.networks[name]) for name in ("lower", "upper"))
        return torch.cat([features, lower, upper.relu()], 1)

    def attention(self, looked: Tensor) -> tuple[Tensor, Tensor]:
        """How much the codes of the lower and of the upper face count: [N,lower] of either sign, [N,upper]."""
        _, lower, upper = looked.split([self.grid.width, self.lower, self.upper], 1)
        return lower, upper

    def move(self, looked: Tensor, codes: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """The motion [N,out] of points that have been looked at, at codes [lower + upper]."""
        layers = self.networks["motion"]
        first = (self.grid.width + self.lower + self.upper) * self.hidden
        factors = torch.cat([codes.new_ones(self.grid.width), codes])
        entering = (weights["motion"][:first].view(-1, self.hidden) * factors[:, None]).flatten()
        return mlp(looked, torch.cat([entering, weights["motion"][first:]]), layers)
