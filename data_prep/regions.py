# SPDX-License-Identifier: Apache-2.0
"""Which part of a person each pixel shows, made on demand from a frame, its alpha and the tracked face; no network.

The face's outline and the lips are known from the track; the rest is told apart by colours that are learned in the
frame itself where geometry is sure (cheeks, above the forehead, below the neck), and by where each part can be.
Regions are not stored: they follow from what is.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw
from scipy import ndimage

from avatar3d.face.groups import INNER_LIPS, LEFT_BROW, LEFT_EYE, OUTER_LIPS, OVAL, RIGHT_BROW, RIGHT_EYE

_TOP, _CHIN = 10, 152  # vertices at the ends of the face's height
_FINER = 4  # a polygon's edge is drawn at this many times the size
_LEAST_PIXELS = 30  # of a part, to learn its colours
_SPREAD = 0.03  # colours of a part vary at least this much, 0..1
_UNLIKELY = -8.0  # log likelihood, relative to the best colour, below which all colours are alike
_WINDOW = 5  # pixels are judged with their neighbours, at 256 px


class Region(IntEnum):
    """Rows of what `regions` returns, numbered as in AD-NeRF's parsing pictures."""

    HEAD = 0  # face, ears and what else is skin above the chin
    HAIR = 1
    MOUTH = 2  # its interior
    NECK = 3
    TORSO = 4
    ROOM = 5


def regions(picture: np.ndarray, alpha: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Shares [6,H,W] uint8 of each `Region` in each pixel; they add up to 255.

    Args:
        picture: [H,W,3] uint8.
        alpha: [H,W] uint8 of the person.
        points: [468,2] px, the rig in this frame (see `avatar3d.data_prep.quality.picture_of`).
    """
    height, width = alpha.shape
    mouth = polygon(points[list(INNER_LIPS)], height, width)
    window = max(3, round(_WINDOW * height / 256) | 1)
    score = [ndimage.uniform_filter(each, window) for each in _scores(picture, alpha > 127, points)]
    best = np.argmax(score, axis=0)
    named = np.array([Region.HEAD, Region.HAIR, Region.NECK, Region.TORSO])[best]
    shares = np.zeros((len(Region), height, width), np.float32)
    for region in (Region.HEAD, Region.HAIR, Region.NECK):
        shares[region] = ndimage.uniform_filter((named == region).astype(np.float32), 3)
    shares[Region.TORSO] = 1 - shares.sum(0)
    shares *= (1 - mouth) * (alpha / np.float32(255))
    shares[Region.MOUTH] = mouth * (alpha / np.float32(255))
    whole = (np.clip(shares, 0, 1) * 255).astype(np.uint8)
    whole[Region.ROOM] = 255 - np.maximum(alpha, whole.sum(0, dtype=np.int32)).astype(np.uint8)
    # what rounding left over goes to the part that has most
    rest = 255 - whole.sum(0, dtype=np.int32)
    np.put_along_axis(whole, (most := whole[:5].argmax(0)[None]), np.take_along_axis(whole, most, 0) + rest, 0)
    return whole


def polygon(ring: np.ndarray, height: int, width: int) -> np.ndarray:
    """Share [H,W] 0..1 of each pixel inside a polygon [N,2] px."""
    canvas = PillowImage.new("L", (width * _FINER, height * _FINER))
    ImageDraw.Draw(canvas).polygon([(float(x) * _FINER, float(y) * _FINER) for x, y in ring], fill=255)
    return np.asarray(canvas.reduce(_FINER), np.float32) / 255


def _scores(picture: np.ndarray, person: np.ndarray, points: np.ndarray) -> list[np.ndarray]:
    """Log odds [H,W] of head, hair, neck and torso."""
    height, width = person.shape
    down, aside = _in_face_heights(points, height, width)
    face = polygon(points[list(OVAL)], height, width) > 0.5
    features = _features(points, height, width)
    bare = face & (down > 0.25) & ~features
    grown = ndimage.binary_dilation(face, iterations=max(1, height // 64))
    above = person & ~grown & ((down < 0.0) & (aside < 0.55))
    below = person & ((down > 1.5) & (aside > 0.45) | (down > 1.25) & (aside > 0.75))
    beside = (down > 0.6) & (down < 0.95) & (aside > 0.52) & (aside < 0.75)
    long = float(person[beside].mean()) if beside.any() else 0.0  # whether hair hangs down beside the face
    colours = picture.astype(np.float32) / 255
    skin, hair, cloth = (_likeness(colours, where) for where in (bare, above, below))
    inside = np.where(face, 3 + 6 * np.clip(down, 0, 0.4), 0.0) + 20 * features
    head = skin + inside - 8 * np.clip(down - 1.0, 0, 1) - 4 * np.clip(aside - 0.62, 0, 1)
    hair = hair + 2 * np.clip(0.3 - down, -1, 1) - 3 * np.clip(down - 1.3, 0, 2)
    hair -= 30 * np.clip(0.8 - long, 0, 1) * np.clip(down - 0.85, 0, 1)
    neck = skin - 20 * np.clip(0.8 - down, 0, 1) - 6 * np.clip(aside - 0.45, 0, 1) - 8 * np.clip(down - 1.15, 0, 3)
    neck = np.where(face, -20.0, neck + 1.0)
    torso = cloth - 25 * np.clip(1.1 - down, 0, 1) + 3 * np.clip(down - 1.2, 0, 2) + 2 * np.clip(aside - 0.5, 0, 1)
    return [head.astype(np.float32), hair.astype(np.float32), neck.astype(np.float32), torso.astype(np.float32)]


def _in_face_heights(points: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """How far each pixel lies below the top of the face, and beside its middle [H,W], in heights of the face."""
    top, axis = points[_TOP], points[_CHIN] - points[_TOP]
    length = max(float(np.linalg.norm(axis)), 1.0)
    across = np.array([-axis[1], axis[0]]) / length
    # a turned face's outline lies beside its axis
    middle = float(np.mean((points[list(OVAL)] - top) @ across)) / length
    y, x = np.mgrid[0.5:height, 0.5:width].astype(np.float32)
    down = ((x - top[0]) * axis[0] + (y - top[1]) * axis[1]) / length**2
    aside = np.abs(((x - top[0]) * across[0] + (y - top[1]) * across[1]) / length - middle)
    return down, aside


def _features(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """[H,W] bool, eyes, brows and lips."""
    rings: Sequence[Sequence[int]] = (RIGHT_EYE, LEFT_EYE, OUTER_LIPS, _ring(RIGHT_BROW), _ring(LEFT_BROW))
    drawn = np.max([polygon(points[list(ring)], height, width) for ring in rings], axis=0)
    return ndimage.binary_dilation(drawn > 0, iterations=max(1, height // 128))


def _ring(brow: Sequence[int]) -> tuple[int, ...]:
    return (*brow[:5], *brow[:4:-1])


def _likeness(colours: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Log likelihood [H,W] of each colour by those at some places, 0 the best; unlikely everywhere if there are few."""
    if where.sum() < _LEAST_PIXELS:
        return np.full(where.shape, _UNLIKELY / 2, np.float32)
    sample = colours[where]
    middle = np.median(sample, axis=0)
    inner = sample[np.abs(sample - middle).sum(1) <= np.quantile(np.abs(sample - middle).sum(1), 0.9)]
    spread = np.cov(inner.T) + _SPREAD**2 * np.eye(3)
    white = np.linalg.cholesky(np.linalg.inv(spread)).astype(np.float32)
    return np.maximum(-0.5 * np.square((colours - inner.mean(0)) @ white).sum(-1), _UNLIKELY)
