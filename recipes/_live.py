# SPDX-License-Identifier: Apache-2.0
"""`avatar3d view AVATAR --live`: an avatar that answers a microphone, a sound file or a camera."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Lock

import numpy as np

from avatar3d import assets
from avatar3d.avatars import Avatar, open_avatar
from avatar3d.data_prep.landmarks import Face, Landmarker
from avatar3d.errors import InputError
from avatar3d.face.canonical import load_canonical
from avatar3d.recipes._renderer import renderer_of
from avatar3d.records import SAMPLE_RATE, Sound
from avatar3d.viewer.live import Figures, Live, Shot
from avatar3d.viewer.live_inputs import Mirror, Recent, Streaming
from avatar3d.viewer.live_server import LiveWindow


def live_window(path: Path, renderer: str | None, host: str, port: int | None, stack: ExitStack) -> LiveWindow:
    """A window that is not open yet; what it holds is let go with `stack`.

    Raises:
        InputError: not an avatar, websockets is not installed, or the port is taken.
    """
    if importlib.util.find_spec("websockets") is None:
        raise InputError("the window needs websockets, which is not installed", "run: pip install 'avatar3d[view]'")
    avatar = open_avatar(path)
    draw = renderer_of(avatar.head, renderer)
    see, why_not = _sight(stack)
    neutral = None if see is None else load_canonical(assets.find(assets.FACE_LANDMARKER)).vertices
    arkit_map, rest = avatar.head.tensors().get("arkit_map"), _at_rest(avatar)

    def begin(show: Callable[[Shot], None], figures: Figures) -> Live:
        mirror = None
        if see is not None and neutral is not None:
            mirror = Mirror(see, neutral, avatar.clip, None if arkit_map is None else arkit_map.numpy(), rest)
        return Live(avatar.head, draw, avatar.clip, _hearing(avatar), mirror, show, figures)

    return LiveWindow(begin, _told(avatar, path, why_not), host, port)


def _hearing(avatar: Avatar) -> Streaming | None:
    """The voice that was made for speech still coming; in avatars without one, the usual voice."""
    if avatar.live is not None:
        return avatar.live.live(SAMPLE_RATE)
    return None if avatar.voice is None else Recent(avatar.voice, avatar.clip.blink)


def _at_rest(avatar: Avatar) -> np.ndarray | None:
    """[K] the expression of the person who says nothing, as the voice has learned it."""
    if avatar.voice is None:
        return None
    silence = Sound(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    said = avatar.voice(silence)
    return said.expression[len(said) // 2]


def _told(avatar: Avatar, path: Path, why_not: str) -> dict[str, object]:
    """What the page is to know."""
    notes = [f"The camera drives nothing here: {why_not}."] if why_not else []
    if avatar.voice is None:
        notes.append("This avatar was made from a film without sound and has no voice.")
    name = str(avatar.about.get("name", path.stem))
    return {"name": name, "voice": avatar.voice is not None, "camera": not why_not, "note": " ".join(notes)}


def _sight(stack: ExitStack) -> tuple[Callable[[np.ndarray], Face | None] | None, str]:
    """What finds a face in a camera's picture, or why nothing does here."""
    try:
        landmarker = stack.enter_context(Landmarker(assets.find(assets.FACE_LANDMARKER)))
    except InputError as error:
        return None, str(error)
    lock = Lock()  # MediaPipe's graph takes one picture at a time

    def see(picture: np.ndarray) -> Face | None:
        with lock:
            return landmarker.largest(picture)

    return see, ""
