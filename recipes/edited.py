# SPDX-License-Identifier: Apache-2.0
"""`avatar3d import FILE --into AVATAR`: an avatar's splats, edited in another program, back on its rig."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from avatar3d.avatars import open_avatar, save_avatar
from avatar3d.choose import choose, names
from avatar3d.contracts import ReadSplats
from avatar3d.errors import InputError
from avatar3d.recipes._text import size_mb
from avatar3d.recipes.export_avatar import ROOM, carried, only_with_splats
from avatar3d.records import Gaussians
from avatar3d.store import AVATAR_SUFFIX, SPLAT_TENSORS, file_hash

_TURNED_OVER = (0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # y down in place of y up: programs differ
_MOST_OFF_U = 0.1  # 1 cm, of the median splat: edits move a few, another order moves nearly all


def readable(path: Path) -> bool:
    """Whether a path's ending is that of a file of splats which can be taken in."""
    return path.suffix.lower() in _readers()


def put_back(file: Path, into: Path, out: Path) -> dict[str, Any]:
    """Writes an avatar with the splats of `file` in place of its own; rig, voice and clip stay.

    Args:
        file: what `export` has written of the neutral head in head space, with as many splats in the same order.
        into: the avatar that it was exported from.
        out: a folder that ends in .avatar; one that stands there is replaced.

    Returns:
        "avatar", "mb", "splats", "moved" (by more than 1 mm), "recoloured" (by more than 2/255).

    Raises:
        InputError: a file or an avatar that cannot be used, or splats that are not this avatar's.
    """
    if not readable(file):
        raise InputError(f"{file}: no file of splats by its ending", f"give one that ends in {', '.join(_readers())}")
    if out.suffix != AVATAR_SUFFIX:
        raise InputError(f"{out}: no name for an avatar", f"name a folder that ends in {AVATAR_SUFFIX}")
    avatar = open_avatar(into)
    only_with_splats(avatar.head)
    tensors = avatar.head.tensors()
    found = _fitted(_readers()[file.suffix.lower()].read(file), tensors["means"], file)
    shift = (found.means - tensors["means"]).norm(dim=1)
    paint = (found.colours - tensors["colours"]).abs().amax(1)
    edited = tensors | {name: getattr(found, name) for name in SPLAT_TENSORS}
    about = avatar.about | {"edited": {"file": file.name, "sha256": file_hash(file)}}
    head = type(avatar.head).restore(avatar.head.config(), edited)
    save_avatar(out, replace(avatar, head=head, about=about))
    return {
        "avatar": str(out),
        "mb": size_mb(out),
        "splats": len(shift),
        "moved": int((shift > 0.01).sum()),
        "recoloured": int((paint > 2 / 255).sum()),
    }


def summary(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What changed."""
    return [
        ("avatar", f"{figures['avatar']} ({figures['mb']:g} MB)"),
        ("splats", figures["splats"]),
        ("moved by more than 1 mm", figures["moved"]),
        ("of another colour", figures["recoloured"]),
    ]


def _readers() -> dict[str, ReadSplats]:
    parts = [choose(ROOM, name)() for name in names(ROOM)]
    return {suffix: part for part in parts if isinstance(part, ReadSplats) for suffix in part.suffixes}


def _fitted(found: Gaussians, means: torch.Tensor, file: Path) -> Gaussians:
    """The splats the way up that lies nearer to the avatar's.

    Raises:
        InputError: neither does, or their number differs.
    """
    if len(found.means) != len(means):
        raise InputError(
            f"{file}: {len(found.means)} splats, the avatar has {len(means)}",
            "let those that are not wanted become transparent instead of deleting them, and add none",
        )
    ways = [found, carried(found, torch.tensor(_TURNED_OVER))]
    off = [float((way.means - means).norm(dim=1).median()) for way in ways]
    nearer = off.index(min(off))
    if off[nearer] > _MOST_OFF_U:
        raise InputError(
            f"{file}: its splats lie {10 * off[nearer]:.1f} cm from the avatar's, in the median",
            "edit what `export` wrote without --frame, --pose and --space, and keep the order of the splats",
        )
    return ways[nearer]
