# SPDX-License-Identifier: Apache-2.0
"""Lids and irises, measured on the landmarks after the head's turn is taken out of them."""

from __future__ import annotations

import numpy as np

from avatar3d.face.groups import (
    LEFT_IRIS,
    LEFT_LID_PAIRS,
    LEFT_LID_RATIO,
    RIGHT_IRIS,
    RIGHT_LID_PAIRS,
    RIGHT_LID_RATIO,
)

_CORNERS = (RIGHT_LID_RATIO[0], LEFT_LID_RATIO[0])
_PAIRS = (RIGHT_LID_PAIRS, LEFT_LID_PAIRS)
_IRISES = (RIGHT_IRIS, LEFT_IRIS)
_MIDDLE = slice(1, 6)  # the pairs whose mean says how far an eye is open: the outermost ones hardly move
_CLOSED_AT_MOST = 0.6  # of the open gap: someone who never blinks in the capture has no closed eye to measure
_SWEEPS = 5
_PULSE = 0.25  # closures well below this are not what a blink is learned from
_SHRINK = 1.0  # of the gaps' covariance towards its mean variance: few frames say little of it
_NOISIEST, _LEAST_LIKE = 0.2, 0.6  # what a learned blink must keep to be believed


def frontal(rays: np.ndarray, depth: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Landmarks [T,P,3] u in head space, from their rays (x/z, y/z) [T,P,2] and the model's depths [T,P] u."""
    points = np.concatenate([rays, np.ones_like(rays[..., :1])], -1) * depth[..., None]
    return (points - translation[:, None]) @ rotation


def lid_gaps(points: np.ndarray) -> np.ndarray:
    """How far seven points of each upper lid lie above the lower lid's [T,2,7] u, of landmarks [T,478,3] in head space.

    The sign counts: detected lids of a closed eye may pass one another, and their distance would grow again.
    """
    return np.stack([np.stack([points[:, up, 1] - points[:, low, 1] for up, low in eye], 1) for eye in _PAIRS], 1)


def blink_of(gaps: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Right and left lid [T,2], 0 open .. 1 closed, of `lid_gaps` [T,2,7].

    Every pair of points says how closed the eye is. How far each travels in this person's blinks, and how they vary
    otherwise, is learned from the training frames; then each frame's closure is the generalised least squares
    estimate. Where no blink shows, it is the mean gap between open (90th percentile) and closed.

    Args:
        training: [T] bool, the frames that may be learned from.
    """
    return np.stack([_closure(gaps[:, eye], training) for eye in range(2)], 1)


def raw_gaze(points: np.ndarray) -> np.ndarray:
    """Right eye (across, down), left eye (across, down) [T,4]: iris off the middle of the corners, in eye widths.

    Across is to the image's right. How the eye rests is still in it.
    """
    columns = []
    for (first, second), iris in zip(_CORNERS, _IRISES, strict=True):
        width = np.linalg.norm(points[:, first] - points[:, second], axis=-1)
        off = points[:, iris] - (points[:, first] + points[:, second]) / 2
        columns += [off[:, 0] / width, -off[:, 1] / width]
    return np.stack(columns, 1)


def _closure(gaps: np.ndarray, training: np.ndarray) -> np.ndarray:
    """One eye's closure [T] of its gaps [T,7]."""
    plain = _mean_closure(gaps[:, _MIDDLE].mean(1), training)
    closure = plain
    for _ in range(_SWEEPS):
        found = _matched(gaps, closure, training)
        if found is None:
            return plain
        closure = found
    if np.corrcoef(plain[training], closure[training])[0, 1] < _LEAST_LIKE:
        return plain
    return np.clip(closure, 0, 1)


def _mean_closure(gap: np.ndarray, training: np.ndarray) -> np.ndarray:
    open_ = np.quantile(gap[training], 0.90)
    closed = min(np.quantile(gap[training], 0.02), _CLOSED_AT_MOST * open_)
    return np.clip((open_ - gap) / max(open_ - closed, 1e-9), 0, 1)


def _matched(gaps: np.ndarray, closure: np.ndarray, training: np.ndarray) -> np.ndarray | None:
    """A better closure [T] than `closure` [T], 1 at the height of the usual blink; None if there is no blink in it."""
    pulse = closure**3 / (closure**2 + _PULSE**2)  # blinks stay, the lids' other movements go
    rows = np.stack([np.ones(training.sum()), pulse[training]], 1)
    (open_, travel), *_ = np.linalg.lstsq(rows, gaps[training], rcond=None)
    left = gaps[training] - rows @ np.stack([open_, travel])
    spread = left.T @ left / len(left)
    spread += (_SHRINK * np.trace(spread) / len(spread) + 1e-12) * np.eye(len(spread))
    filter_ = np.linalg.solve(spread, travel)
    strength = float(travel @ filter_)
    if strength <= 0:
        return None
    found = (gaps - open_) @ filter_ / strength
    height = _usual_height(found[training])
    return None if height <= 0 or strength**-0.5 / height > _NOISIEST else found / height


def _usual_height(closure: np.ndarray) -> float:
    middle = closure[1:-1]
    tops = middle[(middle >= closure[:-2]) & (middle >= closure[2:]) & (middle > 0.5)]
    return float(np.median(tops)) if len(tops) > 1 else float(closure.max())
