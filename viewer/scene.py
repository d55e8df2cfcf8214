# SPDX-License-Identifier: Apache-2.0
"""What a training window shows, as pictures: any head of a folder, from any side, beside what was filmed.

It knows nothing of the window itself: `Scene.picture` is a function from a request to pixels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
from PIL import Image as PillowImage
from torch import Tensor
from torch.nn import functional

from avatar3d.contracts import Draw, Head
from avatar3d.player import Player
from avatar3d.records import Camera, Motion
from avatar3d.viewer.controls import Controls, moment, steered

__all__ = ["BESIDE", "Beside", "Footage", "Request", "Scene", "framed", "widened"]

Beside = Literal["nothing", "filmed", "filmed and tracked", "4 x error"]
BESIDE: tuple[Beside, ...] = get_args(Beside)
_DARK = 24  # of what lies outside a filmed frame
_ERROR = 4


@dataclass(frozen=True)
class Footage:
    """What was filmed, and how the face moved in it."""

    motion: Motion
    camera: Camera  # that filmed it
    cuts: tuple[int, ...] = ()
    frames: np.ndarray | None = None  # [T,H,W,3] uint8; None: an avatar alone, whose film is not at hand
    tracked: Callable[[int], np.ndarray] | None = None  # a frame with what the tracker found drawn on it


@dataclass(frozen=True)
class Request:
    """One picture."""

    head: str | None  # None: there is none yet
    frame: int
    width: int  # px
    height: int  # px
    controls: Controls = field(default_factory=Controls)
    cam_from_world: Tensor | None = None  # [4,4]; None: where it was filmed from
    beside: Beside = "nothing"


@dataclass(frozen=True)
class _Shown:
    player: Player
    arkit_map: np.ndarray | None
    motion: Motion


class Scene:
    """Heads by name and the film that they were made from.

    Args:
        draw_of: the renderer of a head.
        heads: how to get each one; it is kept once it was asked for.
        motions: of heads that move by other numbers than the footage's own.
    """

    def __init__(
        self,
        footage: Footage,
        draw_of: Callable[[Head], Draw],
        heads: Mapping[str, Callable[[], Head]],
        motions: Mapping[str, Motion] | None = None,
    ) -> None:
        self.footage, self._draw_of = footage, draw_of
        self._heads, self._motions = dict(heads), dict(motions or {})
        self._shown: dict[str, _Shown] = {}
        self._rooms_of: Tensor | None = None
        self._rooms: dict[tuple[int, int], Tensor] = {}
        self._lock = threading.RLock()  # one picture at a time: the kernels use every core as it is

    @property
    def names(self) -> tuple[str, ...]:
        """Of the heads that can be asked for."""
        with self._lock:
            return tuple(self._heads)

    def __len__(self) -> int:
        return len(self.footage.motion)

    def put(self, name: str, head: Callable[[], Head]) -> None:
        """Adds a head, or replaces one by what it has become."""
        with self._lock:
            self._heads[name] = head
            self._shown.pop(name, None)

    def picture(self, request: Request) -> np.ndarray:
        """[height,width,3] uint8."""
        two = request.beside != "nothing" and self.footage.frames is not None
        width = request.width // 2 if two else request.width
        with self._lock:
            made = self._made(request, width, request.height)
            if not two:
                return made
            return np.concatenate([made, self._beside(request, request.width - width)], 1)

    def _made(self, request: Request, width: int, height: int) -> np.ndarray:
        """The head's picture, or the film's where there is no head yet."""
        if request.head is None:
            return self._filmed(self._frame(request), width, height)
        shown = self._loaded(request.head)
        head = shown.player.head
        camera = framed(head.camera, width, height)
        if request.cam_from_world is not None:
            camera = replace(camera, cam_from_world=request.cam_from_world.float())
        row = moment(head, shown.motion, min(request.frame, len(shown.motion) - 1), self.footage.cuts)
        code = head.encode(steered(row, request.controls, shown.arkit_map))[0]
        return shown.player.frame(code, camera, self._behind(head, width, height))

    def _beside(self, request: Request, width: int) -> np.ndarray:
        assert self.footage.frames is not None
        if request.beside == "filmed and tracked" and self.footage.tracked is not None:
            return self._filmed(self.footage.tracked(request.frame), width, request.height)
        real = self._frame(request)
        if request.beside == "4 x error" and request.head is not None:
            plain = replace(request, cam_from_world=None, controls=Controls())
            made = self._made(plain, real.shape[1], real.shape[0])
            real = (np.abs(made.astype(np.int16) - real) * _ERROR).clip(0, 255).astype(np.uint8)
        return self._filmed(real, width, request.height)

    def _frame(self, request: Request) -> np.ndarray:
        frames = self.footage.frames
        if frames is None:
            return np.full((self.footage.camera.height, self.footage.camera.width, 3), _DARK, np.uint8)
        return np.asarray(frames[min(request.frame, len(frames) - 1)])

    def _filmed(self, frame: np.ndarray, width: int, height: int) -> np.ndarray:
        """A frame in the middle of a picture of that size, as large as `framed` shows it."""
        scale = _scale(frame.shape[1], frame.shape[0], width, height)
        size = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
        small = PillowImage.fromarray(np.ascontiguousarray(frame)).resize(size, PillowImage.Resampling.BILINEAR)
        picture = PillowImage.new("RGB", (width, height), (_DARK,) * 3)
        picture.paste(small, ((width - size[0]) // 2, (height - size[1]) // 2))
        return np.asarray(picture)

    def _loaded(self, name: str) -> _Shown:
        if name not in self._shown:
            head = self._heads[name]()
            arkit_map = head.tensors().get("arkit_map")
            motion = self._motions.get(name, self.footage.motion)
            self._shown[name] = _Shown(
                Player(head, self._draw_of(head)), None if arkit_map is None else arkit_map.numpy(), motion
            )
        return self._shown[name]

    def _behind(self, head: Head, width: int, height: int) -> Tensor:
        """The head's room at that size [height,width,3]; kept, since frames follow one another."""
        if self._rooms_of is not head.background:
            self._rooms_of, self._rooms = head.background, {}
        if (width, height) not in self._rooms:
            self._rooms[width, height] = widened(head.background, width, height)
        return self._rooms[width, height]


def framed(camera: Camera, width: int, height: int) -> Camera:
    """The camera with its whole view in the middle of another picture, and what lies around it to be seen."""
    scale = _scale(camera.width, camera.height, width, height)
    K = camera.K.clone().float()
    K[:2] *= scale
    K[0, 2] += (width - scale * camera.width) / 2
    K[1, 2] += (height - scale * camera.height) / 2
    return Camera(K, camera.cam_from_world, width, height)


def _scale(inner_width: int, inner_height: int, width: int, height: int) -> float:
    return min(width / inner_width, height / inner_height)


def widened(room: Tensor, width: int, height: int) -> Tensor:
    """A room [H,W,3] as `framed` shows it, its edges drawn out to the picture's [height,width,3]."""
    tall, wide = room.shape[:2]
    scale = _scale(wide, tall, width, height)
    size = min(round(tall * scale), height), min(round(wide * scale), width)
    planes = functional.interpolate(
        room.permute(2, 0, 1)[None].float(), size=size, mode="bilinear", antialias=True, align_corners=False
    )
    left, top = (width - size[1]) // 2, (height - size[0]) // 2
    edges = (left, width - size[1] - left, top, height - size[0] - top)
    return functional.pad(planes, edges, mode="replicate")[0].permute(1, 2, 0).contiguous()
