# SPDX-License-Identifier: Apache-2.0
"""How far a person's head reaches to all sides, hair included, by the masks of the frames."""

from __future__ import annotations

import numpy as np
import torch

from avatar3d.avatar._frames import usable_frames
from avatar3d.avatar._scatter import skull_rays
from avatar3d.geometry import apply_pose, project
from avatar3d.records import Capture, Track

_FRAMES, _RAYS = 24, 72
_NEAREST, _FURTHEST, _STEPS = 0.6, 1.6, 51  # how far along a ray is looked, in times an average head
_SMOOTH = (0.25, 0.5, 0.25)
_INSIDE = 127
_USUAL = 0.4  # of the frames the head reaches less far


def head_outline(capture: Capture, track: Track) -> np.ndarray | None:
    """[72] by how much the head is larger than an average one, by direction (see `skull_rays`); None without masks.

    In each frame the outline is where a ray first leaves the mask. Below, where neck and shoulders are in the way, and
    where the picture ends before the head does, the value is between those of the directions beside.
    """
    rows = np.flatnonzero(usable_frames(track)[: track.fitted_frames])
    if capture.masks is None or not len(rows):
        return None
    centre, rays = skull_rays(track.neutral.astype(np.float64), _RAYS)
    along = np.linspace(_NEAREST, _FURTHEST, _STEPS)
    points = torch.from_numpy((centre + rays[:, None] * along[:, None]).astype(np.float32)).reshape(-1, 3)
    found = []
    for row in rows[np.linspace(0, len(rows) - 1, min(_FRAMES, len(rows))).astype(int)]:
        seen = project(apply_pose(torch.from_numpy(track.motion.head[row]), points), track.camera.K.float()).numpy()
        found.append(_first_outside(capture.masks[row], np.floor(seen).astype(int).reshape(_RAYS, _STEPS, 2), along))
    return _closed(np.stack(found))


def _first_outside(mask: np.ndarray, at: np.ndarray, along: np.ndarray) -> np.ndarray:
    """[A] where on the way `along` [S] pixels `at` [A,S,2] first leave the mask; NaN where they do not."""
    size = np.array(mask.shape[::-1])
    within: np.ndarray = np.all((at >= 0) & (at < size), axis=-1)
    x, y = np.moveaxis(at.clip(0, size - 1), -1, 0)
    out = ~within | (mask[y, x] <= _INSIDE)
    first = out.argmax(1)
    rows = np.arange(len(at))
    return np.where(out.any(1) & within[rows, first], along[first], np.nan)


def _closed(found: np.ndarray) -> np.ndarray | None:
    """What is usual over frames [T,A], all around; None where too few directions are known to go round."""
    known = np.isfinite(found).sum(0) > len(found) / 2
    if known.sum() < _RAYS / 4:
        return None
    rows = np.flatnonzero(known)
    middle = np.array([np.nanquantile(found[:, row], _USUAL) for row in rows])
    whole = np.interp(np.arange(_RAYS), rows, middle, period=_RAYS)
    padded = np.concatenate([whole[-1:], whole, whole[:1]])
    return np.convolve(padded, _SMOOTH, "valid")
