# SPDX-License-Identifier: Apache-2.0
"""Which of the 468 vertices move with the skull, and how surely."""

from __future__ import annotations

import numpy as np

from avatar3d.face.canonical import CanonicalFace
from avatar3d.face.groups import SILHOUETTE

_SOFT = 0.05  # brows and lids: mostly bone beneath, but they move
_LOWER_FACE_U = -0.20  # below this height everything follows jaw and lips
_NOSE_TIP, _NOSE_BASE = 4, 1


def rigid_weights(face: CanonicalFace) -> np.ndarray:
    """[468] float64, 1 = moves with the skull (forehead, temples, nose, cheekbones) .. 0 = says nothing about it.

    Points of the silhouette get 0 as well: the detector lets them slide over the skin as the head turns.
    """
    across, height = np.abs(face.vertices[:, 0]), face.vertices[:, 1]
    lids = (np.abs(height - 0.26) < 0.13) & (across > 0.12) & (across < 0.52)
    brows = (height > 0.36) & (height < 0.63) & (across > 0.08) & (across < 0.60)
    weights = np.where(lids | brows, _SOFT, 1.0)
    weights[height < _LOWER_FACE_U] = 0.0
    weights[_NOSE_TIP], weights[_NOSE_BASE] = 1.0, 0.5
    weights[list(SILHOUETTE)] = 0.0
    return weights
