# SPDX-License-Identifier: Apache-2.0
"""How far a rig's mouth is open."""

from __future__ import annotations

import numpy as np

from avatar3d.face.groups import APERTURE_PAIRS


def lip_gaps(neutral: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From lower to upper inner lip, at the middle of the mouth and beside it.

    Args:
        neutral: [V,3] u; basis: [V,3,K] u per unit of expression.

    Returns:
        Gaps [3,3] u of the neutral face, and [3,3,K] what each unit of expression adds; their mean length is the
        mouth's opening.
    """
    upper, lower = (list(side) for side in zip(*APERTURE_PAIRS, strict=True))
    return neutral[upper] - neutral[lower], basis[upper] - basis[lower]


def lip_opening(neutral: np.ndarray, basis: np.ndarray, expression: np.ndarray) -> np.ndarray:
    """Opening of the mouth [T] u at expressions [T,K]."""
    gap, change = lip_gaps(neutral, basis)
    gaps = gap + (expression @ change.reshape(-1, change.shape[-1]).T).reshape(-1, *gap.shape)
    return np.linalg.norm(gaps, axis=-1).mean(1)
