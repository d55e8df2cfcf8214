# SPDX-License-Identifier: Apache-2.0
"""Pictures that AD-NeRF's family expects of its networks, made from what is known of the person instead.

Colours of the parsing (RGB), as TalkingGaussian reads them: head blue, hair black, inside of the mouth grey, neck
green, torso red, room white.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from avatar3d.data_prep.regions import Region

# one row a Region
COLOURS = np.array([(0, 0, 255), (0, 0, 0), (100, 100, 100), (0, 255, 0), (255, 0, 0), (255, 255, 255)], np.uint8)
_UNDER_HEAD_FACES = 0.35  # heights of the face that the neck is carried on beneath the head
_SEAM_PX = 4
_DARKER = 0.35  # at the end of that way


def torso_of(picture: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """[H,W,4] uint8: neck and torso alone, carried on a little beneath the head, so that no gap shows as it moves.

    Each column under the head goes on upwards with the colour it begins with, darkening, as far as the head reaches.

    Args:
        picture: [H,W,3] uint8, the room replaced by its plate.
        parts: [H,W] uint8, the `Region` of each pixel.
    """
    body, head = (parts == Region.NECK) | (parts == Region.TORSO), parts < Region.NECK
    torso = np.dstack([picture, np.full_like(parts, 255)])
    reach = round(_UNDER_HEAD_FACES * int((parts == Region.HEAD).any(1).sum()))
    added = np.zeros_like(body)
    tops = body.argmax(0)
    for column in np.flatnonzero(body.any(0)):
        top = tops[column]
        way = min(reach, top)
        # the jaw's line and the face's outline part by a pixel here and there
        if not (parts[max(top - _SEAM_PX, 0) : top, column] == Region.HEAD).any():
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
    alpha[parsing.max(-1) <= COLOURS[Region.MOUTH, 0] + 10] = 255  # the mouth's grey is no mixture
    return alpha
