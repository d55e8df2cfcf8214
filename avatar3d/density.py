# SPDX-License-Identifier: Apache-2.0
"""Relocation of Gaussians: those that draw nothing are moved to where the picture asks for more.

The number of Gaussians stays fixed. A dead one becomes a twin of a source: the two share its place, and each is weaker
so that both on top of one another cover what the one covered: 1 - (1 - o')^2 = o. To relocate instead of splitting is
the idea of "3D Gaussian Splatting as Markov Chain Monte Carlo" (Kheradmand et al., 2024); here the sources are those
with the largest position gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar3d.geometry import matrix_from_quat

_TWIN_LOG_SHRINK = 0.35  # log u: two twins side by side fill the extent of the source
_TWIN_OFFSET = 0.7  # standard deviations between a twin and the source's place
_SOURCE_OPACITY = 0.1
_SOURCE_LOG_SIZE = -5.2  # log u: smaller ones cannot be told apart from one another
_MOST_SOURCES = 12  # at most one source in so many is split at a time


@dataclass(frozen=True)
class Relocation:
    """Row `dead[i]` becomes a twin of row `source[i]`; sources are distinct."""

    dead: Tensor  # [M] int64
    source: Tensor  # [M] int64

    def __len__(self) -> int:
        return len(self.dead)


def plan_relocation(
    opacity: Tensor, log_scales: Tensor, demand: Tensor, unseen: Tensor, faint: float = 0.05
) -> Relocation:
    """Chooses who moves where.

    Args:
        opacity: [N] 0..1.
        log_scales: [N,3] log u.
        demand: [N] sum of position-gradient lengths since the last relocation.
        unseen: [N] bool, Gaussians known to cover nothing in any frame.
        faint: below this opacity a Gaussian counts as dead.
    """
    size = log_scales.max(1).values
    dead = ((opacity < faint) | (demand < 0.01 * demand.median()) | unseen).nonzero()[:, 0]
    alive = (opacity > _SOURCE_OPACITY) & (size > _SOURCE_LOG_SIZE) & ~unseen & (demand > 0)
    candidates = alive.nonzero()[:, 0]
    count = min(len(dead), len(candidates) // _MOST_SOURCES)
    if count == 0:
        return Relocation(dead[:0], dead[:0])
    weight = demand[candidates] * size[candidates].exp()
    source = candidates[torch.multinomial(weight, count)]
    is_source = torch.zeros_like(unseen).index_fill_(0, source, True)
    dead = dead[~is_source[dead]]
    dead = dead[torch.randperm(len(dead), device=dead.device)[:count]]
    return Relocation(dead, source[: len(dead)])


@torch.no_grad()
def relocate(gaussians: Mapping[str, Tensor], plan: Relocation) -> None:
    """Edits means, quats, log_scales, opacity_logits in place and copies every other row of `gaussians` [N,...]."""
    dead, source = plan.dead, plan.source
    for tensor in gaussians.values():
        tensor[dead] = tensor[source]
    log_scales, opacity_logits = gaussians["log_scales"], gaussians["opacity_logits"]
    spread = log_scales[source].exp() * torch.randn_like(log_scales[source]) * _TWIN_OFFSET
    offset = (matrix_from_quat(gaussians["quats"][source]) @ spread[..., None])[..., 0]
    gaussians["means"][dead] += offset
    gaussians["means"][source] -= offset
    halved = 1 - (1 - opacity_logits[source].sigmoid().clamp(max=0.995)).sqrt()
    for rows in (dead, source):
        opacity_logits[rows] = torch.logit(halved)
        log_scales[rows] -= _TWIN_LOG_SHRINK


@torch.no_grad()
def copy_moments(state: Mapping[str, Tensor], plan: Relocation, axis: int = 0) -> None:
    """Gives the twins their source's Adam moments; Gaussians lie along `axis`."""
    for key in ("exp_avg", "exp_avg_sq"):
        if key in state:
            moments = state[key]
            moments.index_copy_(axis, plan.dead, moments.index_select(axis, plan.source))
