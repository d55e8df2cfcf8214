# SPDX-License-Identifier: Apache-2.0
"""What a tool's poses leave open, found from the landmarks: the joints of a face model that is not there."""

from __future__ import annotations

import numpy as np

_FRAMES, _POINTS = 200, 80  # at most so many, evenly spread; six numbers need no more
_RIDGE = 1e-6  # keeps what the frames do not tell at zero


def settled(
    cam_from_head: np.ndarray, hinge: np.ndarray, K: np.ndarray, points: np.ndarray, still: np.ndarray
) -> np.ndarray:
    """Poses with the translation hinge @ p added, p chosen so that a rigid face explains the landmarks best.

    Every landmark x of every frame gives two linear equations in the face's points and p:
    (r1 - x r3) . (R X + t + hinge @ p) = 0, with X eliminated point by point (a Schur complement).

    Args:
        cam_from_head: [T,4,4] float64.
        hinge: [T,3,P] float64.
        K: [3,3] px.
        points: [T,V,2] px, NaN rows where no face was found.
        still: [V] bool, vertices that speech and lids do not move.

    Returns:
        [T,4,4]; unchanged where no frame shows a face.
    """
    seen = np.flatnonzero(np.isfinite(points).all((1, 2)))
    rows, columns = _spread(seen, _FRAMES), _spread(np.flatnonzero(still), _POINTS)
    if not len(rows):
        return cam_from_head
    place = (points[np.ix_(rows, columns)] - K[:2, 2]) / K[[0, 1], [0, 1]]
    R, t, D = cam_from_head[rows, :3, :3], cam_from_head[rows, :3, 3], hinge[rows]
    # [T,V,2,3]: rows of the picture's two equations, before the pose
    plane = np.zeros((*place.shape, 3))
    plane[..., 0, 0] = plane[..., 1, 1] = 1
    plane[..., 2] = -place
    of_shape = np.einsum("tvei,tij->tvej", plane, R)
    of_hinge = np.einsum("tvei,tip->tvep", plane, D)
    rest = -np.einsum("tvei,ti->tve", plane, t)
    shape_shape = np.einsum("tvei,tvej->vij", of_shape, of_shape)
    shape_hinge = np.einsum("tvei,tvep->vip", of_shape, of_hinge)
    shape_rest = np.einsum("tvei,tve->vi", of_shape, rest)
    normal = np.einsum("tvep,tveq->pq", of_hinge, of_hinge)
    right = np.einsum("tvep,tve->p", of_hinge, rest)
    scale = np.trace(normal) / len(normal)
    inverse = np.linalg.inv(shape_shape)
    normal = normal - np.einsum("vip,vij,vjq->pq", shape_hinge, inverse, shape_hinge)
    right = right - np.einsum("vip,vij,vj->p", shape_hinge, inverse, shape_rest)
    p = np.linalg.solve(normal + _RIDGE * scale * np.eye(len(normal)), right)
    moved = cam_from_head.copy()
    moved[:, :3, 3] += hinge @ p
    return moved


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]
