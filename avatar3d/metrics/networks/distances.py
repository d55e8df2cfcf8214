# SPDX-License-Identifier: Apache-2.0
"""What embeddings of real and made video say of one another."""

from __future__ import annotations

import numpy as np


def frechet(real: np.ndarray, made: np.ndarray) -> float:
    """Frechet distance of two sets of features [N,D], [M,D] as normal distributions; N and M at least 2.

    Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017 (FID, with Inception's 2048 features). With the
    covariances as A A' and B B' the trace of the root of their product is the sum of the singular values of A' B,
    which is exact also where there are fewer pictures than features.
    """
    mean, other = real.mean(0, dtype=np.float64), made.mean(0, dtype=np.float64)
    a, b = (real - mean) / np.sqrt(len(real) - 1), (made - other) / np.sqrt(len(made) - 1)
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(max(np.square(mean - other).sum() + np.square(a).sum() + np.square(b).sum() - 2 * shared, 0.0))


def likeness(real: np.ndarray, made: np.ndarray) -> float:
    """Mean cosine of rows [N,D] of one and the other."""
    lengths = np.linalg.norm(real, axis=1) * np.linalg.norm(made, axis=1)
    return float(((real * made).sum(1) / np.maximum(lengths, 1e-12)).mean())


def lip_sync(seen: np.ndarray, heard: np.ndarray, reach: int = 15) -> tuple[float, float, int]:
    """How well lips follow sound, from embeddings [T,D] of both at the same moments.

    Chung and Zisserman, Out of Time: Automated Lip Sync in the Wild, 2016. Zeros stand beyond the ends.

    Args:
        reach: frames by which the sound is moved to either side.

    Returns:
        LSE-D (the least mean distance over all moves), LSE-C (the median of these means, minus the least), and by how
        many frames the picture is late there.
    """
    padded = np.pad(heard, ((reach, reach), (0, 0)))
    moves = range(2 * reach + 1)
    means = np.array([np.linalg.norm(seen - padded[move : move + len(seen)], axis=1).mean() for move in moves])
    best = int(means.argmin())
    return float(means[best]), float(np.median(means) - means[best]), reach - best
