# SPDX-License-Identifier: Apache-2.0
"""The algebra of refining a motion: every frame's quadratic, a prior about where it began, steady heads.

D numbers a frame: six of a pose, the head's or the body's, then the face's, if any. All frames share one curvature,
which is what makes the solution in time cheap: in the basis that diagonalises it together with the prior on
accelerations, the six numbers of a pose are six separate chains, each a band of half-width two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg

POSE = 6
_TAILS = 4.0  # degrees of freedom of the Student-t prior on accelerations: few = heavy tails
_LEAST_MOTION = 0.02  # share of the observed second differences that is motion at least
_STILL = 1e-10  # rad^2 and u^2: what a head that never moves is granted
_ROUNDS = 3  # of reweighting the prior


@dataclass(frozen=True)
class Quadratic:
    """Minus the logarithm of a motion's probability, about where it stands: s x + x C x / 2 + p (x + m)^2 / 2."""

    curvature: np.ndarray  # [D,D] C, of the data
    slope: np.ndarray  # [T,D] s, of the data
    precision: np.ndarray  # [D] p, of the prior
    moved: np.ndarray  # [T,D] m, how far each frame is from where the prior has its peak

    def parted(self, at: int) -> tuple[Quadratic, Quadratic]:
        """The numbers before column `at` and those from there on, each as if the others stood still."""
        return self._columns(slice(None, at)), self._columns(slice(at, None))

    def _columns(self, part: slice) -> Quadratic:
        return Quadratic(self.curvature[part, part], self.slope[:, part], self.precision[part], self.moved[:, part])

    def free(self, rows: np.ndarray) -> np.ndarray:
        """The best step [T,D] of each of `rows` for itself; 0 elsewhere."""
        step = np.zeros_like(self.slope)
        step[rows] = -np.linalg.solve(self._matrix, self._vector[rows].T).T
        return step

    def steady(self, path: np.ndarray, runs: Sequence[slice], strength: float) -> np.ndarray:
        """The best step [T,D] under a prior on the accelerations of the pose.

        Accelerations are Student-t with a variance that is measured: that of the path after its best free step, less
        the noise which the curvature says such steps have. A head that really jerks is followed.

        Args:
            path: [T,6] the poses; only their second differences are used.
            runs: stretches of frames that hang together; others do not move.
            strength: multiplies the prior; 0 = none.
        """
        step, matrix, vector = np.zeros_like(self.slope), self._matrix, self._vector
        # the face is eliminated: it answers the pose frame by frame
        across, face = matrix[:POSE, POSE:], matrix[POSE:, POSE:]
        inner = np.linalg.solve(face, np.concatenate([across.T, vector[:, POSE:].T], 1))
        pose = matrix[:POSE, :POSE] - across @ inner[:, :POSE]
        pull = vector[:, :POSE] - (across @ inner[:, POSE:]).T
        step[:, :POSE] = _chains(pose, pull, path, runs, strength)
        answer = inner[:, POSE:].T + step[:, :POSE] @ inner[:, :POSE].T
        for run in runs:
            step[run, POSE:] = -answer[run]
        return step

    @property
    def _matrix(self) -> np.ndarray:
        return self.curvature + np.diag(self.precision)

    @property
    def _vector(self) -> np.ndarray:
        return self.slope + self.precision * self.moved


def _chains(pose: np.ndarray, pull: np.ndarray, path: np.ndarray, runs: Sequence[slice], strength: float) -> np.ndarray:
    """Steps [T,6] for quadratics of curvature [6,6] and slopes [T,6], steadied."""
    step = np.zeros_like(pull)
    for run in runs:
        step[run] = -np.linalg.solve(pose, pull[run].T).T
    long = [run for run in runs if run.stop - run.start >= 3]
    if not long or strength <= 0:
        return step
    bends = np.concatenate([np.diff(path[run] + step[run], 2, axis=0) for run in long])
    observed = np.square(bends).mean(0)
    # white noise of variance n has second differences of variance 6 n
    noise = 6 * np.linalg.inv(pose).diagonal()
    scale = np.maximum(observed - noise, _LEAST_MOTION * observed + _STILL) * (_TAILS - 2) / _TAILS
    stiff, basis = scipy.linalg.eigh(pose, np.diag(strength / scale))
    for run in long:
        for _ in range(_ROUNDS):
            bend = np.diff(path[run] + step[run], 2, axis=0)
            calm = (_TAILS + POSE) / (_TAILS + (bend**2 / scale).sum(1))
            right = -pull[run] @ basis
            # in this basis the prior is the plain square of second differences, that of the path itself included
            own = np.diff(path[run], 2, axis=0) * (strength / scale) @ basis
            right -= second_differences_transposed(calm[:, None] * own)
            chains = [_chain(mu, calm, column) for mu, column in zip(stiff, right.T, strict=True)]
            step[run] = np.stack(chains, 1) @ basis.T
    return step


def _chain(stiff: float, calm: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solves (stiff I + D' diag(calm) D) x = right [T], D the second differences."""
    band = np.zeros((3, len(right)))
    band[2] = stiff + second_differences_transposed(calm[:, None], (1.0, 4.0, 1.0))[:, 0]
    band[1, 1:-1] -= 2 * calm
    band[1, 2:] -= 2 * calm
    band[0, 2:] = calm
    return scipy.linalg.solveh_banded(band, right)


def second_differences_transposed(
    values: np.ndarray, factors: tuple[float, float, float] = (1.0, -2.0, 1.0)
) -> np.ndarray:
    """[T,C] from [T-2,C]."""
    frames = len(values) + 2
    out = np.zeros((frames, values.shape[1]))
    for offset, factor in enumerate(factors):
        out[offset : frames - 2 + offset] += factor * values
    return out
