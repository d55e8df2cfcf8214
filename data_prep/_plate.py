# SPDX-License-Identifier: Apache-2.0
"""The empty room: what shows of it, and a guess at what does not."""

from __future__ import annotations

import numpy as np
from PIL import Image as PillowImage
from scipy import ndimage

SEEN_SHARE = 0.08  # of the samples, in which a pixel must show the room
_STRIP = 64  # rows at a time, so that samples of large frames need little memory


def plate(frames: np.ndarray, samples: np.ndarray, person: np.ndarray) -> np.ndarray:
    """The room [H,W,3] uint8: the median where it shows often enough, else filled in from around.

    Args:
        frames: [T,H,W,3] uint8.
        samples: [N] frames to look at.
        person: [N,h,w] bool, who is in them, at a smaller size.
    """
    height, width = frames.shape[1:3]
    margin = np.stack([ndimage.binary_dilation(each, iterations=2) for each in person])  # hair and blur reach out
    row = np.arange(height) * person.shape[1] // height
    column = np.arange(width) * person.shape[2] // width
    seen = (1 - margin.mean(0) >= SEEN_SHARE)[row][:, column]
    rows = []
    for start in range(0, height, _STRIP):
        strip = slice(start, start + _STRIP)
        pictures = np.stack([frames[frame, strip] for frame in samples]).astype(np.float32)
        pictures[margin[:, row[strip]][:, :, column]] = np.nan
        pictures[:, ~seen[strip]] = 0.0
        rows.append(np.nanmedian(pictures, axis=0))
    return filled_in(np.concatenate(rows), seen).round().astype(np.uint8)


def filled_in(picture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A picture [H,W,3] whose unknown pixels are drawn in from the known ones around them, smoother the further away.

    Pull and push (Gortler et al., 1996): known pixels are averaged to half the size until nothing is unknown, and what
    is missing at each size comes from the size below.
    """
    if known.all():
        return picture.astype(np.float32)
    if not known.any():
        return np.full_like(picture, 127.0, dtype=np.float32)
    height, width = known.shape
    odd = ((0, height % 2), (0, width % 2))
    weight = _halved(np.pad(known.astype(np.float32), odd)[..., None])
    half = _halved(np.pad(np.where(known[..., None], picture, 0.0).astype(np.float32), (*odd, (0, 0))))
    below = filled_in(half / np.maximum(weight, 1e-6), weight[..., 0] > 0)
    wide = np.stack([resized(below[..., channel], height, width) for channel in range(3)], -1)
    return np.where(known[..., None], picture, wide).astype(np.float32)


def _halved(field: np.ndarray) -> np.ndarray:
    """[H/2,W/2,C] means of two by two."""
    height, width, channels = field.shape
    return field.reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3))


def resized(field: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(
        PillowImage.fromarray(field.astype(np.float32)).resize((width, height), PillowImage.Resampling.BILINEAR)
    )
