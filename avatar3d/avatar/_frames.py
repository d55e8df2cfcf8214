# SPDX-License-Identifier: Apache-2.0
"""The frames of a capture as a trainer needs them: pictures, where errors count more, which to draw how often."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFilter
from torch import Tensor

from avatar3d.face.groups import INNER_LIPS, LEFT_LID_RATIO, OUTER_LIPS, OVAL, RIGHT_LID_RATIO
from avatar3d.ops.picture import mask_loss
from avatar3d.perceptual import SMALLEST_PX
from avatar3d.records import Capture, Track
from avatar3d.store import let_go
from avatar3d.store.mapped import EVERY

_LIP_WEIGHT, _EYE_WEIGHT = 4.0, 2.0  # added to 1 in the square about the lips (again inside them) and about the eyes
_SURE = 0.05  # masks count where they are this sure
# masks are loose: within so many heights of their outline, inwards, they say nothing, or a head would take along a rim
# in the colour of the room
_LOOSE = 0.01
_MIDDLE = 127


_DEVICE_SHELF_BYTES = 4 << 30  # of pictures that stay on a GPU: making and sending them takes longer than a step


class Frames:
    """Levels are halvings of the picture's size: 0 is the whole size. `usable` are the frames to train on.

    Tensors are made on `device`. On a GPU pictures, weights and masks stay there once they are sent, up to
    `shelf_bytes`; those of a long capture that do not fit are sent again.
    """

    def __init__(
        self, capture: Capture, track: Track, device: torch.device | str = "cpu", shelf_bytes: int | None = None
    ) -> None:
        self.device = torch.device(device)
        usual = _DEVICE_SHELF_BYTES if self.device.type == "cuda" else 0
        self._room = usual if shelf_bytes is None else shelf_bytes
        self._shelf: dict[tuple[str, int, int], Tensor] = {}
        self.pictures, self.masks = capture.frames, capture.masks
        self.height, self.width = capture.frames.shape[1:3]
        self.points = np.nan_to_num(track.landmarks.points[..., :2])
        trusted = usable_frames(track)
        numbers = np.arange(len(trusted))
        self.usable = torch.from_numpy(numbers[trusted & (numbers < track.fitted_frames)])
        self._unseen = numbers[trusted & (numbers >= track.fitted_frames)]
        self._boxes = _weighted_boxes(self.points)
        self._read = 0

    def held_out(self, count: int) -> list[int]:
        """Up to `count` frames, spread over the held-out part."""
        chosen = np.linspace(0, len(self._unseen) - 1, min(count, len(self._unseen))).astype(int)
        return self._unseen[chosen].tolist()

    def target(self, frame: int, level: int) -> Tensor:
        """The real picture [3,H,W] 0..1."""
        planar = self._sent("picture", frame, 0, self._planes).float().div_(255)
        return torch.nn.functional.avg_pool2d(planar[None], 2**level)[0] if level else planar

    def weight(self, frame: int, level: int) -> Tensor:
        """How much each pixel's error counts [H,W]."""
        return self._sent("weight", frame, level, self._weights)

    def _weights(self, frame: int, level: int) -> np.ndarray:
        shrink = 2**level
        weight = np.ones((self.height // shrink, self.width // shrink), np.float32)
        for (x0, y0, x1, y1), extra in zip(
            self._boxes[frame] // shrink, (_LIP_WEIGHT, _EYE_WEIGHT, _EYE_WEIGHT), strict=True
        ):
            weight[y0:y1, x0:x1] += extra
        x0, y0, x1, y1 = self._boxes[frame, 0] // shrink
        if x1 > x0 and y1 > y0:
            polygon = [(float(x), float(y)) for x, y in self.points[frame, INNER_LIPS, :] / shrink - (x0, y0)]
            inside = PillowImage.new("L", (int(x1 - x0), int(y1 - y0)))
            ImageDraw.Draw(inside).polygon(polygon, fill=1)
            region = weight[y0:y1, x0:x1]
            region += _LIP_WEIGHT * np.asarray(inside)[: region.shape[0], : region.shape[1]]
        return weight

    def face_weight(self, frame: int, outside: float) -> Tensor:
        """1 within the oval of the face, `outside` beyond it, soft between [H,W]."""
        drawn = PillowImage.new("L", (self.width, self.height))
        ImageDraw.Draw(drawn).polygon([(float(x), float(y)) for x, y in self.points[frame, OVAL, :]], fill=255)
        soft = np.asarray(drawn.filter(ImageFilter.BoxBlur(self.width / 100)), np.float32) / 255
        return torch.from_numpy(outside + (1 - outside) * soft).to(self.device)

    def alpha_error(self, alpha: Tensor, frame: int, level: int) -> Tensor:
        """Mean |alpha - mask| over the pixels where the mask is sure; 0 without masks."""
        if self.masks is None:
            return alpha.new_zeros(())
        mask = self._sent("mask", frame, level, self._mask)
        return mask_loss(alpha, mask[: len(alpha), : alpha.shape[1]], _SURE)

    def surely(self, frame: int, level: int) -> Tensor:
        """[H,W] float32: 1 where the mask is sure of the person, 0 elsewhere; 1 everywhere without masks."""
        if self.masks is None:
            return torch.ones(self.height >> level, self.width >> level, device=self.device)
        mask = self._sent("mask", frame, level, self._mask)
        return (mask > 255 * (1 - _SURE)).float()[: self.height >> level, : self.width >> level]

    def sides(self, frame: int) -> tuple[Tensor, Tensor]:
        """[H,W] float32 each: 1 where the mask is sure of the person, and of the room; 0 everywhere without masks."""
        if self.masks is None:
            nothing = torch.zeros(self.height, self.width, device=self.device)
            return nothing, nothing
        mask = self._sent("mask", frame, 0, self._mask)
        return (mask > 255 * (1 - _SURE)).float(), (mask < 255 * _SURE).float()

    def boxes(self, frame: int) -> np.ndarray:
        """[3,4] int px: left, top, right, bottom of the lip square and of both eyes."""
        return self._boxes[frame]

    def face_box(self, frame: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom px of the landmarks, inside the picture."""
        low, high = self.points[frame].min(0), self.points[frame].max(0)
        x0, y0 = np.clip(low, 0, [self.width - 1, self.height - 1]).astype(int)
        x1, y1 = np.clip(high, [x0 + 1, y0 + 1], [self.width, self.height]).astype(int)
        return int(x0), int(y0), int(x1), int(y1)

    def patch(self, frame: int, level: int, share: float) -> tuple[slice, slice]:
        """Rows and columns of a random square about the head, hair included; its side is a share of the height."""
        size = min(max(round(share * (self.height >> level)), SMALLEST_PX), self.height >> level, self.width >> level)
        low, high = (edge / 2**level for edge in (self.points[frame].min(0), self.points[frame].max(0)))
        margin = (high - low) * [0.25, 0.5]
        at = low - margin - size / 3 + torch.rand(2).numpy() * (high - low + 2 * margin - size / 3)
        x, y = np.clip(at, 0, [(self.width >> level) - size, (self.height >> level) - size]).astype(int)
        return slice(int(y), int(y) + size), slice(int(x), int(x) + size)

    def _planes(self, frame: int, _level: int) -> np.ndarray:
        # planes are made of bytes, of which there are fewer to move than of floats
        planes = np.ascontiguousarray(self.pictures[frame].transpose(2, 0, 1))
        self._read += 1
        if self._read % EVERY == 0:  # frames are drawn from all of a capture, which may be larger than memory
            let_go(self.pictures)
            if self.masks is not None:
                let_go(self.masks)
        return planes

    def _mask(self, frame: int, level: int) -> np.ndarray:
        assert self.masks is not None
        shrink = 2**level
        mask = np.array(self.masks[frame, ::shrink, ::shrink])
        rim = (mask > _MIDDLE) & (_least_around(mask, max(1, round(_LOOSE * len(mask)))) <= _MIDDLE)
        return np.where(rim, np.uint8(_MIDDLE), mask)  # sure neither of the person nor of the room

    def _sent(self, kind: str, frame: int, level: int, make: Callable[[int, int], np.ndarray]) -> Tensor:
        """What `make` gives, on the device: from the shelf, or put there if it fits."""
        key = kind, frame, level
        if (found := self._shelf.get(key)) is not None:
            return found
        made = torch.from_numpy(make(frame, level))
        if self.device.type != "cpu":
            pinned = made.pin_memory() if self.device.type == "cuda" else made
            made = pinned.to(self.device, non_blocking=True)
        size = made.numel() * made.element_size()
        if size <= self._room:
            self._room -= size
            self._shelf[key] = made
        return made


def usable_frames(track: Track) -> np.ndarray:
    """[T] bool: frames whose landmarks are known and trusted, the held-out ones too."""
    return (track.confidence > 0) & np.isfinite(track.landmarks.points).all((1, 2))


def _least_around(mask: np.ndarray, radius: int) -> np.ndarray:
    """The least value [H,W] of a square about each pixel."""
    height, width = mask.shape
    padded = np.pad(mask, radius, mode="edge")
    rows = reduce(np.minimum, (padded[k : k + height] for k in range(2 * radius + 1)))
    least: np.ndarray = reduce(np.minimum, (rows[:, k : k + width] for k in range(2 * radius + 1)))
    return least


def rarity(track: Track, usable: Tensor) -> Tensor:
    """Chance [T] of each frame to be drawn: half uniform, half even over kinds of frames.

    Kinds are deciles of the mouth's opening, lids open or shut, terciles of the head's turn.
    """
    rows = usable.numpy()
    lips = np.nan_to_num(track.landmarks.points[:, [13, 14]][rows])
    opening = np.linalg.norm(lips[:, 0] - lips[:, 1], axis=1)
    turn = track.motion.head[rows, 2]
    shut = track.motion.blink[rows].mean(1) > 0.5
    kind = _quantile_bin(opening, 10) * 6 + shut * 3 + _quantile_bin(turn, 3)
    _, which, count = np.unique(kind, return_inverse=True, return_counts=True)
    chances = torch.zeros(len(track.confidence))
    chances[usable] = torch.from_numpy(0.5 / len(rows) + 0.5 / (len(count) * count[which])).float()
    return chances


def _quantile_bin(values: np.ndarray, bins: int) -> np.ndarray:
    return np.searchsorted(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]), values)


def _weighted_boxes(points: np.ndarray) -> np.ndarray:
    """[T,3,4] int px: left, top, right, bottom of the lip square and of both eyes."""
    lips = points[:, OUTER_LIPS]
    low, high = lips.min(1), lips.max(1)
    centre, half = (low + high) / 2, 0.65 * (high - low).max(1, keepdims=True)
    boxes = [np.concatenate([centre - half, centre + half], 1)]
    for corners, pairs in (RIGHT_LID_RATIO, LEFT_LID_RATIO):
        eye = points[:, [*corners, *(index for pair in pairs for index in pair)]]
        low, high = eye.min(1), eye.max(1)
        centre, width = (low + high) / 2, (high - low)[:, :1]
        boxes.append(np.concatenate([centre - width * [0.65, 0.45], centre + width * [0.65, 0.45]], 1))
    return np.round(np.stack(boxes, 1)).astype(int).clip(0)
