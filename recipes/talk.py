# SPDX-License-Identifier: Apache-2.0
"""`avatar3d talk`: an avatar says what a sound file says, or does what a script says, as a video or a page in 3D."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avatar3d.avatars import Avatar, open_avatar
from avatar3d.media.spoken import Reading
from avatar3d.recipes._played import TalkSettings, played
from avatar3d.recipes._script import SOUND_RATE, Script, acted, record, spoken_by
from avatar3d.records import Sound, Watch, unwatched

__all__ = ["SOUND_RATE", "Reading", "Script", "TalkSettings", "say", "talk_video"]


def talk_video(
    avatar: Path, script: Script, out: Path, settings: TalkSettings, watch: Watch = unwatched
) -> dict[str, Any]:
    """Writes `out`: the avatar doing what the script says, in sync with what is heard and as long to a frame.

    Returns:
        source, frames, seconds, width, height, wall_s, and fps: frames written per second, encoding included.

    Raises:
        InputError: the avatar, anything the script names, the background or the name of the output cannot be used.
    """
    plan = script.checked()
    opened = open_avatar(avatar)
    motion, sound = acted(opened, plan, settings, watch, str(avatar))
    if script.motion_out is not None:
        record(opened, motion, script.motion_out)
    return {"source": script.source, **played(opened, motion, sound, out, settings, watch)}


def say(
    avatar: Avatar,
    sound: Sound,
    out: Path,
    settings: TalkSettings,
    watch: Watch = unwatched,
    name: str = "this avatar",
) -> dict[str, Any]:
    """As `talk_video`, of an open avatar and a sound at hand; a name that ends in .html makes a page in 3D."""
    return played(avatar, spoken_by(avatar, sound, settings, name), sound, out, settings, watch)
