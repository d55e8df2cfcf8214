# SPDX-License-Identifier: Apache-2.0
"""`avatar3d talk`: an avatar says what a sound file says, as a video or as a page in 3D."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from avatar3d import media
from avatar3d.avatars import Avatar, open_avatar
from avatar3d.choose import choose
from avatar3d.contracts import Speak
from avatar3d.dsp import resampled
from avatar3d.errors import InputError
from avatar3d.recipes._page import write_talking_page
from avatar3d.records import FPS, Progress, Sound, Watch, frame_count, unwatched
from avatar3d.store import load_picture
from avatar3d.talk import Background, HeadMotion, Orbit, View, perform, resized, talk
from avatar3d.threads import torch_threads

SOUND_RATE = 48_000  # Hz, in the video; the voice hears its own rate
PAGE_SOUND_RATE = 24_000  # Hz; a page carries its sound uncompressed
_AHEAD = 4  # frames drawn while one is encoded
_SIDES_PX = (64, 4096)


@dataclass(frozen=True)
class TalkSettings:
    """How the talking head is shown."""

    background: str = "original"  # original, alpha (a .mov or .webm file), #rrggbb, or a picture's file name
    camera: Literal["fixed", "orbit"] = "fixed"
    head: HeadMotion = "replay"  # moves as in the capture, or keeps still
    size: int | None = None  # width of the video, px; None: the capture's
    quality: int = 18  # of H.264 and VP9: 0 (lossless) .. 51 (worst)
    renderer: str = "native"
    seed: int = 0  # decides blinks and where the head's movement begins


def talk_video(
    avatar: Path, speech: Path, out: Path, settings: TalkSettings = TalkSettings(), watch: Watch = unwatched
) -> dict[str, Any]:
    """Writes `out`: the avatar saying `speech` (any sound or video file), in sync, as long as the speech to a frame.

    Returns:
        frames, seconds, width, height, wall_s, and fps: frames written per second, encoding included.

    Raises:
        InputError: the avatar, the speech, the background or the name of the output cannot be used.
    """
    opened = open_avatar(avatar)
    sound = media.sound(speech, SOUND_RATE)
    if sound is None or frame_count(sound) == 0:
        raise InputError(f"{speech}: no sound in this file", "give a file with speech")
    return say(opened, sound, out, settings, watch, name=str(avatar))


def say(
    avatar: Avatar,
    sound: Sound,
    out: Path,
    settings: TalkSettings = TalkSettings(),
    watch: Watch = unwatched,
    name: str = "this avatar",
) -> dict[str, Any]:
    """As `talk_video`, of an open avatar and a sound at hand; a name that ends in .html makes a page in 3D."""
    voice_of(avatar, name)
    started, total = time.perf_counter(), frame_count(sound)
    with torch_threads(1):  # the encoder and the kernels keep the cores busy
        if out.suffix == ".html":
            width, height = _write_page(avatar, sound, out, settings)
        else:
            width, height = _write_video(avatar, sound, out, settings, watch)
    wall_s = time.perf_counter() - started
    return {
        "frames": total,
        "seconds": total / FPS,
        "width": width,
        "height": height,
        "wall_s": round(wall_s, 2),
        "fps": round(total / wall_s, 1),
    }


def voice_of(avatar: Avatar, name: str) -> Speak:
    """The avatar's voice; InputError where it has none."""
    if avatar.voice is None:
        raise InputError(
            f"{name}: has no voice, since the video that it was made from has no sound",
            "create it from a video in which the person speaks",
        )
    return avatar.voice


def _write_video(avatar: Avatar, sound: Sound, out: Path, settings: TalkSettings, watch: Watch) -> tuple[int, int]:
    """Width and height of the video that now stands at `out`."""
    orbit = Orbit() if settings.camera == "orbit" else None
    view = View(_width(settings), background_of(settings.background), orbit)
    camera = resized(avatar.head.camera, view.width)
    draw = choose("avatar3d.render", settings.renderer)()
    started, total = time.perf_counter(), frame_count(sound)
    writer = media.VideoWriter(
        out, camera.width, camera.height, FPS, sound, alpha=settings.background == "alpha", quality=settings.quality
    )
    frames = talk(
        avatar.head,
        voice_of(avatar, str(out)),
        draw,
        sound,
        avatar.clip,
        view=view,
        head_motion=settings.head,
        seed=settings.seed,
    )
    with closing(ahead(frames, _AHEAD)) as drawn, writer:
        for index, frame in enumerate(drawn):
            writer.write(frame)
            watch(Progress("talk", (index + 1) / total, f"{(index + 1) / (time.perf_counter() - started):.0f} fps"))
    return camera.width, camera.height


def _write_page(avatar: Avatar, sound: Sound, out: Path, settings: TalkSettings) -> tuple[int, int]:
    """Width and height of the view that the page at `out` starts from."""
    motion = perform(voice_of(avatar, str(out)), sound, avatar.clip, settings.head, settings.seed)
    heard = Sound(resampled(sound, PAGE_SOUND_RATE), PAGE_SOUND_RATE)
    write_talking_page(out, avatar.head, motion, heard, str(avatar.about.get("name", "avatar")))
    return avatar.head.camera.width, avatar.head.camera.height


def background_of(text: str) -> Background:
    """What a background's description on the command line means.

    Raises:
        InputError: neither a known word, nor a colour, nor a picture.
    """
    if text == "original":
        return "original"
    if text == "alpha":
        return "alpha"
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return torch.tensor([int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    remedy = "give original, alpha, a colour as #rrggbb, or a picture's file name"
    try:
        return torch.from_numpy(load_picture(Path(text)).copy()).float() / 255
    except FileNotFoundError as error:
        raise InputError(f"{text}: neither a colour nor a file", remedy) from error
    except OSError as error:
        raise InputError(f"{text}: not a picture", remedy) from error


def ahead(frames: Iterator[np.ndarray], depth: int) -> Generator[np.ndarray, None, None]:
    """The same frames, made in another thread up to `depth` ahead of whoever takes them."""
    made: queue.Queue[np.ndarray | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: np.ndarray | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                made.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for frame in frames:
                if not put(frame):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=make, name="draw", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def _width(settings: TalkSettings) -> int | None:
    low, high = _SIDES_PX
    if settings.size is not None and not low <= settings.size <= high:
        raise InputError(f"a size of {settings.size} px", f"choose {low} to {high} px")
    return settings.size
