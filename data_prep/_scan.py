# SPDX-License-Identifier: Apache-2.0
"""A quick look through a whole video: where the face is, and how much video there really is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar3d import media
from avatar3d.data_prep.landmarks import Face, Landmarker
from avatar3d.records import Progress, Watch

Box = tuple[int, int, int, int]  # left, top, right, bottom px of the video as shown

_FPS = 2.5
_MOST_PICTURES = 300
_LONGER_SIDE = 960  # px of the scanned pictures
_SEARCHED = 6  # pictures that are searched piece by piece
_PIECES = (2, 4)  # of the picture's shorter side: the detector misses faces below a sixth of what it is shown
_WINDOW = 4.0  # heights of the face


@dataclass(frozen=True)
class Scan:
    """What was seen."""

    seen: list[list[Face]]  # per picture the faces, largest first, px of the video
    seconds: float  # of the video that there are and are to be used
    damage: tuple[str, ...]  # what the file lacks, in words

    @property
    def share(self) -> float:
        """Of the pictures, how many show a face."""
        return sum(map(bool, self.seen)) / max(len(self.seen), 1)


def scan(video: Path, info: media.VideoInfo, model: Path, max_seconds: float | None, watch: Watch) -> Scan:
    """Looks for faces in pictures evenly spread over the video, or over its first `max_seconds`.

    A face that is small in the picture is searched for piece by piece, and then looked at through a window.
    """
    with Landmarker(model) as landmarker:
        wide = _look(video, (0, 0, info.width, info.height), landmarker, info, max_seconds, watch)
        if wide.share >= 0.5:
            return wide
        used_s = min(wide.seconds, max_seconds or wide.seconds)
        window = _window_on_small_face(video, landmarker, used_s)
        if window is None:
            return wide
        near = _look(video, window, landmarker, info, max_seconds, watch)
    return near if near.share > wide.share else wide


def _look(
    video: Path, box: Box, landmarker: Landmarker, info: media.VideoInfo, max_seconds: float | None, watch: Watch
) -> Scan:
    left, top, right, bottom = box
    scale = max(1.0, max(right - left, bottom - top) / _LONGER_SIDE)
    size = None if scale == 1 else (round((right - left) / scale), round((bottom - top) / scale))
    used_s = min(info.seconds, max_seconds or info.seconds)
    pictures = media.Pictures(video, min(_FPS, _MOST_PICTURES / used_s), box=box, size=size)
    expected = max(round(used_s * pictures.fps), 1)
    seen: list[list[Face]] = []
    for index, picture in enumerate(pictures):
        if index >= expected and max_seconds is not None:
            return Scan(seen, used_s, ())
        seen.append([_placed(face, scale, left, top) for face in landmarker.find(picture)])
        watch(Progress("looking for the face", min((index + 1) / expected, 1.0)))
    return Scan(seen, min(pictures.seconds, max_seconds or pictures.seconds), pictures.damage)


def _window_on_small_face(video: Path, landmarker: Landmarker, used_s: float) -> Box | None:
    """A square around the largest face that the pieces of a few pictures show, or None."""
    largest: Face | None = None
    whole = (0, 0)
    for picture in _few(video, used_s):
        whole = (picture.shape[1], picture.shape[0])
        for left, top, side in _pieces(*whole):
            for face in landmarker.find(picture[top : top + side, left : left + side])[:1]:
                if largest is None or face.height > largest.height:
                    largest = _placed(face, 1.0, left, top)
        if largest is not None:
            break
    if largest is None:
        return None
    side = int(min(_WINDOW * largest.height, *whole)) // 2 * 2
    centre = largest.points[:, :2].mean(0)
    left, top = (int(np.clip(centre[axis] - side / 2, 0, whole[axis] - side)) // 2 * 2 for axis in (0, 1))
    return left, top, left + side, top + side


def _few(video: Path, used_s: float) -> Iterator[np.ndarray]:
    for index, picture in enumerate(media.frames(video, _SEARCHED / used_s)):
        if index == _SEARCHED:
            return
        yield picture


def _pieces(width: int, height: int) -> Iterator[tuple[int, int, int]]:
    """Left, top and side of squares that overlap by half, large ones first."""
    for parts in _PIECES:
        side = min(width, height) // parts
        for top in range(0, height - side + 1, max(side // 2, 1)):
            for left in range(0, width - side + 1, max(side // 2, 1)):
                yield left, top, side


def _placed(face: Face, scale: float, left: int, top: int) -> Face:
    offset = np.array([left, top, 0], np.float32)
    return Face(face.points * np.float32(scale) + offset, face.scores)
