# SPDX-License-Identifier: Apache-2.0
"""A motion of an avatar as a video or as a page in 3D."""

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
from avatar3d.avatars import Avatar
from avatar3d.camera_path import CameraPath
from avatar3d.data_prep.exchange import camera_path
from avatar3d.errors import InputError
from avatar3d.recipes._page import write_talking_page
from avatar3d.recipes._renderer import renderer_of
from avatar3d.records import FPS, Motion, Progress, Sound, Watch
from avatar3d.store import load_picture
from avatar3d.talk import USUAL_HEAD, Background, HeadMotion, Orbit, View, seen_from, show
from avatar3d.threads import torch_threads

_AHEAD = 4  # frames drawn while one is encoded
_SIDES_PX = (64, 4096)


@dataclass(frozen=True)
class TalkSettings:
    """How the talking head is shown."""

    background: str = "original"  # original, alpha (a .mov or .webm file), #rrggbb, or a picture's file name
    camera: str = "fixed"  # fixed, orbit, or the file name of a camera path of nerfstudio's
    head: HeadMotion = USUAL_HEAD  # moves as in the capture, the livelier the louder, or keeps still
    size: int | None = None  # width of the video, px; None: the capture's
    quality: int = 18  # of H.264 and VP9: 0 (lossless) .. 51 (worst)
    renderer: str | None = None  # None: the head's own
    seed: int = 0  # decides blinks and the head's movement


def played(
    avatar: Avatar, motion: Motion, sound: Sound | None, out: Path, settings: TalkSettings, watch: Watch
) -> dict[str, Any]:
    """Writes a motion as a video, or as a page in 3D where the name ends in .html.

    Returns:
        frames, seconds, width, height, wall_s, and fps: frames written per second, encoding included.
    """
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


def _write_video(
    avatar: Avatar, motion: Motion, sound: Sound | None, out: Path, settings: TalkSettings, watch: Watch
) -> tuple[int, int]:
    """Width and height of the video that now stands at `out`."""
    view = View(width_of(settings), background_of(settings.background), _way_of(settings.camera))
    camera = seen_from(avatar.head, motion, view)(0.0)
    draw = renderer_of(avatar.head, settings.renderer)
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


def width_of(settings: TalkSettings) -> int | None:
    low, high = _SIDES_PX
    if settings.size is not None and not low <= settings.size <= high:
        raise InputError(f"a size of {settings.size} px", f"choose {low} to {high} px")
    return settings.size
