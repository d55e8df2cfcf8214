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
from typing import Any

import numpy as np
import torch

from avatar3d import media
from avatar3d.avatars import Avatar, open_avatar
from avatar3d.camera_path import CameraPath
from avatar3d.choose import choose
from avatar3d.contracts import Speak
from avatar3d.data_prep.exchange import camera_path, live_link
from avatar3d.errors import InputError
from avatar3d.recipes._page import write_talking_page
from avatar3d.records import FPS, Motion, Progress, Sound, Watch, frame_count, unwatched
from avatar3d.store import load_picture
from avatar3d.talk import Background, HeadMotion, Orbit, View, driven, perform, seen_from, show
from avatar3d.threads import torch_threads

SOUND_RATE = 48_000  # Hz, in the video; the voice hears its own rate
_AHEAD = 4  # frames drawn while one is encoded
_SIDES_PX = (64, 4096)


@dataclass(frozen=True)
class TalkSettings:
    """How the talking head is shown."""

    background: str = "original"  # original, alpha (a .mov or .webm file), #rrggbb, or a picture's file name
    camera: str = "fixed"  # fixed, orbit, or the file name of a camera path of nerfstudio's
    head: HeadMotion = "replay"  # moves as in the capture, or keeps still
    size: int | None = None  # width of the video, px; None: the capture's
    quality: int = 18  # of H.264 and VP9: 0 (lossless) .. 51 (worst)
    renderer: str = "native"
    seed: int = 0  # decides blinks and where the head's movement begins


def talk_video(
    avatar: Path,
    speech: Path | None,
    out: Path,
    settings: TalkSettings = TalkSettings(),
    watch: Watch = unwatched,
    motion: Path | None = None,
) -> dict[str, Any]:
    """Writes `out`: the avatar saying `speech` (any sound or video file), in sync, as long as the speech to a frame.

    Args:
        motion: a recording of Live Link Face, which the avatar does instead, as long as it lasts; the speech is then
            only heard, and need not be.

    Returns:
        frames, seconds, width, height, wall_s, and fps: frames written per second, encoding included.

    Raises:
        InputError: the avatar, the speech, the motion, the background or the name of the output cannot be used.
    """
    if speech is None and motion is None:
        raise InputError("neither a speech nor a motion", "name a sound file, or a recording with --motion")
    opened = open_avatar(avatar)
    sound = None if speech is None else media.sound(speech, SOUND_RATE)
    if speech is not None and (sound is None or frame_count(sound) == 0):
        raise InputError(f"{speech}: no sound in this file", "give a file with speech")
    if motion is not None:
        return move(opened, live_link.read(motion), sound, out, settings, watch)
    assert sound is not None
    return say(opened, sound, out, settings, watch, name=str(avatar))


def move(
    avatar: Avatar,
    motion: Motion,
    sound: Sound | None,
    out: Path,
    settings: TalkSettings = TalkSettings(),
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """As `talk_video`, of an open avatar and a motion in ARKit's scores; where its head never turns, ours does.

    The sound is cut, or goes on in silence, to the motion's length.
    """
    motion = driven(motion, avatar.clip, settings.head, settings.seed)
    return _played(avatar, motion, None if sound is None else _as_long(sound, len(motion)), out, settings, watch)


def say(
    avatar: Avatar,
    sound: Sound,
    out: Path,
    settings: TalkSettings = TalkSettings(),
    watch: Watch = unwatched,
    name: str = "this avatar",
) -> dict[str, Any]:
    """As `talk_video`, of an open avatar and a sound at hand; a name that ends in .html makes a page in 3D."""
    voice = voice_of(avatar, name)
    with torch_threads(1):
        motion = perform(voice, sound, avatar.clip, settings.head, settings.seed)
    return _played(avatar, motion, sound, out, settings, watch)


def _played(
    avatar: Avatar, motion: Motion, sound: Sound | None, out: Path, settings: TalkSettings, watch: Watch
) -> dict[str, Any]:
    """Writes a motion as video or page; the figures of `talk_video`."""
    started, total = time.perf_counter(), len(motion)
    with torch_threads(1):  # the encoder and the kernels keep the cores busy
        if out.suffix == ".html":
            if settings.camera not in ("fixed", "orbit"):
                raise InputError(f"{out}: a page is turned by whoever looks", "leave --camera out, or write an mp4")
            write_talking_page(out, avatar, motion, sound)
            width, height = avatar.head.camera.width, avatar.head.camera.height
        else:
            width, height = _write_video(avatar, motion, sound, out, settings, watch)
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


def _write_video(
    avatar: Avatar, motion: Motion, sound: Sound | None, out: Path, settings: TalkSettings, watch: Watch
) -> tuple[int, int]:
    """Width and height of the video that now stands at `out`."""
    view = View(_width(settings), background_of(settings.background), _way_of(settings.camera))
    camera = seen_from(avatar.head, motion, view)(0.0)
    draw = choose("avatar3d.render", settings.renderer)()
    started, total = time.perf_counter(), len(motion)
    writer = media.VideoWriter(
        out, camera.width, camera.height, FPS, sound, alpha=settings.background == "alpha", quality=settings.quality
    )
    with closing(ahead(show(avatar.head, draw, motion, view), _AHEAD)) as drawn, writer:
        for index, frame in enumerate(drawn):
            writer.write(frame)
            watch(Progress("talk", (index + 1) / total, f"{(index + 1) / (time.perf_counter() - started):.0f} fps"))
    return camera.width, camera.height


def _way_of(camera: str) -> Orbit | CameraPath | None:
    """What a camera's description on the command line means."""
    if camera == "fixed":
        return None
    if camera == "orbit":
        return Orbit()
    if not Path(camera).is_file():
        raise InputError(f"--camera {camera}: no such file", "give fixed, orbit, or nerfstudio's camera_path.json")
    return camera_path.read(Path(camera))


def _as_long(sound: Sound, frames: int) -> Sound:
    length = round(frames / FPS * sound.rate)
    return Sound(np.pad(sound.samples[:length], (0, max(length - len(sound.samples), 0))), sound.rate)


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
