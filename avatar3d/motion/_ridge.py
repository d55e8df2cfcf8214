# SPDX-License-Identifier: Apache-2.0
"""Linear maps from the sound about a frame to an expression: where a voice begins, and what it has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_RIDGE = 0.1  # times the number of frames, for features of unit spread
_BASELINE_SPAN = 4, 4


class Moments:
    """Sums over frames, from which the ridge regressions on any part of a span of rows follow.

    Regressions that differ in the frames they may learn from share the sums of those that they have in common.
    """

    def __init__(self, features: int, codes: int, before: int, after: int) -> None:
        size = features * (before + 1 + after) + 1
        self.features, self.before, self.after = features, before, after
        self.near = np.zeros((size, size))  # the last row and column belong to a constant 1
        self.target = np.zeros((size, codes))

    def add(self, rows: np.ndarray, codes: np.ndarray, valid: np.ndarray) -> None:
        """Counts in the frames `valid` [T] of rows [T,D], about zero mean and unit spread, and of codes [T,K].

        Zeros are taken beyond the ends.
        """
        about = _about(rows, self.before, self.after)[valid].astype(np.float32)
        near = np.pad(about, ((0, 0), (0, 1)), constant_values=1)
        self.near += near.T @ near
        self.target += near.T @ codes[valid].astype(np.float32)

    def without(self, other: Moments) -> Moments:
        """The sums less those of `other`, which were counted in here too."""
        rest = Moments(self.features, self.target.shape[1], self.before, self.after)
        rest.near, rest.target = self.near - other.near, self.target - other.target
        return rest

    def ridge(self, before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
        """The ridge regression of codes on the rows from `before` each frame to `after` it.

        Returns:
            Weights [K,D,before+1+after] in the order of a one-dimensional convolution, and bias [K]; float32.
        """
        taps = np.arange(self.before - before, self.before + 1 + after)
        kept = (np.arange(self.features)[:, None] * (self.before + 1 + self.after) + taps).ravel()
        count = self.near[-1, -1]
        centre, mean = self.near[-1, kept] / count, self.target[-1] / count
        normal = self.near[np.ix_(kept, kept)] - count * np.outer(centre, centre)
        normal += _RIDGE * count * np.eye(len(kept))
        weights = np.linalg.solve(normal, self.target[kept] - count * np.outer(centre, mean))
        shaped = weights.T.reshape(-1, self.features, before + 1 + after)
        return shaped.astype(np.float32), (mean - centre @ weights).astype(np.float32)

    def mean_ridge(self, contexts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The mean of the regressions over several contexts, as `ridge` over the whole span.

        Short contexts cannot mistake the course of a sentence for its sounds, long ones know how sounds run together.

        Args:
            contexts: rows before each frame and after it, as far as the span goes.
        """
        maps = []
        for context in contexts:
            before, after = min(context, self.before), min(context, self.after)
            weights, bias = self.ridge(before, after)
            maps.append((np.pad(weights, ((0, 0), (0, 0), (self.before - before, self.after - after))), bias))
        return np.mean([weights for weights, _ in maps], axis=0), np.mean([bias for _, bias in maps], axis=0)


def linear_baseline(rows: np.ndarray, codes: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Expressions [T,K] for feature rows [T,D], by a ridge regression over nine rows.

    Args:
        codes: [N,K] of the first N frames, those to learn from.
        valid: [N] bool, which of them count.
    """
    known = min(len(rows), len(codes))
    scaled = (rows - rows[:known].mean(0)) / (rows[:known].std(0) + 0.1)
    sums = Moments(rows.shape[1], codes.shape[1], *_BASELINE_SPAN)
    sums.add(scaled[:known], codes[:known], valid[:known])
    weights, bias = sums.ridge(*_BASELINE_SPAN)
    return _about(scaled, *_BASELINE_SPAN) @ weights.reshape(len(weights), -1).T + bias


def _about(rows: np.ndarray, before: int, after: int) -> np.ndarray:
    """[T,D*(before+1+after)]: every row beside its neighbours."""
    padded = np.pad(rows, ((before, after), (0, 0)))
    near = np.lib.stride_tricks.sliding_window_view(padded, before + 1 + after, axis=0)  # [T,D,taps]
    return near.reshape(len(rows), -1)
