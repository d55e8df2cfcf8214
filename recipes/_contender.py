# SPDX-License-Identifier: Apache-2.0
"""One avatar before the judge: what it makes of the held-out frames, and the sheet on which that is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from avatar3d.avatars import Avatar
from avatar3d.contracts import Speak
from avatar3d.metrics import Look
from avatar3d.player import Player
from avatar3d.recipes._drawn import frames, frames_per_second
from avatar3d.recipes._judging import HeldOut
from avatar3d.recipes._sheets import contact_sheet
from avatar3d.records import Motion, Sound, Track, Watch
from avatar3d.refine import refine
from avatar3d.store import save_picture

TRACKED, LANDMARKS, AUDIO = PRODUCTIONS = ("self_tracked", "self_landmarks", "self_audio")
_LEAD_IN_S = 5.0  # sound before the held-out part that the voice hears too


@dataclass(frozen=True)
class Contender:
    """An avatar, and its frames of the held-out part by production, drawn when they are asked for."""

    name: str
    avatar: Avatar
    player: Player
    codes: Tensor  # [T,P] of self_tracked
    frames_per_second: float
    productions: dict[str, Iterator[np.ndarray]] = field(repr=False)


def contender(
    name: str, avatar: Avatar, player: Player, unseen: HeldOut, photometric: bool, seed: int, watch: Watch
) -> Contender:
    """Readies one avatar.

    Args:
        photometric: refine the held-out motion on the pictures; self_landmarks is then made too.
        seed: of the voice.
    """
    start, cuts, track = unseen.start, unseen.capture.cuts, unseen.track
    codes = player.head.encode(track.motion, cuts)[start:]
    fps = frames_per_second(player, codes)
    productions = {}
    if photometric:
        productions[LANDMARKS] = frames(player, codes)
        track = refine(player.head, unseen.capture, track, player.draw, range(start, len(track.motion)), watch=watch)
        codes = player.head.encode(track.motion, cuts)[start:]
    productions[TRACKED] = frames(player, codes)
    if avatar.voice is not None and unseen.capture.sound is not None:
        motion = spoken(avatar.voice, unseen.capture.sound, track, start, seed)
        productions[AUDIO] = frames(player, player.head.encode(motion, cuts)[start:])
    return Contender(name, avatar, player, codes, fps, productions)


def spoken(voice: Speak, sound: Sound, track: Track, start: int, seed: int = 0) -> Motion:
    """The track's motion whose face, from frame `start` on, is what the voice makes of the sound; the head stays.

    The voice hears five seconds of lead-in, as it would in the middle of a longer speech.
    """
    motion, frames = track.motion, len(track.motion)
    first = max(start - round(_LEAD_IN_S * motion.fps), 0)
    samples = slice(round(first / motion.fps * sound.rate), round(frames / motion.fps * sound.rate))
    said = voice(Sound(sound.samples[samples], sound.rate), seed)
    # sound may end a little before the picture does: the last row then stays
    rows = np.minimum(np.arange(start, frames) - first, len(said) - 1)
    return replace(
        motion,
        expression=np.pad(said.expression[rows], ((start, 0), (0, 0))),
        blink=np.concatenate([motion.blink[:start], said.blink[rows]]),
        gaze=np.concatenate([motion.gaze[:start], said.gaze[rows]]),
        basis=said.basis,
    )


def saved(made: Iterator[np.ndarray], unseen: HeldOut, folder: Path) -> Iterator[np.ndarray]:
    """The same frames, each written beside the real one as it passes."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(made):
        save_picture(folder / f"{unseen.start + index:06d}_pred.png", frame)
        save_picture(folder / f"{unseen.start + index:06d}_true.png", unseen.real(index))
        yield frame


def ranked(looks: list[Look]) -> tuple[np.ndarray, np.ndarray]:
    """Frames from worst to best [T], and their ranks' measure [T]: psnr_head, or psnr_full where there is no face."""
    by = np.array([look.psnr_full if np.isnan(look.psnr_head) else look.psnr_head for look in looks])
    return by.argsort(kind="stable"), by


def write_sheet(run: Path, one: Contender, unseen: HeldOut, looks: list[Look]) -> None:
    """contact.png: worst, quartiles and best by psnr_head."""
    order, by = ranked(looks)
    chosen = order[np.linspace(0, len(order) - 1, 5).round().astype(int)]
    rows = [
        (
            unseen.real(index),
            one.player.frame(one.codes[index]),
            f"frame {unseen.start + index}, head {by[index]:.1f} dB",
        )
        for index in chosen
    ]
    save_picture(run / "contact.png", contact_sheet(rows))
