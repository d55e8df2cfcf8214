# SPDX-License-Identifier: Apache-2.0
"""The training window: a head drawn by our own renderer, from wherever each browser's camera stands.

viser brings sliders, curves and the camera; the picture behind them is ours, so any kind of head can be looked at. Each
browser has a thread that draws what it asked for last: small while it moves, in full when it rests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from avatar3d.errors import InputError
from avatar3d.geometry import matrix_from_pose
from avatar3d.preview import Preview
from avatar3d.viewer._panel import Panel
from avatar3d.viewer._viser import PROTOCOL, client_pages, hidden_server, relay
from avatar3d.viewer.curves import Curves
from avatar3d.viewer.front import LOCAL, Front
from avatar3d.viewer.newest import Answerer
from avatar3d.viewer.scene import Request, Scene

if TYPE_CHECKING:
    import viser

__all__ = ["TRAINING", "Window"]

TRAINING = "in training"
_MOVING_PX, _RESTING_PX = 256, 768  # height of a picture
_LOOK_EVERY_S = 2.0
_WAIT_S = 0.5
_QUALITY = 85  # of JPEG
_SAME = 1e-3  # of a camera that was not moved


class Window:
    """A scene in a browser, between `start` and `stop` or within a `with` block.

    Args:
        runs: the folder of trainings whose curves are shown.
        preview: of a training in this process, whose head is then shown as it is learned.
        found: looks for heads that have come since; called now and then.
        host, port: see `front.Front`.

    Raises:
        InputError: viser is not installed, or the port is taken.
    """

    def __init__(
        self,
        scene: Scene,
        title: str,
        runs: Path | None = None,
        preview: Preview | None = None,
        found: Callable[[], None] | None = None,
        host: str = LOCAL,
        port: int | None = None,
    ) -> None:
        self.scene, self._preview, self._found = scene, preview, found
        self._stopping = threading.Event()
        self._curves = None if runs is None else Curves(runs, self._stopping.is_set)
        self._server = hidden_server(title)
        try:
            self.front = Front(client_pages(), relay(self._server), host, port, protocol=PROTOCOL)
        except InputError:
            self._server.stop()
            raise
        self._answerers: dict[int, Answerer[viser.ClientHandle]] = {}
        self._lock = threading.Lock()
        self.drawn, self._drawing_s = 0, 0.0
        self._prepared_camera()
        self.panel = Panel(self._server, scene.names, len(scene), scene.footage.frames is not None, self.refresh)
        self._server.on_client_connect(self._welcome)
        self._server.on_client_disconnect(self._farewell)
        tasks = [self._play, self._look, *([] if preview is None else [self._follow])]
        self._threads = [threading.Thread(target=task, name=task.__name__, daemon=True) for task in tasks]

    def __enter__(self) -> Window:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once browsers are served."""
        self.front.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends every thread and frees the port."""
        self._stopping.set()
        self.front.stop()
        for thread in self._threads:
            thread.join(5.0)
        with self._lock:
            answerers, self._answerers = self._answerers, {}
        for answerer in answerers.values():
            answerer.close()
        self._server.stop()

    def figures(self) -> dict[str, Any]:
        """How much was drawn, and how long a picture took."""
        return {"pictures": self.drawn, "ms_per_picture": round(1e3 * self._drawing_s / max(self.drawn, 1), 2)}

    def refresh(self) -> None:
        """Every browser is to see what the controls say now."""
        for client in self._server.get_clients().values():
            self._ask(client)

    def _prepared_camera(self) -> None:
        """Puts a browser's camera where the film's was; it turns about the head."""
        camera, scene = self.scene.footage.camera, self._server.scene
        pivot_u = float(np.median(self.scene.footage.motion.head[:, 6]))
        scene.set_up_direction("-y")  # the world has the axes of a camera, whose y points down
        start = self._server.initial_camera
        start.position, start.look_at, start.up = (0.0, 0.0, 0.0), (0.0, 0.0, pivot_u), (0.0, -1.0, 0.0)
        start.fov = float(2 * torch.atan(camera.height / (2 * camera.K[1, 1])))
        self._server.gui.main_panel.dock_right()
        self._server.gui.configure_theme(show_share_button=False, show_logo=False, dark_mode=True)

    def _welcome(self, client: viser.ClientHandle) -> None:
        answerer: Answerer[viser.ClientHandle] = Answerer(self._answer)
        with self._lock:
            self._answerers[client.client_id] = answerer
        client.camera.on_update(lambda _: self._ask(client))
        self._ask(client)

    def _farewell(self, client: viser.ClientHandle) -> None:
        with self._lock:
            answerer = self._answerers.pop(client.client_id, None)
        if answerer is not None:
            answerer.close(timeout_s=0.0)  # this is the server's own thread, which must not wait

    def _ask(self, client: viser.ClientHandle) -> None:
        with self._lock:
            answerer = self._answerers.get(client.client_id)
        if answerer is not None:
            answerer.ask(client)

    def _answer(self, client: viser.ClientHandle, moving: bool) -> None:
        """Draws what controls and camera say now: asked any earlier, two threads could get it the wrong way round."""
        camera, began_s = client.camera, time.perf_counter()
        request = self.panel.asked(max(camera.image_width, 2), max(camera.image_height, 1), _cam_from_world(camera))
        picture = self.scene.picture(sized(request, _MOVING_PX if moving else _RESTING_PX))
        self.drawn, self._drawing_s = self.drawn + 1, self._drawing_s + time.perf_counter() - began_s
        if client.client_id in self._server.get_clients():
            client.scene.set_background_image(picture, "jpeg", jpeg_quality=_QUALITY)

    def _play(self) -> None:
        """Moves the frame while "play" is on; late frames are left out."""
        fps, frames = self.scene.footage.motion.fps, max(len(self.scene), 1)
        first, began_s = 0, 0.0
        playing = False
        while not self._stopping.wait(1 / fps):
            if not self.panel.play.value:
                playing = False
                continue
            if not playing:
                playing, first, began_s = True, int(self.panel.frame.value), time.monotonic()
            self.panel.frame.value = (first + round((time.monotonic() - began_s) * fps)) % frames

    def _look(self) -> None:
        """Curves, and heads that have come since."""
        while not self._stopping.is_set():
            if self._found is not None:
                self._found()
                self.panel.offer(self.scene.names or self.panel.head.options)
            if self._curves is not None and self._server.get_clients():
                self.panel.plot(self._curves.read())
            self._stopping.wait(_LOOK_EVERY_S)

    def _follow(self) -> None:
        """Shows the head in training whenever it has learned; asks for none where nobody looks."""
        assert self._preview is not None
        first = True
        while not self._stopping.is_set():
            seen = self._preview.newest(_WAIT_S) if self._server.get_clients() else None
            if seen is None:
                self._stopping.wait(0.1)
                continue
            head = type(seen.head).restore(seen.head.config(), seen.head.tensors())  # on the CPU, where we draw
            self.scene.put(TRAINING, lambda head=head: head)  # type: ignore[misc]
            self.panel.offer(self.scene.names, TRAINING if first else None)
            first = False
            report = seen.report
            self.panel.said.content = (
                f"{report.stage}, step {report.step}, {report.progress:.0%}: loss {report.loss:.4f}"
            )
            if self.panel.head.value == TRAINING:
                self.refresh()


def sized(request: Request, height: int) -> Request:
    """The same at most `height` px high."""
    scale = min(height / request.height, 1.0)
    return replace(request, width=max(round(request.width * scale), 2), height=max(round(request.height * scale), 1))


def _cam_from_world(camera: viser.CameraHandle) -> torch.Tensor | None:
    """[4,4] of a browser's camera, whose axes are ours; None where it still stands where the film's did."""
    world_from_cam = np.concatenate([camera.wxyz, camera.position])
    if np.abs(np.abs(world_from_cam) - (1, 0, 0, 0, 0, 0, 0)).max() < _SAME:
        return None
    return torch.linalg.inv(matrix_from_pose(torch.from_numpy(world_from_cam)))
