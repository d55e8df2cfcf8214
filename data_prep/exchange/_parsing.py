# SPDX-License-Identifier: Apache-2.0
"""Pictures that AD-NeRF's family expects of its networks, made from the rig's outline and the person's mask instead.

Colours of the parsing (RGB), as TalkingGaussian reads them: head blue, hair black, inside of the mouth grey, neck
green, torso red, room white.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw
from scipy import ndimage

from avatar3d.data_prep.quality import picture_of
from avatar3d.face.groups import INNER_LIPS, OVAL
from avatar3d.records import Track

HEAD, HAIR, MOUTH = (0, 0, 255), (0, 0, 0), (100, 100, 100)
NECK, TORSO, ROOM = (0, 255, 0), (255, 0, 0), (255, 255, 255)
# MediaPipe's points in the order of the 68 landmarks of iBUG's scheme, by which FAN and OpenFace number a face
IBUG = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91, 78, 81, 13, 311, 308, 402, 14, 178,
)  # fmt: skip
_JAW = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454)
_NECK_FACES = 0.3  # heights of the face that the neck reaches below the chin
_NECK_WIDTH = 0.75  # of the face's
_UNDER_HEAD_FACES = 0.35  # heights of the face that the neck is carried on beneath the head
_DARKER = 0.35  # at the end of that way


def ibug_points(track: Track, frame: int) -> np.ndarray:
    """[68,2] px of one frame's face in iBUG's order, from the smoothed rig (the detector's own points may be lost)."""
    return _seen(track, frame)[list(IBUG)]


def parsing_of(track: Track, frame: int, mask: np.ndarray) -> np.ndarray:
    """[H,W,3] uint8: one frame in the family's colours.

    Args:
        mask: [H,W] uint8 alpha of the person.
    """
    points = _seen(track, frame)
    height, width = mask.shape
    row, column = np.mgrid[:height, :width] + 0.5
    face, lips = (_filled(points[list(ring)], width, height) for ring in (OVAL, INNER_LIPS))
    jaw = _jaw_line(points, width)
    top, bottom = points[list(OVAL), 1].min(), points[list(OVAL), 1].max()
    left, right = points[list(OVAL), 0].min(), points[list(OVAL), 0].max()
    near = np.abs(column - (left + right) / 2) < _NECK_WIDTH * (right - left) / 2
    below = (row > jaw) & (near | (row > bottom))  # what hangs beside the face down to the chin is hair
    neck = below & near & (row < bottom + _NECK_FACES * (bottom - top))
    parsing = np.empty((height, width, 3), np.uint8)
    parsing[:] = HAIR
    parsing[below], parsing[neck] = TORSO, NECK
    parsing[face] = HEAD
    parsing[lips] = MOUTH
    parsing[mask < 128] = ROOM
    return parsing


def torso_of(picture: np.ndarray, parsing: np.ndarray) -> np.ndarray:
    """[H,W,4] uint8: neck and torso alone, carried on a little beneath the head, so that no gap shows as it moves.

    Each column under the head goes on upwards with the colour it begins with, darkening, as far as the head reaches.

    Args:
        picture: [H,W,3] uint8, the room replaced by its plate.
        parsing: [H,W,3] uint8 of `parsing_of`.
    """
    body = (parsing == NECK).all(-1) | (parsing == TORSO).all(-1)
    head = ~body & (parsing != ROOM).any(-1)
    torso = np.dstack([picture * body[..., None], 255 * body]).astype(np.uint8)
    face_rows = np.flatnonzero((parsing == HEAD).all(-1).any(1))
    reach = round(_UNDER_HEAD_FACES * len(face_rows))
    tops = body.argmax(0)
    for column in np.flatnonzero(body.any(0)):
        top = tops[column]
        if top == 0 or not head[top - 1, column]:
            continue
        way = min(reach, top)
        fade = 1 - _DARKER * np.arange(1, way + 1)[:, None] / max(reach, 1)
        torso[top - way : top, column, :3] = (picture[top, column] * fade)[::-1]
        torso[top - way : top, column, 3] = 255
    torso[~(body | head)] = 0
    added = (torso[..., 3] > 0) & ~body
    smooth = np.dstack([ndimage.uniform_filter(torso[..., channel], 5) for channel in range(3)])
    inside = ndimage.binary_erosion(torso[..., 3] > 0, iterations=2)
    torso[..., :3][added & inside] = smooth[added & inside]
    return torso


def alpha_of_parsing(parsing: np.ndarray) -> np.ndarray:
    """[H,W] uint8 alpha of the person, from a parsing [H,W,3] uint8 whose edges may be mixed with the room's white."""
    alpha = 255 - parsing.min(-1)
    alpha[parsing.max(-1) <= MOUTH[0] + 10] = 255  # the mouth's grey is no mixture
    return alpha


def _seen(track: Track, frame: int) -> np.ndarray:
    """[468,2] px of the rig in one frame."""
    return picture_of(replace(track, motion=track.motion[frame : frame + 1]))[0]


def _filled(ring: np.ndarray, width: int, height: int) -> np.ndarray:
    """[H,W] bool inside of a polygon [N,2] px."""
    canvas = PillowImage.new("1", (width, height))
    ImageDraw.Draw(canvas).polygon([(float(x) - 0.5, float(y) - 0.5) for x, y in ring], fill=1)
    return np.asarray(canvas)


def _jaw_line(points: np.ndarray, width: int) -> np.ndarray:
    """[W] px: the lowest row of the face's outline in each column; beside the face, that of its nearest side."""
    lower = points[list(_JAW)]
    order = np.argsort(lower[:, 0])
    return np.interp(np.arange(width) + 0.5, lower[order, 0], lower[order, 1])
