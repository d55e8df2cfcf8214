# SPDX-License-Identifier: Apache-2.0
"""Where a picture stands still although the head in it moves: that is the room, whatever its colours.

The spread of a pixel over time, divided by the slope of the picture there, is how far things move. What has an edge
and does not move is the room; what moves is the person. Places without an edge say nothing by themselves; they are
filled in by a random walk (Grady, 2006) that does not like to cross edges, neither of the picture nor of the movement.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image as PillowImage
from scipy import ndimage
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import spsolve

from avatar3d.data_prep._silhouette import Place

_WINDOW = 3
_SLOPE_NOISE = 2.5 / 255  # slopes below this say nothing
_STILL_PX = 0.25  # a room moves less than this at the working size ...
_HEAD_SHARE = 0.12  # ... and less than this share of the head's own movement
_LEAST_HEAD_PX = 0.5  # of movement of the head, below which nothing can be learned
_MOST = 4.0  # log odds
_GAIN = 2.5  # of the walk's answer: it is shy of extremes
_SEED = 3.5  # log odds from which geometry is sure enough to start a walk
_EDGE, _SHIMMER = 8 / 255, 3 / 255  # steps of colour and of spread that halt the walk
_PULL = 0.02  # of a place's own evidence, against one neighbour without an edge between


def standing_still(pictures: np.ndarray, places: Sequence[Place], expected: np.ndarray) -> np.ndarray:
    """Log odds [h,w] that a place is mostly the person's.

    Args:
        pictures: [N,h,w,3] 0..1 samples over time.
        places: of the head in each.
        expected: [h,w] log odds by geometry.
    """
    head_px = float(np.linalg.norm(np.std([place.centre for place in places], axis=0)))
    trust = float(np.clip(head_px / _LEAST_HEAD_PX - 1, 0, 1))
    if trust == 0:
        return np.zeros_like(expected)
    usual, spread, moved, sure = movement(pictures)
    limit = min(_STILL_PX, _HEAD_SHARE * head_px)
    own = np.clip(2 * np.log2((moved + 1e-3) / limit), -_MOST, _MOST / 2) * sure
    seeds = np.where(np.abs(expected) > _SEED, expected, 0.0)
    chance = _walked(usual, own + seeds, np.maximum(spread - 2 * np.percentile(spread, 10), 0) / _SHIMMER)
    return (trust * np.clip(_GAIN * np.log(chance / (1 - chance)), -_MOST, _MOST)).astype(np.float32)


def movement(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Median picture [h,w,3], spread over time [h,w], movement [h,w] px, and how sure that is [h,w] 0..1."""
    usual = np.median(pictures, axis=0)
    spread = 1.48 * np.median(np.abs(pictures - usual), axis=0).mean(-1)
    slopes = [np.square(ndimage.sobel(usual[..., c], axis) / 8) for c in range(3) for axis in (0, 1)]
    slope = ndimage.uniform_filter(np.sum(slopes, axis=0) / 3, _WINDOW)
    noise = np.percentile(spread, 10) ** 2
    moving = np.maximum(ndimage.uniform_filter(spread**2, _WINDOW) - 1.5 * noise, 0)
    sure = slope**2 / (slope**2 + _SLOPE_NOISE**4)  # light that wanders over a smooth wall is no movement
    return usual, spread, np.sqrt(moving / (slope + 0.25 * noise + 1e-9)), sure


def _walked(picture: np.ndarray, odds: np.ndarray, halt: np.ndarray) -> np.ndarray:
    """Chances [h,w] that agree with log odds [h,w] and with their neighbours, except across edges.

    Args:
        picture: [h,w,3] 0..1.
        odds: log odds by a place's own evidence.
        halt: [h,w] what else halts the walk: 1 divides a link by e.
    """
    height, width = odds.shape
    number = np.arange(height * width).reshape(height, width)
    links, ends = [], []
    for axis in (0, 1):
        step = np.abs(np.diff(picture, axis=axis)).max(-1) / _EDGE
        links.append(np.exp(-np.square(step) - np.maximum(*_pairs(halt, axis))).reshape(-1) + 1e-4)
        ends.append(np.stack([each.reshape(-1) for each in _pairs(number, axis)]))
    weight, (one, two) = np.concatenate(links), np.concatenate(ends, axis=1)
    size = height * width
    graph = coo_array((np.r_[weight, weight], (np.r_[one, two], np.r_[two, one])), (size, size)).tocsr()
    held = _PULL * np.abs(odds).reshape(-1) + 1e-5
    wish = 1 / (1 + np.exp(-odds.reshape(-1)))
    system = diags_array(graph.sum(1) + held) - graph
    return np.clip(spsolve(system.tocsc(), held * wish), 0.01, 0.99).reshape(height, width)


def _pairs(field: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Each value and its neighbour along an axis."""
    last = field.shape[axis] - 1
    return field.take(np.arange(last), axis), field.take(np.arange(1, last + 1), axis)


def reduced(picture: np.ndarray, scale: float) -> np.ndarray:
    """[h,w,3] float32 0..1 at `scale`, averaged."""
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    image = PillowImage.fromarray(np.ascontiguousarray(picture))
    factor = round(1 / scale)
    if factor * width == picture.shape[1] and factor * height == picture.shape[0]:
        return np.asarray(image.reduce(factor), np.float32) / 255
    return np.asarray(image.resize((width, height), PillowImage.Resampling.BOX), np.float32) / 255
