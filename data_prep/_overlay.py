# SPDX-License-Identifier: Apache-2.0
"""Pictures of a track: the rig drawn over the frames, and sheets of frames side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from avatar3d.face.groups import INNER_LIPS, LEFT_BROW, LEFT_EYE, OUTER_LIPS, OVAL, RIGHT_BROW, RIGHT_EYE

_LOOPS = (OVAL, RIGHT_EYE, LEFT_EYE, OUTER_LIPS, INNER_LIPS)
# the upper edge of each brow, from the outer end inwards
_BROWS = (RIGHT_BROW[:5], LEFT_BROW[:5])
_RIG, _SEEN, _LOST, _MESH = (94, 234, 212), (251, 146, 60), (248, 113, 113), (71, 130, 140)


@dataclass(frozen=True)
class Drawing:
    """What to draw on one frame; points in px of the frame."""

    picture: np.ndarray  # [H,W,3] uint8
    rig: np.ndarray  # [468,2]
    seen: np.ndarray | None = None  # [478,2] landmarks, drawn as dots
    trusted: bool = True
    triangles: np.ndarray | None = None  # [F,3] of the rig, drawn as its mesh


def drawn(what: Drawing, size: int) -> np.ndarray:
    """The frame at `size` px high with the rig's outlines over it [size,W',3] uint8."""
    height, width = what.picture.shape[:2]
    scale = size / height
    image = PillowImage.fromarray(np.ascontiguousarray(what.picture))
    image = image.resize((round(width * scale), size), PillowImage.Resampling.LANCZOS)
    pen = ImageDraw.Draw(image)
    colour = _RIG if what.trusted else _LOST
    for corners in () if what.triangles is None else what.triangles:
        pen.line(_path(what.rig[[*corners, corners[0]]] * scale), fill=_MESH, width=1)
    for loop in _LOOPS:
        pen.line(_path(what.rig[[*loop, loop[0]]] * scale), fill=colour, width=1)
    for brow in _BROWS:
        pen.line(_path(what.rig[list(brow)] * scale), fill=colour, width=1)
    if what.seen is not None and np.isfinite(what.seen).all():
        for x, y in what.seen * scale:
            pen.point((float(x), float(y)), fill=_SEEN)
    return np.asarray(image)


def fitted(picture: np.ndarray, size: int) -> np.ndarray:
    """A picture at `size` px high [size,W',3] uint8."""
    height, width = picture.shape[:2]
    image = PillowImage.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((round(width * size / height), size), PillowImage.Resampling.LANCZOS))


def sheet(pictures: Sequence[np.ndarray], gap: int = 6) -> np.ndarray:
    """Pictures of one height side by side on white [H,W,3] uint8."""
    space = np.full((pictures[0].shape[0], gap, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, space)]
    return np.concatenate(parts[:-1], 1)


def image_tag(picture: np.ndarray, kind: Literal["JPEG", "PNG"] = "JPEG") -> str:
    """An <img> that holds the picture [H,W,3 or 4] uint8 itself."""
    file = io.BytesIO()
    PillowImage.fromarray(picture).save(file, kind, quality=86, optimize=True)
    return f'<img alt="" src="data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}">'


def _path(points: np.ndarray) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]
