# SPDX-License-Identifier: Apache-2.0
"""The motion of a face whose head and gaze are for others to decide."""

from __future__ import annotations

import numpy as np

from avatar3d.records import FPS, Motion

_POSE = np.array((1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), np.float32)


def at_rest(expression: np.ndarray, blink: np.ndarray, basis: str = "personal") -> Motion:
    """Expressions [T,K] in `basis` and lids [T,2] on a head that keeps still and looks ahead."""
    frames = len(expression)
    return Motion(expression, blink, np.zeros((frames, 4), np.float32), np.tile(_POSE, (frames, 1)), FPS, basis)
