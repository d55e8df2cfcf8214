# SPDX-License-Identifier: Apache-2.0
"""`avatar3d view`: a work folder or an avatar in a window, while it is trained or afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d import assets
from avatar3d.avatars import open_avatar
from avatar3d.contracts import Head
from avatar3d.data_prep._overlay import Drawing, drawn
from avatar3d.data_prep.quality import picture_of
from avatar3d.errors import InputError
from avatar3d.face.canonical import load_canonical
from avatar3d.preview import Preview
from avatar3d.recipes._live import live_window
from avatar3d.recipes._renderer import renderer_of
from avatar3d.recipes.create import CreateSettings, create_from
from avatar3d.recipes.train import as_trained, load_head
from avatar3d.records import Capture, Motion, Track, Watch, unwatched
from avatar3d.store import AVATAR_SUFFIX, Work, load_capture, load_track
from avatar3d.threads import torch_threads
from avatar3d.viewer.front import LOCAL
from avatar3d.viewer.scene import Footage, Scene
from avatar3d.viewer.window import Window


@dataclass(frozen=True)
class ViewSettings:
    """How a window is opened."""

    host: str = LOCAL  # beyond this machine a token is asked for
    port: int | None = None  # None: the first free one from 8080 on
    renderer: str | None = None  # None: the head's own


def view(path: Path, settings: ViewSettings, say: Callable[[str], None]) -> dict[str, Any]:
    """Shows a work folder or an avatar until Ctrl-C.

    Args:
        say: told where the window is.

    Returns:
        "open_s", "pictures", "ms_per_picture".

    Raises:
        InputError: neither of the two, viser is not installed, or the port is taken.
    """
    with torch_threads(1), opened(path, settings) as window:
        return _until_interrupted(window.front.url, say) | window.figures()


def view_live(path: Path, settings: ViewSettings, say: Callable[[str], None]) -> dict[str, Any]:
    """Lets an avatar answer a browser's microphone, sound files and camera until Ctrl-C.

    Returns:
        "open_s", "pictures", and for each of "sound", "camera" and "idle" "..._ms_p50" and "..._ms_p99": from a
        message's arrival to its picture, without the way to the browser and back, which its page measures.

    Raises:
        InputError: not an avatar, websockets is not installed, or the port is taken.
    """
    with torch_threads(1), ExitStack() as stack:
        window = stack.enter_context(live_window(path, settings.renderer, settings.host, settings.port, stack))
        return _until_interrupted(window.front.url, say) | window.measured.told()


def _until_interrupted(url: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Says where the window is and waits for Ctrl-C; "open_s"."""
    say(f"{url}   (Ctrl-C closes it)")
    began_s = time.monotonic()
    with suppress(KeyboardInterrupt):  # this is how one leaves a window
        threading.Event().wait()
    return {"open_s": round(time.monotonic() - began_s, 1)}


def train_watched(
    work: Work,
    settings: CreateSettings,
    window_settings: ViewSettings,
    say: Callable[[str], None],
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """`create.create_from` with a window on the head as it trains, which closes when all is made.

    Args:
        say: told where the window is.

    Raises:
        InputError: as `create_from` and `view`.
    """
    preview = Preview()
    with opened(work.path, window_settings, preview) as window:
        say(f"{window.front.url}   (the head appears there as it learns)")
        return create_from(work, settings, watch, preview)


@contextmanager
def opened(path: Path, settings: ViewSettings, preview: Preview | None = None) -> Iterator[Window]:
    """The window of a work folder or an avatar; with `preview`, of a training in another thread."""
    work = Work(path)
    if path.name.endswith(AVATAR_SUFFIX) or not work.capture_json.exists():
        scene, runs, found = _of_avatar(path, settings.renderer), None, None
    else:
        scene, runs = _of_work(work, settings.renderer), path / "runs"
        found = partial(_find_heads, scene, work)
    window = Window(scene, path.name, runs, preview, found, settings.host, settings.port)
    try:
        window.start()
        yield window
    finally:
        window.stop()


def _of_avatar(path: Path, renderer: str | None) -> Scene:
    if not path.exists():
        raise InputError(f"{path}: no such folder", "name a work folder or a folder NAME.avatar")
    avatar = open_avatar(path)
    footage = Footage(avatar.clip, avatar.head.camera)
    return Scene(footage, partial(renderer_of, named=renderer), {path.name: lambda: avatar.head})


def _of_work(work: Work, renderer: str | None) -> Scene:
    if not work.track_file.exists():
        raise InputError(f"{work.path}: no track in this folder", f"run: avatar3d prepare VIDEO -o {work.path}")
    capture, track = load_capture(work), load_track(work)
    footage = Footage(track.motion, track.camera, capture.cuts, capture.frames, _tracked(capture, track))
    return Scene(footage, partial(renderer_of, named=renderer), heads(work), _motions(work, track))


def heads(work: Work) -> dict[str, Callable[[], Head]]:
    """How to get each trained head of a work folder, and each avatar in it that no training of the folder explains."""
    found: dict[str, Callable[[], Head]] = {}
    for file in sorted((work.path / "runs").glob("*/head.safetensors")):
        found[file.parent.name] = partial(load_head, work, file.parent.name)
    for folder in sorted(work.path.glob(f"*{AVATAR_SUFFIX}")):
        found[folder.name] = partial(_head_of, folder)
    return found


def _head_of(folder: Path) -> Head:
    return open_avatar(folder).head


def _find_heads(scene: Scene, work: Work) -> None:
    for name, head in heads(work).items():
        if name not in scene.names:
            scene.put(name, head)


def _motions(work: Work, track: Track) -> Mapping[str, Motion]:
    """Of heads that measured the motion anew while they were trained."""
    runs = [file.parent.name for file in (work.path / "runs").glob("*/head.safetensors")]
    return {name: as_trained(work, name, track)[0].motion for name in runs}


def _tracked(capture: Capture, track: Track) -> Callable[[int], np.ndarray]:
    """Draws what the tracker found on a frame: the rig's mesh, its outlines, and the landmarks."""
    triangles = load_canonical(assets.find(assets.FACE_LANDMARKER)).triangles

    def draw(frame: int) -> np.ndarray:
        picture = capture.frames[frame]
        rig = picture_of(track, slice(frame, frame + 1))[0]
        seen = track.landmarks.points[frame, :, :2]
        what = Drawing(picture, rig, seen, bool(track.confidence[frame] > 0), triangles)
        return drawn(what, 2 * len(picture))  # so large that thin lines stay thin

    return draw
