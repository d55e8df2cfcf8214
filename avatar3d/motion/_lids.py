# SPDX-License-Identifier: Apache-2.0
"""What closing the lids does to a person's expression codes.

The tracker's basis follows all that moves, lids included, so in a capture a blink shows twice: in `Motion.blink` and
in `Motion.expression`. A head that learned from both needs both to shut its eyes; a generated blink must bring along
its share of the expression.
"""

from __future__ import annotations

import numpy as np

from avatar3d.face.groups import CHIN, LEFT_EYE, LIPS, RIGHT_EYE
from avatar3d.records import Track

_SHUT, _OPEN = 0.5, 0.25
_FEWEST = 3  # frames with shut lids that make a mean
_RIDGE = 1e-3  # of the trace


def lid_closing(track: Track, rows: np.ndarray) -> np.ndarray:
    """[K] expression per unit of blink, from the trusted frames `rows`: how shut lids differ from open ones.

    Blinks are few, so the mean of their frames has something of whatever else the face did then. What is returned
    moves the eyes as that mean does, and lips and chin as little as possible (ridge least squares).
    """
    codes, lids = track.motion.expression[rows], track.motion.blink[rows].mean(1)
    shut, open_ = lids > _SHUT, lids < _OPEN
    if shut.sum() < _FEWEST or open_.sum() < _FEWEST:
        return np.zeros(codes.shape[1], np.float32)
    mean = (codes[shut].mean(0) - codes[open_].mean(0)) / (lids[shut].mean() - lids[open_].mean())
    eyes = track.basis[[*RIGHT_EYE, *LEFT_EYE]].reshape(-1, codes.shape[1])
    mouth = track.basis[[*LIPS, *CHIN]].reshape(-1, codes.shape[1])
    normal = eyes.T @ eyes + mouth.T @ mouth
    normal += _RIDGE * np.trace(normal) / len(normal) * np.eye(len(normal))
    return np.linalg.solve(normal, eyes.T @ (eyes @ mean)).astype(np.float32)
