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

HEAD, HAIR, MOUTH, NECK, TORSO, ROOM = range(6)
COLOURS = np.array([(0, 0, 255), (0, 0, 0), (100, 100, 100), (0, 255, 0), (255, 0, 0), (255, 255, 255)], np.uint8)
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
_HAIR_WIDTH = 1.3  # of the face's
_UNDER_HEAD_FACES = 0.35  # heights of the face that the neck is carried on beneath the head
_SEAM_PX = 4
_DARKER = 0.35  # at the end of that way


def ibug_points(track: Track, frame: int) -> np.ndarray:
    """[68,2] px of one frame's face in iBUG's order, from the smoothed rig (the detector's own points may be lost)."""
    return _seen(track, frame)[list(IBUG)]


def parts_of(track: Track, frame: int, mask: np.ndarray) -> np.ndarray:
    """[H,W] uint8: which part each pixel of one frame shows, as a row of COLOURS.

    Args:
        mask: [H,W] uint8 alpha of the person.
    """
    points = _seen(track, frame)
    height, width = mask.shape
    row, column = np.arange(height)[:, None] + 0.5, np.arange(width)[None] + 0.5
    outline = points[list(OVAL)]
    (left, top), (right, bottom) = outline.min(0), outline.max(0)
    aside = np.abs(column - (left + right) / 2) / ((right - left) / 2)  # in half widths of the face
    near = aside < _NECK_WIDTH
    # beside the face hangs hair; further out, in its lower half, shoulders rise
    below = (
        (row > bottom) | near & (row > _jaw_line(points, width)) | (aside > _HAIR_WIDTH) & (row > (top + bottom) / 2)
    )
    parts = np.where(below, np.uint8(TORSO), np.uint8(HAIR))
    parts[below & near & (row < bottom + _NECK_FACES * (bottom - top))] = NECK
    parts[_filled(outline, width, height)] = HEAD
    parts[_filled(points[list(INNER_LIPS)], width, height)] = MOUTH
    parts[mask < 128] = ROOM
    return parts


def torso_of(picture: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """[H,W,4] uint8: neck and torso alone, carried on a little beneath the head, so that no gap shows as it moves.

    Each column under the head goes on upwards with the colour it begins with, darkening, as far as the head reaches.

    Args:
        picture: [H,W,3] uint8, the room replaced by its plate.
        parts: [H,W] uint8 of `parts_of`.
    """
    body, head = (parts == NECK) | (parts == TORSO), parts < NECK
    torso = np.dstack([picture, np.full_like(parts, 255)])
    reach = round(_UNDER_HEAD_FACES * int((parts == HEAD).any(1).sum()))
    added = np.zeros_like(body)
    tops = body.argmax(0)
    for column in np.flatnonzero(body.any(0)):
        top = tops[column]
        way = min(reach, top)
        # the jaw's line and the face's outline part by a pixel here and there
        if not (parts[max(top - _SEAM_PX, 0) : top, column] == HEAD).any():
            continue
        fade = 1 - _DARKER * np.arange(way, 0, -1)[:, None] / reach
        torso[top - way : top, column, :3] = picture[top, column] * fade
        added[top - way : top, column] = True
    added &= head
    torso[~(body | added)] = 0
    inside = added & ndimage.binary_erosion(body | added, iterations=2)
    if inside.any():
        # columns are smoothed into one another, where nothing from outside comes in
        rows = slice(int(inside.any(1).argmax()) - 2, int(tops.max()) + 3)
        smooth = ndimage.uniform_filter(torso[rows, :, :3], (5, 5, 1))
        torso[rows, :, :3][inside[rows]] = smooth[inside[rows]]
    return torso


def alpha_of_parsing(parsing: np.ndarray) -> np.ndarray:
    """[H,W] uint8 alpha of the person, from a parsing [H,W,3] uint8 whose edges may be mixed with the room's white."""
    alpha = 255 - parsing.min(-1)
    alpha[parsing.max(-1) <= COLOURS[MOUTH, 0] + 10] = 255  # the mouth's grey is no mixture
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
