# SPDX-License-Identifier: Apache-2.0
"""A linear head in few bytes: every number as coarse as the pictures allow.

How much pictures feel a number p is the length of their derivative by it, |dI/dp|. With random signs e over the pixels,
the square of d(e . I)/dp is that length squared on average (Hutchinson, 1990), and one backward pass gives it for all
numbers. A number's step is then in inverse proportion to what is felt of it, so that every bit does the same good; how
coarse all of them are is found by drawing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar.linear import LinearHead
from avatar3d.contracts import Draw
from avatar3d.errors import InputError
from avatar3d.player import Player
from avatar3d.records import Progress, Watch, unwatched
from avatar3d.store.packed import quantised

__all__ = ["Compacted", "compacted"]

_CHANNELS = 9  # of a table
_LOOKS = 8  # frames whose pictures are asked
_SIGNS = 2  # of random signs, per frame
_SHOWN = 12  # frames that are drawn to measure what was lost
_ROUNDS, _MOST_ROUNDS = 4, 10  # of finding how coarse
_MARGIN_DB = 0.1  # that a round aims above what is wanted
_LEAST_FELT = 0.1  # of the median: what these frames do not show, others may
_BASE_SHARE = 0.5  # of a table's step, for the number that the table adds to: one error there is in every frame
_SURE_ALPHA = 0.5
_SKIN_STEP = 0.01  # logits
_KINDS = {"position": slice(0, 3), "rotation": slice(3, 6), "colour": slice(6, 9)}
# of the numbers at rest: the kind of offset that they are felt like, or themselves; never coarser than the limit
_LIMITS = {"means": 0.01, "quats": 0.1, "colours": 0.05, "log_scales": 0.2, "opacity_logits": 0.5}
_TABLE_LIMIT = {"position": 0.02, "rotation": 0.2, "colour": 0.1}


@dataclass(frozen=True)
class Compacted:
    """A head whose numbers lie on their grids."""

    head: LinearHead
    steps: dict[str, Tensor]  # by tensor, broadcastable to it, for `avatar3d.store.AvatarFolder.write`
    lost_db: float  # PSNR of its pictures against those before, over what the head covers
    moving: int  # Gaussians that still have tables


def compacted(head: LinearHead, draw: Draw, codes: Tensor, wanted_db: float, watch: Watch = unwatched) -> Compacted:
    """The coarsest head whose pictures stay within `wanted_db` of PSNR of those of `head`.

    Args:
        draw: a differentiable renderer.
        codes: [T,P] rows of `encode`, frames to judge by.

    Returns:
        The head with Gaussians that no longer move last, their order otherwise kept.

    Raises:
        InputError: the pictures cannot be kept that close.
    """
    chosen = codes[_spread(len(codes), _SHOWN)]
    felt = _felt(head, draw, codes[_spread(len(codes), _LOOKS)], watch)
    whole = [_picture(head, draw, code) for code in chosen]
    sure = [alpha > _SURE_ALPHA for _, alpha in whole]
    # errors of a step s are s^2 / 12 on average: this is what would be lost if none were clipped
    shared = 3 * max(1, sum(int(mask.sum()) for mask in sure)) / len(sure) / (len(head) * _CHANNELS * head.codes)
    coarseness, found = math.sqrt(12 * 10 ** (-wanted_db / 10) * shared), None
    for number in range(_MOST_ROUNDS):
        steps = _steps(felt, coarseness)
        tried = _on_grid(head, steps)
        lost_db = _psnr([_picture(tried, draw, code)[0] for code in chosen], [image for image, _ in whole], sure)
        watch(Progress("compact", 0.5 + 0.5 * (number + 1) / _MOST_ROUNDS, f"{lost_db:.1f} dB"))
        if lost_db >= wanted_db and (found is None or lost_db < found.lost_db):
            found = _last_still(tried, steps, lost_db)
        if found is not None and number + 1 >= _ROUNDS:
            return found
        coarseness *= 10 ** ((lost_db - wanted_db - _MARGIN_DB) / 20)
    raise InputError(f"no way found to stay within {wanted_db:g} dB", "ask for less, or keep the avatar as it is")


def _spread(count: int, wanted: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, wanted).round().astype(int))


def _felt(head: LinearHead, draw: Draw, codes: Tensor, watch: Watch) -> dict[str, Tensor]:
    """How much pictures feel offsets [N,1] by kind, sizes and opacities: root mean squares over frames."""
    moves, sizes = torch.zeros(len(head), _CHANNELS), torch.zeros(len(head), 3)
    opacities, generator = torch.zeros(len(head)), torch.Generator().manual_seed(0)
    for number, code in enumerate(codes):
        offsets = head.deform(code[: head.codes]).detach().requires_grad_()
        gaussians = head.assemble(offsets, code[-14:-7], code[-7:])
        leaves = [gaussians.log_scales.detach().requires_grad_(), gaussians.opacity_logits.detach().requires_grad_()]
        image = draw(replace(gaussians, log_scales=leaves[0], opacity_logits=leaves[1]), head.camera)
        for _ in range(_SIGNS):
            signs = torch.randint(0, 2, image.rgb.shape, generator=generator) * 2.0 - 1
            asked = (image.rgb * signs).sum() - (image.alpha * (signs * head.background).sum(-1)).sum()
            grads = torch.autograd.grad(asked, [offsets, *leaves], retain_graph=True)
            for total, grad in zip((moves, sizes, opacities), grads, strict=True):
                total += grad.square() / (len(codes) * _SIGNS)
        watch(Progress("compact", 0.5 * (number + 1) / len(codes)))
    kinds = {name: moves[:, columns].mean(1, keepdim=True).sqrt() for name, columns in _KINDS.items()}
    return kinds | {"log_scales": sizes.mean(1, keepdim=True).sqrt(), "opacity_logits": opacities.sqrt()}


def _steps(felt: Mapping[str, Tensor], coarseness: float) -> dict[str, Tensor]:
    step = {
        name: coarseness / value.clamp_min(_LEAST_FELT * float(value.median()) + 1e-12) for name, value in felt.items()
    }
    tables = torch.cat([step[kind].clamp_max(limit).expand(-1, 3) for kind, limit in _TABLE_LIMIT.items()], 1)
    # half of a turn is in the quaternion
    like = {"means": step["position"], "quats": 0.5 * step["rotation"], "colours": step["colour"]}
    like |= {name: step[name] for name in ("log_scales", "opacity_logits")}
    base = {name: (_BASE_SHARE * value).clamp_max(_LIMITS[name]) for name, value in like.items()}
    return base | {"tables": tables[None], "skin_logits": torch.full((1,), _SKIN_STEP)}


def _on_grid(head: LinearHead, steps: Mapping[str, Tensor]) -> LinearHead:
    parts = head.parts | {"quats": torch.nn.functional.normalize(head.parts["quats"], dim=1)}
    return LinearHead(
        parts | {name: quantised(parts[name], step) for name, step in steps.items()}, head.width, head.height
    )


def _last_still(head: LinearHead, steps: Mapping[str, Tensor], lost_db: float) -> Compacted:
    """Gaussians without tables go last, where renderers look for them."""
    moving = head.parts["tables"].abs().amax((0, 2)) > 0
    order = torch.cat([moving.nonzero()[:, 0], (~moving).nonzero()[:, 0]])
    sorted_steps = {name: step[:, order] if name == "tables" else step[order] if len(step) > 1 else step
                    for name, step in steps.items()}  # fmt: skip
    return Compacted(head.keep(order), sorted_steps, lost_db, int(moving.sum()))


def _picture(head: LinearHead, draw: Draw, code: Tensor) -> tuple[Tensor, Tensor]:
    """Over its room [H,W,3], and alpha [H,W]."""
    image = Player(head, draw).image(code, head.camera)
    return image.over(head.background), image.alpha


def _psnr(made: list[Tensor], true: list[Tensor], where: list[Tensor]) -> float:
    errors = [(a - b)[mask].square() for a, b, mask in zip(made, true, where, strict=True)]
    return float(-10 * torch.cat(errors).mean().clamp_min(1e-12).log10())
