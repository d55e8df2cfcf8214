# SPDX-License-Identifier: Apache-2.0
"""The nearest triangle of a mesh."""

from __future__ import annotations

import numpy as np

from avatar3d.face.nearest import closest_shares, nearest_triangles

# a strip of two triangles in the plane z = 0
CORNERS = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]], [[1, 0, 0], [1, 1, 0], [0, 1, 0]]])


def test_points_find_the_triangle_that_they_are_nearest_to() -> None:
    points = np.array([[0.1, 0.1, 0.3], [0.9, 0.9, -0.2], [-1.0, 0, 0], [1, 3, 0]])
    which, away = nearest_triangles(points, CORNERS)
    assert which.tolist() == [0, 1, 0, 1]
    assert np.allclose(away, [0.3, 0.2, 1.0, 2.0])


def test_shares_are_those_of_the_nearest_point_inside_on_an_edge_or_at_a_corner() -> None:
    points = np.array([[0.25, 0.25, 1.0], [0.5, -1.0, 0], [5.0, -1, 0]])
    shares = closest_shares(points, np.repeat(CORNERS[:1], 3, 0))
    assert np.allclose(shares, [[0.5, 0.25, 0.25], [0.5, 0.5, 0], [0, 1, 0]])
