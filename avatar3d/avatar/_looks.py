# SPDX-License-Identifier: Apache-2.0
"""How a drawn head is held against a filmed frame: whole, or, where each pixel costs a ray, at some pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from avatar3d.avatar._frames import Frames
from avatar3d.avatar._seen import seen
from avatar3d.contracts import Draw, DrawPixels, Head
from avatar3d.records import Radiance

_NOT_FACE = 0.2  # weight of what lies outside the face: shoulders must not turn the head


class Looks(ABC):
    """Numbers [3,...] of a frame as filmed and as drawn."""

    def __init__(self, head: Head, draw: Draw, frames: Frames) -> None:
        self.head, self.draw, self.frames = head, draw, frames

    @abstractmethod
    def real(self, frame: int) -> Tensor:
        """[3,...] 0..1."""

    @abstractmethod
    def weight(self, frame: int) -> Tensor:
        """[...] how much each counts."""

    @abstractmethod
    def drawn(self, code: Tensor, frame: int) -> Tensor:
        """The head at a row of codes [P], as `real`; differentiable."""


class Whole(Looks):
    """All of a picture."""

    def real(self, frame: int) -> Tensor:
        return self.frames.target(frame, 0)

    def weight(self, frame: int) -> Tensor:
        return self.frames.face_weight(frame, _NOT_FACE)

    def drawn(self, code: Tensor, frame: int) -> Tensor:  # noqa: ARG002 - every frame is drawn whole
        return self.draw(self.head.pose(code), self.head.camera).over(self.head.background).permute(2, 0, 1)


class Some(Looks):
    """Pixels of two lattices, a fine one over the face, and one over the rest, each weighed by what it stands for."""

    def __init__(self, head: Head, draw: DrawPixels, frames: Frames, level: int, rays: int) -> None:
        """Args: level: halvings of the picture's size. rays: in the face, and as many over all of the picture."""
        super().__init__(head, draw, frames)
        self._rays = rays
        self._pixels = draw
        self.level = level
        self._camera = head.camera.shrunk(2**level)
        self._room = head.background[:: 2**level, :: 2**level]

    def real(self, frame: int) -> Tensor:
        x, y = self._at(frame)[0].long().unbind(1)
        return self.frames.target(frame, self.level)[:, y, x]

    def weight(self, frame: int) -> Tensor:
        at, area = self._at(frame)
        x, y = (at.long() << self.level).unbind(1)
        return self.frames.face_weight(frame, _NOT_FACE)[y, x] * area

    def drawn(self, code: Tensor, frame: int) -> Tensor:
        posed = self.head.pose(code)
        assert isinstance(posed, Radiance)
        at = self._at(frame)[0]
        x, y = at.long().unbind(1)
        return seen(self._pixels, posed, self._camera, at).over(self._room[y, x]).T

    def _at(self, frame: int) -> tuple[Tensor, Tensor]:
        """Middles [N,2] px, and how many pixels each stands for [N]."""
        x0, y0, x1, y1 = (edge >> self.level for edge in self.frames.face_box(frame))
        face, stands = _lattice(x0, y0, x1, y1, self._rays)
        rest, rest_stands = _lattice(0, 0, self._camera.width, self._camera.height, self._rays)
        x, y = rest.unbind(1)
        outside = (x < x0) | (x >= x1) | (y < y0) | (y >= y1)
        area = torch.cat([torch.full((len(face),), stands), torch.full((int(outside.sum()),), rest_stands)])
        return torch.cat([face, rest[outside]]).to(self.frames.device), area.to(self.frames.device)


def looks_of(head: Head, draw: Draw, frames: Frames, code: Tensor, rays: int) -> Looks:
    """How this head, of which `code` [P] is a frame, is looked at; `rays` as of `Some`."""
    with torch.no_grad():
        posed = head.pose(code)
    if isinstance(posed, Radiance) and isinstance(draw, DrawPixels):
        return Some(head, draw, frames, 0 if posed.enlarge is None else 1, rays)
    return Whole(head, draw, frames)


def _lattice(x0: int, y0: int, x1: int, y1: int, rays: int) -> tuple[Tensor, float]:
    """Middles [N,2] of about so many pixels, evenly over a box, and how many each stands for."""
    across, down = x1 - x0, y1 - y0
    step = max((across * down / rays) ** 0.5, 1.0)
    x = x0 + torch.arange(step / 2, across, step).floor()
    y = y0 + torch.arange(step / 2, down, step).floor()
    return torch.cartesian_prod(x, y) + 0.5, step**2
