# SPDX-License-Identifier: Apache-2.0
"""Lids and irises, measured on the landmarks after the head's turn is taken out of them."""

from __future__ import annotations

import numpy as np

from avatar3d.face.groups import LEFT_IRIS, LEFT_LID_RATIO, RIGHT_IRIS, RIGHT_LID_RATIO

_EYES = ((RIGHT_LID_RATIO, RIGHT_IRIS), (LEFT_LID_RATIO, LEFT_IRIS))
_CLOSED_AT_MOST = 0.6  # of the open ratio: someone who never blinks in the capture has no closed eye to measure


def frontal(rays: np.ndarray, depth: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Landmarks [T,P,3] u in head space, from their rays (x/z, y/z) [T,P,2] and the model's depths [T,P] u."""
    points = np.concatenate([rays, np.ones_like(rays[..., :1])], -1) * depth[..., None]
    return (points - translation[:, None]) @ rotation


def blink_of(ratios: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Right and left lid [T,2], 0 open .. 1 closed, of eye aspect ratios [T,2].

    Between the person's own open (90th percentile) and closed (2nd).

    Args:
        training: [T] bool, the frames that say what open and closed are.
    """
    open_ = np.quantile(ratios[training], 0.90, axis=0)
    closed = np.minimum(np.quantile(ratios[training], 0.02, axis=0), _CLOSED_AT_MOST * open_)
    return np.clip((open_ - ratios) / (open_ - closed), 0, 1)


def lid_ratios(points: np.ndarray) -> np.ndarray:
    """Right and left eye aspect ratio [T,2] (Soukupova and Cech, 2016) of landmarks [T,478,3] in head space."""
    return np.stack([_lid_ratio(points, *shape) for shape, _ in _EYES], 1)


def raw_gaze(points: np.ndarray) -> np.ndarray:
    """Right eye (across, down), left eye (across, down) [T,4]: iris off the middle of the corners, in eye widths.

    Across is to the image's right. How the eye rests is still in it.
    """
    columns = []
    for ((outer, inner), _), iris in _EYES:
        width = np.linalg.norm(points[:, outer] - points[:, inner], axis=-1)
        off = points[:, iris] - (points[:, outer] + points[:, inner]) / 2
        columns += [off[:, 0] / width, -off[:, 1] / width]
    return np.stack(columns, 1)


def _lid_ratio(points: np.ndarray, corners: tuple[int, int], pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    heights = [np.linalg.norm(points[:, upper] - points[:, lower], axis=-1) for upper, lower in pairs]
    return np.mean(heights, 0) / np.linalg.norm(points[:, corners[0]] - points[:, corners[1]], axis=-1)
