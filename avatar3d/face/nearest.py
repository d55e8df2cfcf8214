# SPDX-License-Identifier: Apache-2.0
"""The nearest point of a triangle mesh."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

CANDIDATES = 40  # triangles that are looked at for each point, by the distance of their centres


def nearest_triangles(points: np.ndarray, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which triangle of a mesh each point is nearest to [P] int64, and how far away that is [P].

    Args:
        points: [P,3].
        corners: [F,3,3] of the triangles.
    """
    near = cKDTree(corners.mean(1)).query(points, min(CANDIDATES, len(corners)))[1].reshape(len(points), -1)
    places = (closest_shares(points[:, None], corners[near])[..., None] * corners[near]).sum(-2)
    away = np.linalg.norm(places - points[:, None], axis=-1)
    best = away.argmin(1)
    rows = np.arange(len(points))
    return near[rows, best], away[rows, best]


def closest_shares(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric shares [...,3] of the point of each triangle [...,3,3] that is nearest to a point [...,3]."""
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    inside = _plane_shares(points, a, b, c)
    choices, gaps = [inside], [np.where((inside >= 0).all(-1), 0.0, np.inf)]
    for one, other in ((0, 1), (1, 2), (2, 0)):
        start, along = corners[..., one, :], corners[..., other, :] - corners[..., one, :]
        t = ((points - start) * along).sum(-1) / np.maximum((along * along).sum(-1), 1e-18)
        t = np.clip(t, 0, 1)
        shares = np.zeros_like(inside)
        shares[..., one], shares[..., other] = 1 - t, t
        choices.append(shares)
        gaps.append(np.linalg.norm(start + t[..., None] * along - points, axis=-1))
    best = np.argmin(gaps, 0)
    return np.take_along_axis(np.stack(choices), best[None, ..., None], 0)[0]


def _plane_shares(points: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Barycentric shares [...,3] of points' feet on the planes of triangles."""
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    whole = np.maximum(d00 * d11 - d01 * d01, 1e-18)
    v, w = (d11 * d20 - d01 * d21) / whole, (d00 * d21 - d01 * d20) / whole
    return np.stack([1 - v - w, v, w], -1)
