# SPDX-License-Identifier: Apache-2.0
"""The avatar as a whole: a head, a voice, a clip of the person's own motion, and where it all came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from avatar3d import __version__
from avatar3d.choose import choose
from avatar3d.contracts import Head, Portable, Speak, SpeakLive
from avatar3d.errors import InputError
from avatar3d.records import BLUR_PX2, Motion
from avatar3d.store import LIVE_VOICE, AvatarFolder

# what a player must do to draw the same picture as the trainer
RASTERIZER = {
    "convention": "classic 3D Gaussian splatting",
    "blur_px2": BLUR_PX2,
    "alpha_min": 1 / 255,
    "alpha_max": 0.999,
    "transmittance_min": 1e-4,
    "near_u": 0.01,
    "sort": "camera z",
}


@dataclass(frozen=True)
class Avatar:
    """Everything that talks."""

    head: Head
    voice: Speak | None  # None: made from a video without sound
    clip: Motion  # the person's motion in the capture
    about: dict[str, Any] = field(default_factory=dict)  # name, consent, provenance, licences, figures
    live: SpeakLive | None = None  # the same voice for speech that is still coming


def save_avatar(path: Path, avatar: Avatar, steps: Mapping[str, Tensor] | None = None) -> None:
    """Writes an avatar folder (`NAME.avatar`); one that stands there is replaced as a whole.

    Args:
        steps: write a compact one, see `AvatarFolder.write`.
    """
    voice, live = avatar.voice, avatar.live
    manifest = {
        "program": __version__,
        "units": "1 unit = 10 cm; head space x right, y up, z out of the face",
        "rasterizer": RASTERIZER,
        "head": {"part": part_name(avatar.head), "config": avatar.head.config()},
        "voice": None if voice is None else voice_entry(voice),
        "live_voice": None if live is None else voice_entry(live),
        "about": avatar.about,
    }
    AvatarFolder(path).write(
        manifest,
        avatar.head.tensors(),
        None if voice is None else voice.tensors(),
        avatar.clip,
        steps,
        None if live is None else live.tensors(),
        live.onnx() if isinstance(live, Portable) else None,
    )


def open_avatar(path: Path) -> Avatar:
    """Reads an avatar folder.

    Raises:
        InputError: not an avatar folder, damaged, or made by parts that are not installed.
    """
    folder = AvatarFolder(path)
    manifest = folder.read_manifest()
    try:
        head, voice, live = manifest["head"], manifest["voice"], manifest.get("live_voice")
        _check_convention(path, manifest["rasterizer"])
        return Avatar(
            head=choose("avatar3d.avatar", head["part"]).restore(head["config"], folder.read_head()),
            voice=voice and restore_voice(voice, folder.read_voice()),
            clip=folder.read_clip(),
            about=manifest.get("about", {}),
            live=live and restore_voice(live, folder.read_voice(LIVE_VOICE)),
        )
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: cannot be put together ({error})", "the avatar is damaged; create it again"
        ) from error


def _check_convention(path: Path, rasterizer: Mapping[str, Any]) -> None:
    if rasterizer["blur_px2"] != BLUR_PX2:
        raise InputError(
            f"{path}: made for a renderer that blurs by {rasterizer['blur_px2']} px^2, this one does by {BLUR_PX2}",
            "create the avatar again from its video",
        )


def voice_entry(voice: Speak) -> dict[str, Any]:
    """A voice as JSON values, beside its tensors."""
    listen = None if voice.listen is None else part_name(voice.listen)
    heard = getattr(voice.listen, "identity", None)  # of the weights, where a feature has any
    return {"part": part_name(voice), "config": voice.config(), "listen": listen, "heard": heard}


def restore_voice(entry: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """The voice that `voice_entry` and its `tensors()` describe.

    Raises:
        InputError: the audio feature that it was trained on is not to be had here, or has other weights.
    """
    listen = choose("avatar3d.audio", entry["listen"])() if entry["listen"] else None
    if getattr(listen, "identity", None) != entry.get("heard"):
        raise InputError(
            f"this voice was trained on {entry['listen']} with other weights than are found here",
            "name the folder with those weights in AVATAR3D_AUDIO_WEIGHTS",
        )
    return choose("avatar3d.motion", entry["part"]).restore(entry["config"], tensors, listen)


def part_name(part: Any) -> str:
    """The name under which `choose` finds this part again: the file's name in our rooms, dotted elsewhere."""
    module = type(part).__module__
    room, _, name = module.rpartition(".")
    return name if room in ("avatar3d.avatar", "avatar3d.motion", "avatar3d.audio") else module
