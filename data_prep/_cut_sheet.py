# SPDX-License-Identifier: Apache-2.0
"""What masks look like and how steady they are: a contact sheet, and a figure."""

from __future__ import annotations

import numpy as np
from PIL import Image as PillowImage
from scipy import ndimage

from avatar3d.data_prep._overlay import fitted
from avatar3d.data_prep._silhouette import places_of
from avatar3d.data_prep._smooth import shots
from avatar3d.data_prep.quality import picture_of
from avatar3d.data_prep.regions import regions
from avatar3d.records import Capture, Track
from avatar3d.store import let_go

_TINTS = np.array(
    [(90, 140, 255), (200, 60, 200), (255, 230, 0), (60, 220, 90), (255, 80, 60), (255, 255, 255)], np.float32
)
_BACKS = np.array([(0, 255, 0), (255, 0, 255)], np.float32)  # no room and no person has them: what bleeds shows
_TINT = 0.45
_CLOSE = 2.5  # how much the hair's edge is enlarged
_PAIRS = 150  # of neighbouring frames that steadiness is measured on
_UNCHANGED = 4 / 255  # a part of the picture that changes less is still


def mask_sheet(capture: Capture, track: Track, count: int = 5, size: int = 168) -> np.ndarray:
    """[3 rows of `size`, `count` columns, 3] uint8: parts tinted, cut-outs on plain green or magenta, hair close by.

    Args:
        capture: with masks.
        size: of one picture, px.
    """
    assert capture.masks is not None
    rows = np.linspace(0, len(capture.frames) - 1, count).astype(int)
    points = picture_of(track, rows)
    columns = []
    for number, (row, place) in enumerate(zip(rows, places_of(track, rows, 1.0), strict=True)):
        picture, alpha = np.asarray(capture.frames[row]), np.asarray(capture.masks[row])
        shares = np.moveaxis(regions(picture, alpha, points[number]), 0, -1).astype(np.float32) / 255
        tinted = (1 - _TINT) * picture + _TINT * (shares @ _TINTS)
        share = alpha[..., None] / np.float32(255)
        alone = picture * share + (1 - share) * _BACKS[number % 2]
        top = place.centre + place.px_per_u * np.array([0.75, -0.75])
        parts = [tinted, alone, _close(alone, top)]
        columns.append(np.concatenate([fitted(part.astype(np.uint8), size) for part in parts]))
    return np.concatenate(columns, 1)


def temporal_overlap(capture: Capture) -> float | None:
    """How steady masks are: intersection over union of neighbouring frames' alpha where the picture stands still.

    Still is what changes by less than 4 of 255 about a pixel. None where nothing of the person ever is.
    """
    assert capture.masks is not None
    pairs = np.concatenate([np.arange(shot.start, shot.stop - 1) for shot in shots(len(capture.frames), capture.cuts)])
    chosen = pairs[np.unique(np.linspace(0, len(pairs) - 1, _PAIRS).astype(int))] if len(pairs) else pairs
    both = either = 0.0
    for row in chosen:
        change = np.abs(capture.frames[row].astype(np.float32) - capture.frames[row + 1]).mean(-1) / 255
        still = ndimage.uniform_filter(change, 3) < _UNCHANGED
        one, two = (capture.masks[each][still].astype(np.float64) for each in (row, row + 1))
        both += float(np.minimum(one, two).sum())
        either += float(np.maximum(one, two).sum())
    let_go(capture.frames)
    let_go(capture.masks)
    return both / either if either else None


def _close(picture: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """A part of a picture, enlarged to the picture's size."""
    height, width = picture.shape[:2]
    across, down = width / _CLOSE, height / _CLOSE
    left = float(np.clip(centre[0] - across / 2, 0, width - across))
    top = float(np.clip(centre[1] - down / 2, 0, height - down))
    image = PillowImage.fromarray(picture.astype(np.uint8))
    return np.asarray(
        image.resize((width, height), PillowImage.Resampling.BICUBIC, (left, top, left + across, top + down))
    )
