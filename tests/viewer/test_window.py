# SPDX-License-Identifier: Apache-2.0
"""The training window through its own door: frames for whoever looks, the head as it learns, and a clean end."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import CHROMIUM, browser
from made_up import SIZE, MadeUp, make
from PIL import Image as PillowImage

from avatar3d._fit_log import Log
from avatar3d.fit import StepReport
from avatar3d.preview import Preview
from avatar3d.render.native import Native
from avatar3d.viewer.scene import Footage, Request, Scene
from avatar3d.viewer.window import TRAINING, Window, sized

pytest.importorskip("viser", reason="needs viser: pip install 'avatar3d[view]'")

import msgspec
import zstandard
from viser import __version__ as VISER
from viser._messages import ViewerCameraMessage
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

LONG_S = 30.0


@pytest.fixture(scope="module")
def made(face_task: Path) -> MadeUp:
    return make(face_task)


@pytest.fixture
def scene(made: MadeUp) -> Scene:
    footage = Footage(made.track.motion, made.track.camera, (), made.capture.frames)
    return Scene(footage, lambda _: Native(), {"linear": lambda: made.truth})


@pytest.fixture
def window(scene: Scene, tmp_path: Path) -> Iterator[Window]:
    with Window(scene, "me", tmp_path, port=0) as running:
        yield running


class Browser:
    """A browser's side of viser, as far as these tests need it."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    def stand(self, position: tuple[float, float, float] = (0.0, 0.0, 0.0), side: int = SIZE) -> None:
        """Puts the camera somewhere, looking ahead."""
        message = ViewerCameraMessage(
            wxyz=(1.0, 0.0, 0.0, 0.0), position=position, fov=0.5, near=0.01, far=100.0, image_height=side,
            image_width=side, look_at=(0.0, 0.0, 5.0), up_direction=(0.0, -1.0, 0.0),
        )  # fmt: skip
        self._socket.send(msgspec.msgpack.encode(message.as_serializable_dict([])))

    def sees(self, enough: Callable[[np.ndarray], bool] = lambda _: True) -> np.ndarray:
        """The first picture [H,W,3] that is `enough`."""
        end_s = time.monotonic() + LONG_S
        while time.monotonic() < end_s:
            for message in self._messages():
                if message["type"] == "BackgroundImageMessage" and message["rgb_data"] is not None:
                    with PillowImage.open(io.BytesIO(message["rgb_data"])) as image:
                        picture = np.asarray(image.convert("RGB"))
                    if enough(picture):
                        return picture
        raise AssertionError("no such picture came")

    def _messages(self) -> list[dict[str, Any]]:
        raw = self._socket.recv(LONG_S)
        assert isinstance(raw, bytes)
        size = int.from_bytes(raw[8:16], "little")
        return list(msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(raw[16 : 16 + size]))["messages"])


@contextmanager
def looking(window: Window) -> Iterator[Browser]:
    url = f"{window.front.host}:{window.front.port}"
    protocols: Any = [f"viser-v{VISER}"]
    with connect(f"ws://{url}", origin=f"http://{url}", subprotocols=protocols, proxy=None, max_size=None) as socket:  # type: ignore[arg-type]
        yield Browser(socket)


def db(one: np.ndarray, two: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((one.astype(float) - two) ** 2) / 255**2 + 1e-12))


def test_a_browser_sees_the_head_as_it_was_filmed_and_then_from_where_it_goes(window: Window, scene: Scene) -> None:
    window.panel.beside.value = "nothing"
    with looking(window) as one:
        one.stand()
        expected = scene.picture(Request("linear", 0, SIZE, SIZE))
        one.sees(lambda picture: db(picture, expected) > 30)
        one.stand((0.0, 0.0, 2.0))
        nearer = torch.eye(4)
        nearer[2, 3] = -2.0
        expected = scene.picture(Request("linear", 0, SIZE, SIZE, cam_from_world=nearer))
        one.sees(lambda picture: db(picture, expected) > 30)


def test_sliders_heads_and_frames_are_seen_at_once_by_all(window: Window, scene: Scene, made: MadeUp) -> None:
    with looking(window) as one, looking(window) as two:
        for browser_ in (one, two):
            browser_.stand(side=2 * SIZE)
        window.panel.beside.value = "filmed"
        window.panel.frame.value = 9
        # side by side in a square: each half as wide as it is high, the film in its middle
        for browser_ in (one, two):
            browser_.sees(lambda p: db(p[SIZE // 2 : -SIZE // 2, SIZE:], made.capture.frames[9]) > 28)
        window.panel._turns[0].value = 25.0
        window.panel._scores["jawOpen"].value = 0.5
        asked = window.panel.asked(SIZE, SIZE, None)
        assert (asked.controls.yaw_deg, dict(asked.controls.scores)) == (25.0, {"jawOpen": 0.5})
        turned = scene.picture(window.panel.asked(2 * SIZE, 2 * SIZE, None))
        two.sees(lambda picture: db(picture, turned) > 30)
        window.panel.let_go()
        assert window.panel.asked(SIZE, SIZE, None).controls.scores == {}
    assert window.figures()["pictures"] > 0


def test_a_playing_clip_goes_on_and_begins_again(window: Window) -> None:
    window.panel.frame.value = 60
    window.panel.play.value = True
    seen: set[int] = set()
    end_s = time.monotonic() + LONG_S
    while not (seen & set(range(60, 66)) and seen & set(range(1, 30))):
        seen.add(int(window.panel.frame.value))
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_the_head_in_training_appears_and_curves_are_drawn(made: MadeUp, tmp_path: Path) -> None:
    log = Log(tmp_path / "linear", 0)
    for step in range(1, 9):
        log.scalars(lambda: {"loss": 0.5, "figures/psnr": 30.0}, step, 0.0, now=True)
    log.close()
    preview = Preview(least_s=0.0)
    scene = Scene(Footage(made.track.motion, made.track.camera, (), made.capture.frames), lambda _: Native(), {})
    with Window(scene, "me", tmp_path, preview, port=0) as window, looking(window) as one:
        one.stand()
        film = scene.picture(window.panel.asked(SIZE, SIZE, None))
        one.sees(lambda picture: db(picture, film) > 28)
        end_s = time.monotonic() + LONG_S
        step = 0
        while TRAINING not in scene.names or not window.panel._plots:
            step += 1
            preview.offer(lambda: made.truth, StepReport(step, 0.5, "shape", 0.25, {}, 1.0, 1.0, {}))
            assert time.monotonic() < end_s
            time.sleep(0.01)
        window.panel.beside.value = "nothing"
        expected = scene.picture(Request(TRAINING, 0, SIZE, SIZE))
        one.sees(lambda picture: db(picture, expected) > 30)
        assert "shape, step" in window.panel.said.content and "loss 0.2500" in window.panel.said.content
        assert set(window.panel._plots) == {"linear: loss", "linear: held out"}


def test_nobody_looks_and_training_copies_nothing(made: MadeUp, scene: Scene) -> None:
    preview = Preview(least_s=0.0)
    with Window(scene, "me", None, preview, port=0):
        time.sleep(0.3)
        preview.offer(lambda: pytest.fail("nobody asked"), StepReport(1, 0.5, "all", 0.5, {}, 1.0, 1.0, {}))


def test_the_door_holds_for_this_window_too(window: Window) -> None:
    url = f"{window.front.host}:{window.front.port}"
    with pytest.raises(InvalidStatus):
        connect(f"ws://{url}", origin="http://evil.example", subprotocols=[f"viser-v{VISER}"], proxy=None)  # type: ignore[arg-type, list-item]
    assert window._server.request_share_url() is None
    assert window._server.get_host().startswith("127.") and window._server.get_host() != window.front.host


def test_it_says_nothing_on_stdout_and_leaves_no_thread(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(threading.enumerate())
    with Window(scene, "me", port=0) as window, looking(window) as one:
        one.stand()
        one.sees()
    assert capsys.readouterr() == ("", "")
    left = [
        thread for thread in set(threading.enumerate()) - before if not thread.name.startswith("ThreadPoolExecutor")
    ]
    assert not [thread for thread in left if thread.is_alive()]


def test_a_small_picture_keeps_its_shape() -> None:
    asked = Request(None, 0, 1600, 800)
    assert (sized(asked, 400).width, sized(asked, 400).height) == (800, 400)
    assert sized(asked, 1000) == asked


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to open the window")
def test_a_real_browser_shows_the_head_and_asks_nobody_else(window: Window, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as tab:
        tab.open(window.front.url)
        tab.wait_for("document.body && document.body.innerText.includes('head and eyes')")
        end_s = time.monotonic() + 60
        while window.drawn < 2:
            assert time.monotonic() < end_s
            time.sleep(0.1)
        tab.evaluate("1")
        assert not [
            url for url in tab.asked if not url.startswith(("data:", "blob:", window.front.url, "ws://127.0.0.1:"))
        ]
