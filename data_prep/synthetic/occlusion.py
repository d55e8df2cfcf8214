# SPDX-License-Identifier: Apache-2.0
"""How much of the room's light reaches each vertex at rest: shadow maps from many directions, averaged."""

from __future__ import annotations

import numpy as np

from avatar3d.data_prep.synthetic import raster

_DIRECTIONS = 96
_SIDE = 160  # px of a shadow map
_REACH_CM = 17.0  # half its width
_BIAS_CM = 0.35


def openness(points: np.ndarray, normals: np.ndarray, triangles: np.ndarray, main_light: np.ndarray) -> np.ndarray:
    """0 walled in .. 1 free [N]: the cosine-weighted share of directions from which a vertex is seen.

    Args:
        triangles: [M,3] those that cast shadows.
        main_light: [3] where most light comes from; its half of the sky counts more.
    """
    main = main_light / np.linalg.norm(main_light)
    seen, could = np.zeros(len(points)), np.full(len(points), 1e-6)
    for direction in _sphere(_DIRECTIONS):
        weight = 0.15 + max(0.0, float(direction @ main)) ** 2
        if direction[2] < -0.3:
            continue
        facing = weight * (normals @ direction).clip(0)
        seen += facing * _visible(points, triangles, direction)
        could += facing
    return (seen / could).astype(np.float32)


def _sphere(count: int) -> np.ndarray:
    """Evenly spread unit vectors [count,3] (a Fibonacci spiral)."""
    index = np.arange(count) + 0.5
    y, turn = 1 - 2 * index / count, np.pi * (1 + 5**0.5) * index
    ring = np.sqrt(1 - y * y)
    return np.stack([ring * np.cos(turn), y, ring * np.sin(turn)], 1)


def _visible(points: np.ndarray, triangles: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """0..1 [N]: whether points are seen from far away along `direction`."""
    right = np.cross([0.0, 1.0, 0.0] if abs(direction[1]) < 0.9 else [1.0, 0.0, 0.0], direction)
    right /= np.linalg.norm(right)
    up = np.cross(direction, right)
    scale = _SIDE / (2 * _REACH_CM)
    xy = np.stack([points @ right, -(points @ up)], 1) * scale + 0.5 * _SIDE
    closeness = (points @ direction).astype(np.float32)
    fragments = raster.cover(xy, triangles, _SIDE, _SIDE)
    _, buffer = raster.nearest(fragments, closeness[triangles[fragments.triangle]], _SIDE * _SIDE)
    column, row = (np.clip(xy[:, k], 0, _SIDE - 1).astype(int) for k in (0, 1))
    return (closeness > buffer[row * _SIDE + column] - _BIAS_CM).astype(np.float32)
