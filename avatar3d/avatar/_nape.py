# SPDX-License-Identifier: Apache-2.0
"""The back of a head, which no frame shows: it looks as the same head does further up.

What is seen nearest to it are the ears and the skin about them, but hair goes on behind them down to the nape; and who
is bald above is bald behind.
"""

from __future__ import annotations

import numpy as np

_FROM_U, _OVER_U = 0.2, 0.3  # how far behind the ears it begins, and within what it is all
_UP_U = 0.6  # where hair is, seen from the height of the ears


def behind_ears(points: np.ndarray, ears_u: float) -> np.ndarray:
    """[N] from 0 to 1: points [N,3] u in head space that are well behind ears at z = `ears_u`."""
    share: np.ndarray = ((ears_u - _FROM_U - points[:, 2]) / _OVER_U).clip(0, 1)
    return share


def looked_up(points: np.ndarray, ears_u: float) -> np.ndarray:
    """[N,3] where to look for what points [N,3] look like: further up for those behind the ears."""
    raised = points.copy()
    raised[:, 1] += _UP_U * behind_ears(points, ears_u)
    return raised
