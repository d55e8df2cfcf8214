# SPDX-License-Identifier: Apache-2.0
"""Where Gaussians are needed: relocation, which keeps their number, and renewal, which changes it.

In both a Gaussian gives birth to a twin: the two share its place, and each is weaker so that both on top of one another
cover what the one covered: 1 - (1 - o')^2 = o.

Relocation makes the twins of Gaussians that draw nothing. To relocate instead of splitting is the idea of "3D Gaussian
Splatting as Markov Chain Monte Carlo" (Kheradmand et al., 2024); here the sources are those with the largest position
gradients. Renewal is the density control of "3D Gaussian Splatting" (Kerbl et al., 2023): what draws nothing goes, and
where the picture pulls at a Gaussian a large one is split and a small one cloned, up to a number that the caller sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar3d.geometry import matrix_from_quat

_TWIN_LOG_SHRINK = 0.35  # log u: two twins side by side fill the extent of the source
_TWIN_OFFSET = 0.7  # standard deviations between a twin and the source's place
_LARGE_LOG_SIZE = -4.4  # log u: renewal splits larger ones and clones smaller ones
_SPLIT_LOG_SHRINK = 0.47  # log u: 1.6 times smaller
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


def keep_last(plan: Relocation, owner: Tensor) -> Relocation:
    """The plan without those who are the last of their owner's: nothing is left bare for good.

    Args:
        owner: [N] int64 what each Gaussian belongs to; a twin takes its source's.
    """
    left = torch.bincount(owner) - torch.bincount(owner[plan.dead], minlength=int(owner.max()) + 1)
    # one of each owner that would lose all stays: the one that comes first
    order = owner[plan.dead].argsort(stable=True)
    first = torch.ones_like(order, dtype=torch.bool)
    first[1:] = owner[plan.dead][order].diff() != 0
    stays = torch.zeros_like(first)
    stays[order] = first & (left[owner[plan.dead][order]] == 0)
    return Relocation(plan.dead[~stays], plan.source[~stays])


@torch.no_grad()
def relocate(gaussians: Mapping[str, Tensor], plan: Relocation) -> None:
    """Edits means, quats, log_scales, opacity_logits in place and copies every other row of `gaussians` [N,...]."""
    for tensor in gaussians.values():
        tensor[plan.dead] = tensor[plan.source]
    _part(gaussians, plan.source, plan.dead, _TWIN_LOG_SHRINK)


@torch.no_grad()
def copy_moments(state: Mapping[str, Tensor], plan: Relocation, axis: int = 0) -> None:
    """Gives the twins their source's Adam moments; Gaussians lie along `axis`."""
    for key in ("exp_avg", "exp_avg_sq"):
        if key in state:
            moments = state[key]
            moments.index_copy_(axis, plan.dead, moments.index_select(axis, plan.source))


@dataclass(frozen=True)
class Renewal:
    """Row i of the Gaussians to come is made of row `source[i]` of those that are; `first` and `second` are twins."""

    source: Tensor  # [M] int64: who stays, in the old order, then the newborn
    first: Tensor  # [B] int64, rows of those to come
    second: Tensor  # [B] int64, likewise: the newborn

    def moments(self, state: Mapping[str, Tensor], axis: int = 0) -> dict[str, Tensor]:
        """Adam's moments of the Gaussians to come; a twin has its source's. Gaussians lie along `axis`."""
        return {key: state[key].index_select(axis, self.source) for key in ("exp_avg", "exp_avg_sq") if key in state}


def plan_renewal(
    opacity: Tensor, slope: Tensor, unseen: Tensor, most: int, steep: float = 3e-4, faint: float = 0.02
) -> Renewal:
    """Chooses who goes, who stays and who gets a twin.

    Args:
        opacity: [N] 0..1.
        slope: [N] mean length of the position's gradient, lengths measured in half widths of the picture.
        unseen: [N] bool, Gaussians known to cover nothing in any frame.
        most: so many Gaussians there may be; if fewer can be born than are steep, the steepest are chosen.
        steep: from this slope on a Gaussian gets a twin.
        faint: below this opacity a Gaussian goes.
    """
    stays = (opacity >= faint) & ~unseen
    kept = stays.nonzero()[:, 0]
    parents = kept[slope[kept] > steep]
    room = max(most - len(kept), 0)
    if len(parents) > room:
        parents = parents[slope[parents].topk(room).indices]
    place = stays.cumsum(0) - 1
    newborn = torch.arange(len(kept), len(kept) + len(parents), device=kept.device)
    return Renewal(torch.cat([kept, parents]), place[parents], newborn)


@torch.no_grad()
def renewed(gaussians: Mapping[str, Tensor], plan: Renewal) -> dict[str, Tensor]:
    """The Gaussians to come [M,...]; of twins, means, log_scales and opacity_logits are moved apart."""
    found = {name: tensor.index_select(0, plan.source) for name, tensor in gaussians.items()}
    large = found["log_scales"][plan.first].max(1, keepdim=True).values > _LARGE_LOG_SIZE
    _part(found, plan.first, plan.second, large * _SPLIT_LOG_SHRINK)
    return found


def _part(gaussians: Mapping[str, Tensor], first: Tensor, second: Tensor, log_shrink: float | Tensor) -> None:
    """Moves twins, which are alike until then, to both sides of their place, and shares the opacity among them."""
    log_scales, opacity_logits = gaussians["log_scales"], gaussians["opacity_logits"]
    spread = log_scales[first].exp() * torch.randn_like(log_scales[first]) * _TWIN_OFFSET
    offset = (matrix_from_quat(gaussians["quats"][first]) @ spread[..., None])[..., 0]
    gaussians["means"][second] += offset
    gaussians["means"][first] -= offset
    halved = 1 - (1 - opacity_logits[first].sigmoid().clamp(max=0.995)).sqrt()
    for rows in (second, first):
        opacity_logits[rows] = torch.logit(halved)
        log_scales[rows] -= log_shrink
