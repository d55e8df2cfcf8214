# SPDX-License-Identifier: Apache-2.0
"""From an avatar and a motion to the page in which it talks; and the player beside an avatar that is written."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from avatar3d.avatar._driven import DrivenHead
from avatar3d.avatar.linear import LinearHead
from avatar3d.avatars import Avatar, save_avatar
from avatar3d.contracts import Head
from avatar3d.dsp import resampled
from avatar3d.errors import InputError
from avatar3d.records import Motion, Sound
from avatar3d.viewer.page import Said, write_index, write_single_page

PAGE_SOUND_RATE = 24_000  # Hz


def plays(head: Head) -> bool:
    """Whether a page can play this kind of head."""
    return isinstance(head, LinearHead)


def instead_of_page(head: Head, avatar: Path | str) -> str:
    """What there is instead of a page, for a head that none can play."""
    if isinstance(head, DrivenHead):
        return f"`avatar3d bake {avatar}` makes one of it"
    return f"it is drawn by a server: avatar3d view {avatar}"


def save_playable(path: Path, avatar: Avatar, steps: Mapping[str, Tensor] | None = None) -> None:
    """Writes an avatar folder (see `save_avatar`), with the player in it where that can play the head."""
    save_avatar(path, avatar, steps)
    if plays(avatar.head):
        write_index(path)


def write_talking_page(path: Path, avatar: Avatar, motion: Motion, sound: Sound | None) -> None:
    """Writes one HTML file with the whole avatar, which plays `motion` with `sound` first.

    Raises:
        InputError: the head is not linear; a browser cannot evaluate other kinds.
    """
    if not plays(avatar.head):
        raise InputError(
            f"{path}: a page can play linear heads only, not {type(avatar.head).__name__}",
            f"write an mp4; {instead_of_page(avatar.head, 'AVATAR')}",
        )
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room) / "whole.avatar"
        save_avatar(folder, avatar)
        write_single_page(path, folder, Said(motion, page_sound(sound)))


def page_sound(sound: Sound | None) -> Sound | None:
    """A sound as pages carry it."""
    return None if sound is None else Sound(resampled(sound, PAGE_SOUND_RATE), PAGE_SOUND_RATE)
