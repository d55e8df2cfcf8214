# SPDX-License-Identifier: Apache-2.0
"""Linear maps from the sound about a frame to an expression: where a voice begins, and what it has to beat."""

from __future__ import annotations

import numpy as np

_RIDGE = 0.1  # times the number of frames, for features of unit spread
_BASELINE_SPAN = 4, 4


def ridge(
    rows: np.ndarray, codes: np.ndarray, valid: np.ndarray, before: int, after: int
) -> tuple[np.ndarray, np.ndarray]:
    """The ridge regression of codes [T,K] on the rows [T,D] from `before` each frame to `after` it.

    Args:
        rows: about zero mean and unit spread; zeros are taken beyond the ends.
        valid: [T] bool, the frames that count.

    Returns:
        Weights [K,D,before+1+after] in the order of a one-dimensional convolution, and bias [K]; float32.
    """
    near = _about(rows, before, after)[valid].astype(np.float64)
    target = codes[valid].astype(np.float64)
    centre, mean = near.mean(0), target.mean(0)
    near -= centre
    penalty = _RIDGE * len(near) * np.eye(near.shape[1])
    weights = np.linalg.solve(near.T @ near + penalty, near.T @ (target - mean))
    bias = mean - centre @ weights
    shaped = weights.T.reshape(codes.shape[1], rows.shape[1], before + 1 + after)
    return shaped.astype(np.float32), bias.astype(np.float32)


def mean_ridge(
    rows: np.ndarray, codes: np.ndarray, valid: np.ndarray, contexts: tuple[int, ...], ahead: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the ridge regressions over several contexts, as `ridge` over the longest.

    Short contexts cannot mistake the course of a sentence for its sounds, long ones know how sounds run together.

    Args:
        contexts: rows before each frame, and as many after it ...
        ahead: ... but at most so many.
    """
    spans = [(context, context if ahead is None else min(context, ahead)) for context in contexts]
    longest = [max(reach) for reach in zip(*spans, strict=True)]
    maps = [ridge(rows, codes, valid, *span) for span in spans]
    padded = [
        np.pad(weights, ((0, 0), (0, 0), (longest[0] - before, longest[1] - after)))
        for (before, after), (weights, _) in zip(spans, maps, strict=True)
    ]
    return np.mean(padded, axis=0), np.mean([bias for _, bias in maps], axis=0)


def linear_baseline(rows: np.ndarray, codes: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Expressions [T,K] for feature rows [T,D], by a ridge regression over nine rows.

    Args:
        codes: [N,K] of the first N frames, those to learn from.
        valid: [N] bool, which of them count.
    """
    known = min(len(rows), len(codes))
    scaled = (rows - rows[:known].mean(0)) / (rows[:known].std(0) + 0.1)
    weights, bias = ridge(scaled[:known], codes[:known], valid[:known], *_BASELINE_SPAN)
    return _about(scaled, *_BASELINE_SPAN) @ weights.reshape(len(weights), -1).T + bias


def _about(rows: np.ndarray, before: int, after: int) -> np.ndarray:
    """[T,D*(before+1+after)]: every row beside its neighbours."""
    padded = np.pad(rows, ((before, after), (0, 0)))
    near = np.lib.stride_tricks.sliding_window_view(padded, before + 1 + after, axis=0)  # [T,D,taps]
    return near.reshape(len(rows), -1)
