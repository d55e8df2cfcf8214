# SPDX-License-Identifier: Apache-2.0
"""Where one shot ends and the next begins, also between shots that look alike."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_THUMB = 64  # px a side
_NEAR = 5  # frames before and after that a jump is compared with
_PICTURE_JUMP = 2.1  # times the largest change near by
_HEAD_JUMP = 1.5  # times the largest movement near by
_CERTAIN_JUMP = 6.0  # of the picture: no word of the head is needed
_PICTURE_FLOOR = 0.4  # grey levels: smaller changes are noise
_HEAD_FLOOR = 0.0035  # of the face's height: smaller movements are noise
# vertices that speech and lids do not move: forehead, temples, bridge of the nose, cheekbones
_STILL = (10, 151, 9, 8, 168, 6, 197, 195, 67, 297, 103, 332, 54, 284, 234, 454, 127, 356)


def find_cuts(changes: np.ndarray, points: np.ndarray) -> tuple[int, ...]:
    """Frames that begin a new shot; frame 0 is not listed.

    At a cut the picture changes more between two frames than anywhere near by, and the head jumps with it. Movement of
    a living head is smooth, so its largest step has neighbours of its own size; a flash changes the picture twice.

    Args:
        changes: [T] from `picture_changes`.
        points: [T,478,3] px, NaN rows where there is no face.
    """
    steps = _head_steps(points)
    is_cut = np.zeros(len(changes), bool)
    while True:
        picture = _over_neighbours(changes, is_cut, _PICTURE_FLOOR)
        # without a face on either side the picture alone decides
        head = np.nan_to_num(_over_neighbours(steps, is_cut, _HEAD_FLOOR), nan=np.inf)
        jumps = (picture > _PICTURE_JUMP) & ((head > _HEAD_JUMP) | (picture > _CERTAIN_JUMP)) & ~is_cut
        if not jumps.any():
            return tuple(np.flatnonzero(is_cut).tolist())
        is_cut |= jumps  # a cut near by hides a weaker one, so look again without it


def picture_changes(frames: Iterable[np.ndarray]) -> np.ndarray:
    """[T] float32 mean change of each frame's green channel from the frame before, grey levels; 0 for the first.

    Args:
        frames: [S,S,3] uint8, S a multiple of 64.
    """
    changes = []
    before: np.ndarray | None = None
    for frame in frames:
        thumb = _thumb(frame)
        changes.append(0.0 if before is None else float(np.abs(thumb - before).mean()))
        before = thumb
    return np.array(changes, np.float32)


def _thumb(frame: np.ndarray) -> np.ndarray:
    step = len(frame) // _THUMB
    blocks = frame[..., 1].reshape(_THUMB, step, _THUMB, step)
    return blocks.mean((1, 3), dtype=np.float32)


def _head_steps(points: np.ndarray) -> np.ndarray:
    """[T] movement of the head since the frame before, over the face's height; NaN where either shows no face."""
    held = points[:, _STILL, :2]
    heights = np.ptp(points[..., 1], axis=1)
    steps = np.full(len(points), np.nan, np.float32)
    steps[1:] = np.sqrt((np.diff(held, axis=0) ** 2).sum(-1).mean(-1))
    return steps / np.nanmedian(heights) if np.isfinite(heights).any() else steps


def _over_neighbours(values: np.ndarray, left_out: np.ndarray, floor: float) -> np.ndarray:
    """Each value over the largest of the values near it, itself and those left out not counted."""
    counted = np.where(left_out | np.isnan(values), 0, values)
    padded = np.pad(counted, _NEAR)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEAR + 1)
    others = np.delete(windows, _NEAR, axis=1).max(axis=1)
    return values / np.maximum(others, floor)
