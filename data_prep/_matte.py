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


def matte(person: np.ndarray, small: np.ndarray, whole: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Alpha [H,W] uint8.

    Args:
        person: [h,w] bool, the decision at the working size.
        small: [h,w,3] 0..1 the picture at the working size.
        whole: [H,W,3] uint8 the picture.
        room: [H,W,3] float32 0..1, the plate under the light of this frame.
    """
    height, width = whole.shape[:2]
    solid = person.astype(np.float32)
    near = ndimage.uniform_filter(solid, 2 * _BAND_PX + 1)
    inside = ndimage.uniform_filter(solid, 5) > 0.999
    weight = ndimage.uniform_filter(inside.astype(np.float32), _NEAR)
    colour = [ndimage.uniform_filter(small[..., c] * inside, _NEAR) / (weight + 1e-4) for c in range(3)]
    fields = np.stack([*colour, near, np.minimum(weight * 8, 1), ndimage.uniform_filter(solid, 3)], -1)
    row, column = np.arange(height) * person.shape[0] // height, np.arange(width) * person.shape[1] // width
    alpha = (person[row][:, column] * np.uint8(255)).astype(np.uint8)
    mixed = ((near > 0.001) & (near < 0.999))[row][:, column]
    y, x = np.nonzero(mixed)
    here = _between(fields, (y + 0.5) * person.shape[0] / height - 0.5, (x + 0.5) * person.shape[1] / width - 0.5)
    mine, theirs = here[:, :3], room[y, x]
    pixel = whole[y, x].astype(np.float32) / 255
    apart = np.square(mine - theirs).sum(1)
    share = ((pixel - theirs) * (mine - theirs)).sum(1) / (apart + 1e-4)
    trust = apart / (apart + _ALIKE**2) * here[:, 4]
    mix = trust * ((share - 0.5) * _SHARPER + 0.5) + (1 - trust) * here[:, 5]
    low, high = np.clip((here[:, 3] - 0.60) / 0.20, 0, 1), np.clip((here[:, 3] - 0.02) / 0.30, 0, 1)
    alpha[y, x] = (np.clip(mix, low, high) * 255 + 0.5).astype(np.uint8)
    return alpha


def _between(fields: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Fields [h,w,C] at places between their pixels [K,C], bilinear."""
    height, width, channels = fields.shape
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = np.minimum(y.astype(np.int32), height - 2), np.minimum(x.astype(np.int32), width - 2)
    down, right = (y - top).astype(np.float32)[:, None], (x - left).astype(np.float32)[:, None]
    flat, corner = fields.reshape(-1, channels), top * width + left
    upper = flat[corner] * (1 - right) + flat[corner + 1] * right
    lower = flat[corner + width] * (1 - right) + flat[corner + width + 1] * right
    return upper * (1 - down) + lower * down
