# SPDX-License-Identifier: Apache-2.0
"""How the face moves: lips, mouth opening, expression scores and jitter, from landmarks [T,478,2 or 3] px.

Rows of frames without a face are NaN and are left out. `shots` [T] numbers the shot that each frame belongs to; no
difference in time is taken across a cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar3d.face.groups import APERTURE_PAIRS, LIPS

_OUTER_EYE_CORNERS = (33, 263)
# nose bridge and forehead: they move with the skull
_SKULL = (168, 6, 197, 195, 8, 9, 151, 10, 108, 337, 69, 299)
# MediaPipe's order of scores: brows, cheeks and eyes; jaw and mouth (the two of the nose belong to neither)
_UPPER_SCORES, _LOWER_SCORES = slice(1, 23), slice(23, 50)
_FEWEST_FRAMES = 8  # for a correlation
_STILL_PCT = 1e-5  # a mouth that moves less has no correlation
_LONGEST_LAG = 12  # frames


@dataclass(frozen=True)
class Follow:
    """How one signal follows another; None where it cannot be said."""

    r: float | None  # Pearson correlation without shift
    lag_frames: int | None  # the shift of best correlation; positive: the made one is later
    r_at_lag: float | None
    gain: float | None  # standard deviation of the made one over that of the real one


def shots_of(cuts: Sequence[int], start: int, stop: int) -> np.ndarray:
    """The shot of each frame [start, stop), from the frames at which a new shot begins."""
    return np.searchsorted(np.sort(np.asarray(cuts, int)), np.arange(start, stop), side="right")


def eye_distance(points: np.ndarray) -> float:
    """Inter-ocular distance px: the median over frames of the distance of the outer eye corners."""
    right, left = (points[:, corner, :2] for corner in _OUTER_EYE_CORNERS)
    return float(np.nanmedian(np.linalg.norm(right - left, axis=-1)))


def aperture(points: np.ndarray) -> np.ndarray:
    """Height of the inner lips' opening, px [T]."""
    heights = [np.linalg.norm(points[:, a, :2] - points[:, b, :2], axis=-1) for a, b in APERTURE_PAIRS]
    return np.mean(heights, 0)


def lip_distance(real: np.ndarray, made: np.ndarray) -> np.ndarray:
    """LMD: mean distance of the 40 lip points, each set about its own mean, px [T]."""
    real, made = (points[:, list(LIPS), :2] for points in (real, made))
    centred = (real - real.mean(1, keepdims=True)) - (made - made.mean(1, keepdims=True))
    return np.linalg.norm(centred, axis=-1).mean(-1)


def score_errors(real: np.ndarray, made: np.ndarray) -> tuple[float | None, float | None]:
    """Squared difference of the expression scores [T,52], mean over frames, summed over upper and lower face."""
    error = np.square(real.astype(np.float64) - made)
    error = error[np.isfinite(error).all(-1)]
    if not len(error):
        return None, None
    mean = error.mean(0)
    return float(mean[_UPPER_SCORES].sum()), float(mean[_LOWER_SCORES].sum())


def jitter(points: np.ndarray, shots: np.ndarray) -> float | None:
    """RMS length of the third difference in time of points of the skull, px."""
    skull = points[:, list(_SKULL), :2].astype(np.float64)
    third = np.diff(skull, 3, axis=0)
    third = third[(shots[3:] == shots[:-3]) & np.isfinite(third).all((1, 2))]
    return float(np.sqrt(np.square(third).sum(-1).mean())) if len(third) else None


def pearson(x: np.ndarray, y: np.ndarray) -> float | None:
    """Correlation over the frames where both are finite; None for fewer than 8, or where one of them is still."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < _FEWEST_FRAMES or x.std() < _STILL_PCT or y.std() < _STILL_PCT:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def follow(real: np.ndarray, made: np.ndarray, shots: np.ndarray) -> Follow:
    """How the signal `made` [T] follows `real` [T]; shifts of up to 12 frames, or a quarter of them all, are tried."""
    count = len(real)
    longest = min(_LONGEST_LAG, count // 4)
    tried = []
    for lag in range(-longest, longest + 1):
        early, late = slice(max(-lag, 0), count - max(lag, 0)), slice(max(lag, 0), count - max(-lag, 0))
        same = shots[early] == shots[late]
        r = pearson(real[early][same], made[late][same])
        if r is not None:
            tried.append((r, lag))
    # the first of equals: the order of lags decides nothing else
    best_r, best_lag = max(tried, key=lambda pair: pair[0]) if tried else (None, None)
    known = np.isfinite(real) & np.isfinite(made)
    spread = real[known].std() if known.sum() > 1 else 0.0
    gain = float(made[known].std() / spread) if spread > _STILL_PCT else None
    return Follow(pearson(real, made), best_lag, best_r, gain)
