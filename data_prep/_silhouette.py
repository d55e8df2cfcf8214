# SPDX-License-Identifier: Apache-2.0
"""Where a person can be in a picture, judged from the head's pose alone: sure, possible, impossible.

Everything is a score per pixel, positive inside. Sizes are in u about the middle of the head; the torso hangs below the
shot's median head, since it does not follow each nod.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from avatar3d.geometry import matrix_from_quat
from avatar3d.records import Track

_HEAD_CENTRE_U = np.array([0.0, 0.22, -0.35])  # in head space
_HEAD_WIDTH_U, _HEAD_HEIGHT_U = 0.82, 1.08  # half axes of the skull without hair
_SURE_RATIO, _IMPOSSIBLE_RATIO = 0.85, 1.75  # of those half axes
_MOST = 4.0  # log odds where the geometry is sure
# half-widths at depths below the head's middle, u: neck and chest that are surely there; shoulders and hair that may be
_SURE_TORSO = np.array([(0.9, 0.35), (1.35, 0.4), (1.9, 0.7), (2.6, 1.0), (9.0, 1.2)])
_POSSIBLE_TORSO = np.array([(0.2, 1.0), (0.9, 1.7), (1.5, 3.2), (2.0, 4.2), (9.0, 6.0)])


@dataclass(frozen=True)
class Place:
    """A head in a picture of some size."""

    centre: np.ndarray  # [2] px
    px_per_u: float
    across: np.ndarray  # [2] unit vector to the head's left in the picture


def places_of(track: Track, frames: np.ndarray, scale: float) -> list[Place]:
    """The heads of some frames in a picture `scale` times the capture's size."""
    head = track.motion.head[frames].astype(np.float64)
    rotation = matrix_from_quat(torch.from_numpy(head[:, :4])).numpy()
    centre = rotation @ _HEAD_CENTRE_U + head[:, 4:]
    intrinsics = track.camera.K.numpy().astype(np.float64)
    px_per_u = intrinsics[0, 0] * scale / centre[:, 2]
    picture = px_per_u[:, None] * centre[:, :2] + intrinsics[:2, 2] * scale
    across = rotation[:, :2, 0] / np.maximum(np.linalg.norm(rotation[:, :2, 0], axis=1, keepdims=True), 1e-6)
    return [Place(*row) for row in zip(picture, px_per_u.tolist(), across, strict=True)]


def median_place(places: list[Place]) -> Place:
    """The usual place of a head, upright."""
    centre = np.median([place.centre for place in places], axis=0)
    return Place(centre, float(np.median([place.px_per_u for place in places])), np.array([1.0, 0.0]))


def silhouette_score(head: Place, usual: Place, height: int, width: int) -> np.ndarray:
    """Log odds [H,W] that a pixel shows the person: +-4 where the geometry is sure."""
    return np.maximum(_head_score(head, height, width), _torso_score(usual, height, width))


def _head_score(place: Place, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0.5:height, 0.5:width].astype(np.float32)
    dx, dy = (x - place.centre[0]) / place.px_per_u, (y - place.centre[1]) / place.px_per_u
    across = dx * place.across[0] + dy * place.across[1]
    down = dy * place.across[0] - dx * place.across[1]
    ratio = np.hypot(across / _HEAD_WIDTH_U, down / _HEAD_HEIGHT_U)
    return _between(ratio, _SURE_RATIO, _IMPOSSIBLE_RATIO)


def _torso_score(place: Place, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0.5:height, 0.5:width].astype(np.float32)
    aside = np.abs(x - place.centre[0]) / place.px_per_u
    below = (y - place.centre[1]) / place.px_per_u
    sure = np.interp(below, _SURE_TORSO[:, 0], _SURE_TORSO[:, 1], left=0.0)
    possible = np.interp(below, _POSSIBLE_TORSO[:, 0], _POSSIBLE_TORSO[:, 1], left=0.0)
    score = _between(aside, sure, np.maximum(possible, sure + 0.05))
    return np.where(below < _POSSIBLE_TORSO[0, 0], -_MOST, score).astype(np.float32)


def _between(value: np.ndarray, sure: np.ndarray | float, impossible: np.ndarray | float) -> np.ndarray:
    """+4 up to `sure`, -4 from `impossible` on, straight between."""
    share = np.clip((value - sure) / (impossible - sure), 0, 1)
    return (_MOST * (1 - 2 * share)).astype(np.float32)
