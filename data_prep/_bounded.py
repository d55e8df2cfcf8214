# SPDX-License-Identifier: Apache-2.0
"""Codes that keep within bounds: a lid does not close by more than all the way, and nobody smiles by less than 0."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar3d.data_prep._solver import PointNormals, Rig, code_normals

_TURNS = 20  # of the active set; it settles in a handful


@dataclass(frozen=True)
class CodePrior:
    """What is known of a frame's codes before it is seen."""

    ridge: Tensor  # [E] pull to 0
    low: Tensor  # [E]
    high: Tensor  # [E]


def solve_bounded(normals: PointNormals, rig: Rig, weights: Tensor, prior: CodePrior) -> Tensor:
    """The codes [T,E] within their bounds that fit each frame best, all frames at once; weights per vertex [V].

    A primal-dual active set (Hintermueller, Ito and Kunisch, 2002): a code rests on a bound while the data pull it
    beyond, and is free otherwise.
    """
    matrix, vector = code_normals(normals, rig, weights)
    matrix = matrix + torch.diag(prior.ridge)
    low, high = prior.low.expand_as(vector), prior.high.expand_as(vector)
    codes = _solved(matrix, vector)
    at_low, at_high = codes < low, codes > high
    for _ in range(_TURNS):
        resting = at_low | at_high
        rest = torch.where(at_low, low, torch.where(at_high, high, torch.zeros_like(low)))
        free = (~resting).to(codes.dtype)
        inner = matrix * free[:, :, None] * free[:, None] + torch.diag_embed(1 - free)
        right = free * (vector - (matrix @ rest[..., None])[..., 0]) + rest
        codes = _solved(inner, right)
        pull = vector - (matrix @ codes[..., None])[..., 0]
        next_low = torch.where(resting, at_low & (pull < 0), codes < low)
        next_high = torch.where(resting, at_high & (pull > 0), codes > high)
        if torch.equal(next_low, at_low) and torch.equal(next_high, at_high):
            break
        at_low, at_high = next_low, next_high
    return codes.clamp(low, high)


def _solved(matrix: Tensor, vector: Tensor) -> Tensor:
    return torch.cholesky_solve(vector[..., None], torch.linalg.cholesky(matrix))[..., 0]
