# SPDX-License-Identifier: Apache-2.0
"""The one square that a whole video is cut to, and whether its faces allow that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar3d.data_prep.landmarks import Face
from avatar3d.errors import InputError

SIZES = (128, 256, 384, 512)  # px a side
_SIDE = 2.2  # heights of the face
_LOWER = 0.10  # of the side: the crop's centre lies this much below the face's, so that the neck comes in
_ROOM = 1.25  # the crop holds the whole way of the face times this
_WHOLE = 0.75  # of the picture: a square picture is kept whole if the crop would be this large
_TRIM = 1.125  # a crop this much above a working size is trimmed to it: sharp pixels are worth more than a margin
_SMALLEST_FACE_PX = 64
_RIVAL = 0.5  # of the largest face's height: smaller faces are bystanders or pictures on the wall


@dataclass(frozen=True)
class Crop:
    """A square of the picture as shown, and the size it is worked on at."""

    left: int  # px
    top: int  # px
    side: int  # px
    size: int  # px a side after area-resizing

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom px."""
        return self.left, self.top, self.left + self.side, self.top + self.side


def check_picture(width: int, height: int, video: Path) -> None:
    """Refuses pictures below the smallest working size.

    Raises:
        InputError: says so.
    """
    if min(width, height) < SIZES[0]:
        raise InputError(
            f"{video}: the picture is {width}x{height} px, {SIZES[0]}x{SIZES[0]} are needed",
            "film at a higher resolution",
        )


def check_faces(seen: Sequence[list[Face]], video: Path) -> list[str]:
    """Refuses what no avatar can be made of; returns warnings.

    Args:
        seen: faces of pictures taken at even distances, largest first, px of the video.

    Raises:
        InputError: no face, several, or too small a one.
    """
    with_face = [faces for faces in seen if faces]
    if not with_face:
        raise InputError(f"{video}: no face found", "film the head from the front, large and in even light")
    height = float(np.median([faces[0].height for faces in with_face]))
    if height < _SMALLEST_FACE_PX:
        raise InputError(
            f"{video}: the face is {height:.0f} px high, {_SMALLEST_FACE_PX} are needed",
            "film closer or at a higher resolution",
        )
    rivals = round(rival_share(seen) * len(seen))
    if rivals > len(with_face) / 2:
        raise InputError(
            f"{video}: two faces in most of the video", "film one person alone, or cut the video to one of them"
        )
    warnings = []
    if rivals:
        warnings.append(f"a second face in {100 * rivals / len(seen):.0f} % of the video; the larger one is taken")
    if len(with_face) < len(seen) / 2:
        warnings.append(f"a face in {100 * len(with_face) / len(seen):.0f} % of the video only")
    return warnings


def rival_share(seen: Sequence[list[Face]]) -> float:
    """In how many of the pictures, 0..1, a second face is large enough to be taken for the person."""
    return sum(len(faces) > 1 and faces[1].height > _RIVAL * faces[0].height for faces in seen) / max(len(seen), 1)


def choose_crop(seen: Sequence[list[Face]], width: int, height: int, largest: int) -> Crop:
    """The square around the head and the working size.

    Args:
        seen: faces, in px of the video; at least one.
        width: of the picture, px; likewise height. Neither is below SIZES[0].
        largest: the working size is not above it.
    """
    boxes = np.array([faces[0].box for faces in seen if faces])
    left, top, right, bottom = boxes.T
    face = float(np.median(bottom - top))
    # the way of the face over the clip, but for its rarest excursions
    way = max(
        np.percentile(right, 98) - np.percentile(left, 2),
        np.percentile(bottom, 98) - np.percentile(top, 2),
    )
    side = min(max(_SIDE * face, _ROOM * float(way)), width, height)
    if width == height and side >= _WHOLE * width:
        return Crop(0, 0, width, _size_for(width, largest))
    side = max(side, SIZES[0])
    size = _size_for(int(side), largest)
    side = size if side <= _TRIM * size else int(side) // 2 * 2
    centre_x = float(np.median((left + right) / 2))
    centre_y = float(np.median((top + bottom) / 2)) + _LOWER * side
    return Crop(_begin(centre_x, side, width), _begin(centre_y, side, height), side, size)


def _size_for(side: int, largest: int) -> int:
    return max(size for size in SIZES if size <= min(side, largest))


def _begin(centre: float, side: int, whole: int) -> int:
    # colour is mostly stored for two by two pixels
    return int(np.clip(round(centre - side / 2), 0, whole - side)) // 2 * 2
