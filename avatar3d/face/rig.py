# SPDX-License-Identifier: Apache-2.0
"""The personal rig: a person's mean face and the directions in which it moves."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def rig_vertices(neutral: np.ndarray, basis: np.ndarray, expression: np.ndarray) -> np.ndarray:
    """Vertices [T,V,3] u in head space of a rig (neutral [V,3], basis [V,3,K]) at expressions [T,K]."""
    moved = expression @ basis.reshape(-1, basis.shape[-1]).T
    return neutral + moved.reshape(-1, *neutral.shape)


def triangles_within(triangles: np.ndarray, loop: Iterable[int]) -> np.ndarray:
    """[N] bool: triangles [N,3] all of whose corners lie on `loop`.

    The canonical mesh closes the mouth and the eyes; these are the triangles that do so when `loop` is the inner lips
    or an eye.
    """
    return np.all(np.isin(triangles, list(loop)), axis=-1)
