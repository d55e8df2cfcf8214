# SPDX-License-Identifier: Apache-2.0
"""`avatar3d export --compact`: an avatar in as few bytes as its pictures allow, with what was lost said in figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from avatar3d.avatar.linear import LinearHead
from avatar3d.avatars import open_avatar, part_name
from avatar3d.choose import choose
from avatar3d.compact import compacted
from avatar3d.errors import InputError
from avatar3d.recipes._page import save_playable
from avatar3d.recipes._text import size_mb
from avatar3d.records import Watch, unwatched
from avatar3d.store import AVATAR_SUFFIX
from avatar3d.threads import torch_threads

WANTED_DB = 48.0  # of the small avatar's pictures against the whole one's
_GOOD_HEADS_DB = 36.0  # PSNR against real frames, of a head that is as good as they get


def compact(
    avatar: Path, out: Path, wanted_db: float = WANTED_DB, renderer: str = "native", watch: Watch = unwatched
) -> dict[str, Any]:
    """Writes a compact copy of an avatar, which everything opens that opens avatars.

    Args:
        out: a folder that ends in .avatar; one that stands there is replaced.
        wanted_db: PSNR that its pictures keep against those of the whole avatar, over the head.

    Returns:
        "avatar", "mb", "before_mb", "lost_db" (that PSNR, as measured on frames of the avatar's own clip),
        "psnr_falls_by" (dB against real frames, for a head of 36 dB, if its own errors have nothing to do with these),
        "gaussians" and "moving" (those that codes still move).

    Raises:
        InputError: not an avatar, not of a linear head, or a bad name.
    """
    if out.suffix != AVATAR_SUFFIX or out.resolve() == avatar.resolve():
        raise InputError(f"{out}: cannot be the compact copy", f"name another folder, that ends in {AVATAR_SUFFIX}")
    whole = open_avatar(avatar)
    if not isinstance(whole.head, LinearHead):
        raise InputError(
            f"{avatar}: a {part_name(whole.head)} head cannot be made compact", "bring it into the linear form first"
        )
    draw = choose("avatar3d.render", renderer)()
    with torch_threads(1):
        small = compacted(whole.head, draw, whole.head.encode(whole.clip), wanted_db, watch)
    lost = {"compact": {"psnr_against_whole_db": round(small.lost_db, 2)}}
    save_playable(out, replace(whole, head=small.head, about=whole.about | lost), small.steps)
    return {
        "avatar": str(out),
        "mb": size_mb(out),
        "before_mb": size_mb(avatar),
        "lost_db": round(small.lost_db, 2),
        "psnr_falls_by": round(10 * math.log10(1 + 10 ** ((_GOOD_HEADS_DB - small.lost_db) / 10)), 2),
        "gaussians": len(small.head),
        "moving": small.moving,
    }


def summary(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What was saved and what was lost."""
    return [
        ("avatar", figures["avatar"]),
        ("size MB", f"{figures['mb']:g}, was {figures['before_mb']:g}"),
        ("against the whole avatar's pictures dB", figures["lost_db"]),
        ("psnr_head of a 36 dB head falls by dB", figures["psnr_falls_by"]),
        ("Gaussians", f"{figures['gaussians']}, {figures['moving']} of them moved by codes"),
    ]
