# SPDX-License-Identifier: Apache-2.0
"""Networks of many points that are also told some numbers which are the same for all of them.

Rows of a first layer add up, so numbers c that every point shares make one row, c W, for a constant input of one. It
costs nothing per point, and stands in for a bias, which our networks lack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar3d.ops.mlp import Layers, mlp


@dataclass(frozen=True)
class ToldMlp:
    """A network's shape: `widths` as of `Layers`, without the constant input; and how many numbers it is told."""

    widths: tuple[int, ...]
    told: int

    @property
    def layers(self) -> Layers:
        return Layers((self.widths[0] + 1, *self.widths[1:]))

    def start(self, name: str, generator: torch.Generator, last: float = 1.0) -> dict[str, Tensor]:
        """Weights before training: `name` [weights], and NAME_told [told,widths[1]], which makes the row.

        Args:
            last: how large the last layer's are, in usual ones.
        """
        plain = Layers(self.widths)
        weights, rows = torch.empty(plain.weights), torch.empty(self.told, self.widths[1])
        matrices = plain.split(weights)
        for matrix in matrices:
            matrix.uniform_(-1, 1, generator=generator).mul_((3 / len(matrix)) ** 0.5)
        matrices[-1].mul_(last)
        rows.uniform_(-1, 1, generator=generator).mul_(max(self.told, 1) ** -0.5)
        return {name: weights, f"{name}_told": rows}

    def __call__(
        self,
        name: str,
        inputs: Sequence[Tensor],
        told: Tensor,
        weights: Mapping[str, Tensor],
        factors: Tensor | None = None,
    ) -> Tensor:
        """Rows [N,widths[0]], given in pieces side by side, through the network, told numbers [told].

        Args:
            factors: [widths[0]] by which inputs count.
        """
        inner, width = self.widths[0], self.widths[1]
        first, rest = weights[name][: inner * width], weights[name][inner * width :]
        if factors is not None:  # (c * x) W = x (diag(c) W)
            first = (first.view(inner, width) * factors[:, None]).flatten()
        one = told.new_ones(len(inputs[0]), 1)
        row = told @ weights[f"{name}_told"]
        return mlp(torch.cat([*inputs, one], 1), torch.cat([first, row, rest]), self.layers)
