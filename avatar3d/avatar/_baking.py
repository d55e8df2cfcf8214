# SPDX-License-Identifier: Apache-2.0
"""Any driven head written down as a linear one: what it does at many codes, fitted by tables on the same codes.

A field costs a network per Gaussian and frame, tables a sum; and a page in a browser knows tables alone. What a head
does that is no linear function of its codes is lost; `bases` says how much of that more codes could keep.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avatar3d.avatar._codes import EXTRA_CODES
from avatar3d.avatar._driven import CARRIED, DrivenHead
from avatar3d.avatar._driving import CODE_LIMIT
from avatar3d.avatar.linear import LinearHead
from avatar3d.geometry import quat_multiply

_MIXES = 0.2  # of the frames
_SLIDER = 2.0  # codes: how far each is moved alone
_RIDGE = 1e-3  # per sample, against codes of unit variance
_STILL_U, _STILL_COLOUR, _STILL_RAD = 0.001, 1 / 255, 0.01
_OVERSAMPLED, _POWERS = 8, 4


def sampled_codes(codes: Tensor, seed: int = 0) -> Tensor:
    """Codes [S,K] to bake at: those of a capture's frames [T,K], mixes of two of them, every expression alone."""
    generator = torch.Generator().manual_seed(seed)
    count = round(_MIXES * len(codes))
    pairs = torch.randint(len(codes), (2, count), generator=generator)
    share = torch.rand(count, 1, generator=generator).to(codes)
    first, other = codes[pairs.to(codes.device)]
    faces = torch.eye(codes.shape[1], device=codes.device)[:-EXTRA_CODES] * _SLIDER
    return torch.cat([codes, share * first + (1 - share) * other, faces, -faces]).clamp(-CODE_LIMIT, CODE_LIMIT)


@torch.no_grad()
def baked(head: DrivenHead, codes: Tensor) -> LinearHead:
    """The linear head that comes nearest to `head` at codes [S,K] (least squares, with a small ridge).

    What does not depend on the codes goes into the Gaussians themselves. Sizes stay what they are on average: tables
    have none. Gaussians that hardly move get tables of zeros.
    """
    samples = torch.cat([torch.ones_like(codes[:, :1]), codes], 1)
    products = samples.new_zeros(samples.shape[1], len(head), head.deform(codes[0]).shape[1])
    most = products.new_zeros(len(head), CARRIED)
    for sample in samples:
        offsets = head.deform(sample[1:])
        products += sample[:, None, None] * offsets
        most = torch.maximum(most, offsets[:, :CARRIED].abs())
    ridge = _RIDGE * len(samples) * torch.eye(samples.shape[1], device=samples.device)
    ridge[0, 0] = 0
    gram = (samples.T @ samples + ridge).double()
    found = torch.linalg.solve(gram, products.flatten(1).double()).float().view_as(products)
    constant, tables = found[0], found[1:, :, :CARRIED].clone()
    tables[:, _hardly(most)] = 0
    parts = {name: part for name, part in head.parts.items() if name in (*_OF_EVERY_HEAD, *LinearHead.per_gaussian)}
    half_turn = torch.cat([torch.ones_like(constant[:, :1]), 0.5 * constant[:, 3:6]], 1)
    parts |= {
        "means": parts["means"] + constant[:, :3],
        "quats": quat_multiply(half_turn, parts["quats"]),
        "colours": parts["colours"] + constant[:, 6:CARRIED],
        "tables": tables,
    }
    if constant.shape[1] > CARRIED:
        parts["log_scales"] = parts["log_scales"] + constant[:, CARRIED:]
    return LinearHead(parts, head.width, head.height)


@torch.no_grad()
def displacements_mm(head: DrivenHead, other: DrivenHead, codes: Tensor) -> Tensor:
    """How far apart two heads put the same Gaussian at codes [T,K]: [T,N] mm, in head space."""
    apart = [
        (head.parts["means"] + head.deform(code)[:, :3] - other.parts["means"] - other.deform(code)[:, :3]).norm(dim=1)
        for code in codes
    ]
    return 100 * torch.stack(apart)


def bases(motion: Tensor, rank: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The mean [D] and the `rank` best bases [rank,D] of motions [T,D], and each motion's codes in them [T,rank].

    A randomised singular value decomposition (Halko, Martinsson and Tropp, 2011).
    """
    mean = motion.mean(0)
    apart = motion - mean
    count = min(rank + _OVERSAMPLED, *apart.shape)
    generator = torch.Generator().manual_seed(seed)
    probe = torch.randn(apart.shape[1], count, generator=generator).to(apart)
    span = torch.linalg.qr(apart @ probe)[0]
    for _ in range(_POWERS):
        span = torch.linalg.qr(apart @ torch.linalg.qr(apart.T @ span)[0])[0]
    _, _, found = torch.linalg.svd(span.T @ apart, full_matrices=False)
    return mean, found[:rank], apart @ found[:rank].T


_OF_EVERY_HEAD = (
    "background", "camera_K", "rest_pose", "code_offset", "code_scale", "pose_offset", "pose_scale", "body_map",
    "arkit_map",
)  # fmt: skip


def _hardly(most: Tensor) -> Tensor:
    """[N] bool: whose largest offsets [N,9] nobody would see."""
    small = [
        (most[:, at : at + 3] < least).all(1) for at, least in ((0, _STILL_U), (3, _STILL_RAD), (6, _STILL_COLOUR))
    ]
    return torch.stack(small).all(0)
