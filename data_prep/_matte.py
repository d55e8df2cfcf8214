# SPDX-License-Identifier: Apache-2.0
"""A soft edge: how much of each pixel near the outline is the person's.

A pixel there is a mixture of the person's colour and the room's. The room's colour is known from its plate, the
person's is that of what lies just inside, and the pixel's place between the two is its alpha (the compositing equation
of Porter & Duff, 1984, solved along the line of colours). Where both are alike, the outline alone must do.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_BAND_PX = 4  # at the working size: how far from the outline a pixel may be mixed
_NEAR = 13  # window that a person's colour is averaged over, just inside the outline
_ALIKE = 0.10  # distance of the two colours at which they say as much as the outline does
_SHARPER = 1.25  # contrast of alpha: compression and noise must not leave a veil


def matte(person: np.ndarray, small: np.ndarray, whole: np.ndarray, room: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Alpha [H,W] uint8.

    Args:
        person: [h,w] bool, the decision at the working size.
        small: [h,w,3] 0..1 the picture at the working size.
        whole: [H,W,3] uint8 the picture.
        room: [H,W,3] uint8, the plate.
        light: [3] 0..1, how much brighter the room is in this frame.
    """
    height, width = whole.shape[:2]
    solid = person.astype(np.float32)
    near = _mean(solid, 2 * _BAND_PX + 1)
    inside = _mean(solid, 5) > 0.999
    weight = _mean(inside.astype(np.float32), _NEAR)
    colour = [_mean(small[..., c] * inside, _NEAR) / (weight + 1e-4) for c in range(3)]
    trusted, plain = np.minimum(weight * 8, 1), _mean(solid, 3)
    row, column = np.arange(height) * person.shape[0] // height, np.arange(width) * person.shape[1] // width
    cells = row[:, None] * person.shape[1] + column
    alpha = (person.astype(np.uint8) * 255).take(cells)
    place = np.flatnonzero(((near > 0.001) & (near < 0.999)).take(cells))
    y, x = place // width, place % width
    # the person's colour is so smooth that its nearest value will do
    cell = cells.reshape(-1).take(place)
    pixel, theirs = (picture.reshape(-1, 3).take(place, 0).astype(np.float32) / 255 for picture in (whole, room))
    along, apart = np.zeros(len(place), np.float32), np.zeros(len(place), np.float32)
    for c in range(3):
        behind = theirs[:, c] + light[c]
        step = colour[c].take(cell) - behind
        along += (pixel[:, c] - behind) * step
        apart += step * step
    share = along / (apart + 1e-4)
    distance, soft = _between(
        near, plain, (y + 0.5) * (person.shape[0] / height), (x + 0.5) * (person.shape[1] / width)
    )
    trust = apart / (apart + _ALIKE**2) * trusted.take(cell)
    mix = trust * ((share - 0.5) * _SHARPER + 0.5) + (1 - trust) * soft
    low, high = np.clip((distance - 0.60) / 0.20, 0, 1), np.clip((distance - 0.02) / 0.30, 0, 1)
    alpha.reshape(-1)[place] = np.clip(mix, low, high) * 255 + 0.5
    return alpha


def _mean(field: np.ndarray, window: int) -> np.ndarray:
    return ndimage.uniform_filter(field, window)


def _between(one: np.ndarray, two: np.ndarray, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two fields [h,w] at places [K] px, bilinear."""
    height, width = one.shape
    y, x = np.clip(y - 0.5, 0, height - 1.001), np.clip(x - 0.5, 0, width - 1.001)
    top, left = y.astype(np.int32), x.astype(np.int32)
    down, right = (y - top).astype(np.float32), (x - left).astype(np.float32)
    corner = top * width + left
    found = []
    for field in (one, two):
        a, b, c, d = (field.take(corner + step) for step in (0, 1, width, width + 1))
        upper, lower = a + (b - a) * right, c + (d - c) * right
        found.append(upper + (lower - upper) * down)
    return found[0], found[1]
