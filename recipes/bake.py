# SPDX-License-Identifier: Apache-2.0
"""`avatar3d bake`: an avatar of any kind of head written down as a linear one, and what that loses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar._baking import baked, bases, displacements_mm, sampled_codes
from avatar3d.avatar._driven import DrivenHead
from avatar3d.avatar.linear import LinearHead
from avatar3d.avatars import Avatar, open_avatar, part_name
from avatar3d.errors import InputError
from avatar3d.player import Player
from avatar3d.recipes._drawn import frames_per_second
from avatar3d.recipes._page import save_playable
from avatar3d.recipes._text import size_mb
from avatar3d.records import Capture, Motion, Progress, Track, Watch, held_out_start, unwatched
from avatar3d.render.native import Native
from avatar3d.store import AVATAR_SUFFIX, Work, load_capture, load_track
from avatar3d.threads import torch_threads

_SUFFIX = "_baked"
_MOST_CODES = 1000
_JUDGED = 100  # frames
_LOOKED_AT = 3000  # Gaussians, to say how many bases their motion has


@dataclass(frozen=True)
class _Footage:
    """Motion to bake at and motion to judge at; with pictures where there are some."""

    seen: Motion
    unseen: Motion
    real: np.ndarray | None  # [T,H,W,3] uint8 of `unseen`


def bake(path: Path, out: Path | None = None, watch: Watch = unwatched) -> dict[str, Any]:
    """Bakes the head of an avatar; voice, clip and description stay.

    Where the avatar lies in its work folder, the head is baked at the motion it was trained on and judged on the
    held-out frames; else at ten elevenths of the clip that it carries, and judged on the rest.

    Args:
        path: an avatar folder.
        out: the avatar folder to write; None: beside it, NAME_baked.avatar.

    Returns:
        JSON values: "avatar", "from" (the kind of head), "gaussians", "avatar_mb"; on the motion judged:
        "displacement_p99_mm" and "displacement_mm" (mean) between the two heads' Gaussians, "moved_p99_mm" (from the
        neutral face), "nonlinear_p99_mm" (what as many bases with the best of codes would leave), "render_fps" of
        both, and "psnr_full" (dB, against the real pictures) of both, None where there are none.

    Raises:
        InputError: not an avatar, one that is linear already, or `out` is in use.
    """
    avatar = open_avatar(path)
    head = avatar.head
    if isinstance(head, LinearHead) or not isinstance(head, DrivenHead):
        raise InputError(
            f"{path}: its head is {part_name(head)}, which cannot be baked", "bake one of another kind of head"
        )
    out = path.with_name(path.stem + _SUFFIX + AVATAR_SUFFIX) if out is None else out
    if out.suffix != AVATAR_SUFFIX or (out.exists() and not (out / "avatar.json").is_file()):
        raise InputError(f"{out}: is no place for an avatar", f"name a new folder that ends in {AVATAR_SUFFIX}")
    with torch_threads(1):
        footage = _footage(Work(path.parent), avatar)
        watch(Progress("bake", 0.0, "codes"))
        linear = baked(head, sampled_codes(_codes(head, footage.seen)))
        watch(Progress("bake", 0.6, "measuring"))
        figures = _figures(head, linear, footage)
    about = avatar.about | {"baked_from": part_name(head), "baking": figures}
    save_playable(out, replace(avatar, head=linear, about=about))
    mine = {"avatar": str(out), "from": part_name(head), "gaussians": len(linear), "avatar_mb": size_mb(out)}
    return mine | figures


def summary(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What a person wants to see."""
    before, after = figures["psnr_full"]
    drop = "no pictures beside it" if before is None else f"{before:.2f} to {after:.2f}"
    return [
        ("avatar", f"{figures['avatar']} ({figures['avatar_mb']} MB)"),
        (
            "Gaussians off by, mm",
            f"{figures['displacement_p99_mm']:.3f} (p99; they move {figures['moved_p99_mm']:.3f})",
        ),
        ("of that no tables could hold", f"{figures['nonlinear_p99_mm']:.3f}"),
        ("whole picture dB", drop),
        ("frames/s", "{:.0f} to {:.0f}".format(*figures["render_fps"])),
    ]


def _footage(work: Work, avatar: Avatar) -> _Footage:
    try:
        capture, track = load_capture(work), load_track(work)
    except InputError:
        clip = avatar.clip
        start = held_out_start(len(clip))
        return _Footage(clip[:start], clip[start:], None)
    return _from_work(capture, track)


def _from_work(capture: Capture, track: Track) -> _Footage:
    start = held_out_start(len(track.motion))
    return _Footage(track.motion[:start], track.motion[start:], capture.frames[start:])


def _codes(head: DrivenHead, motion: Motion) -> Tensor:
    """[T,K], of at most a thousand frames spread over a motion."""
    return head.encode(motion)[:: math.ceil(len(motion) / _MOST_CODES), : head.codes]


def _figures(head: DrivenHead, linear: LinearHead, footage: _Footage) -> dict[str, Any]:
    unseen = footage.unseen
    step = max(1, len(unseen) // _JUDGED)
    rows = head.encode(unseen)[::step]
    codes = rows[:, : head.codes]
    apart = displacements_mm(head, linear, codes)
    moved = torch.stack([head.deform(code)[:, :3] for code in codes]).detach()
    players = [Player(one, Native()) for one in (head, linear)]
    real = None if footage.real is None else footage.real[::step]
    return {
        "displacement_p99_mm": _p99(apart),
        "displacement_mm": round(float(apart.mean()), 4),
        "moved_p99_mm": _p99(100 * moved.norm(dim=2)),
        "nonlinear_p99_mm": _left_by_bases(head, footage, codes, linear.codes),
        "render_fps": [round(frames_per_second(player, rows), 1) for player in players],
        "psnr_full": [None if real is None else _psnr(player, rows, real) for player in players],
    }


def _left_by_bases(head: DrivenHead, footage: _Footage, unseen: Tensor, rank: int) -> float:
    """What of unseen motion no `rank` bases hold, found on the seen one: p99 mm over some Gaussians of the face."""
    some = (head.parts["group"] == 0).nonzero()[:_LOOKED_AT, 0]

    def motion(codes: Tensor) -> Tensor:
        return torch.stack([head.deform(code)[some, :3] for code in codes]).detach().flatten(1)

    mean, found, _ = bases(motion(_codes(head, footage.seen)), rank)
    apart = motion(unseen) - mean
    return _p99(100 * (apart - apart @ found.T @ found).view(len(unseen), -1, 3).norm(dim=2))


def _p99(values: Tensor) -> float:
    return round(float(np.quantile(values.cpu().numpy(), 0.99)), 4)


def _psnr(player: Player, rows: Tensor, real: np.ndarray) -> float:
    """Mean PSNR (dB) of whole pictures."""
    found = []
    for row, picture in zip(rows, real, strict=True):
        error = (player.frame(row).astype(np.float32) - picture) / 255
        found.append(-10 * np.log10(max(float(np.square(error).mean()), 1e-10)))
    return round(float(np.mean(found)), 3)
