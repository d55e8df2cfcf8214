# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from avatar3d.face.groups import INNER_LIPS, OUTER_LIPS
from avatar3d.metrics.regions import Box, find_regions, inside_polygon


def face(centre: tuple[float, float] = (50.0, 60.0), width: float = 40.0, height: float = 50.0) -> np.ndarray:
    """Landmarks [478,3] within a rectangle whose corners four of them are; lips of 16 x 8 px, an opening of 8 x 4."""
    points = np.zeros((478, 3), np.float32)
    points[:, :2] = centre
    points[[1, 2, 3, 4], :2] += np.array([(-1, -1), (1, -1), (-1, 1), (1, 1)]) * (width / 2, height / 2)
    for loop, size in ((OUTER_LIPS, (8.0, 4.0)), (INNER_LIPS, (4.0, 2.0))):
        angle = np.linspace(0, 2 * np.pi, len(loop), endpoint=False)
        points[list(loop), :2] = np.stack([np.cos(angle), np.sin(angle)], 1) * size + centre
    return points


def test_the_face_is_the_hull_of_the_mesh() -> None:
    found = find_regions(face(), 120, 100)
    expected = np.zeros((120, 100), bool)
    expected[35:85, 30:70] = True
    np.testing.assert_array_equal(found.face, expected)


def test_irises_do_not_belong_to_the_face() -> None:
    points = face()
    points[470, :2] = 5.0, 5.0
    np.testing.assert_array_equal(find_regions(points, 120, 100).face, find_regions(face(), 120, 100).face)


def test_the_head_adds_an_ellipse_raised_by_a_tenth() -> None:
    found = find_regions(face(), 120, 100)
    assert found.head[found.face].all()
    y, x = np.mgrid[0:120, 0:100] + 0.5
    ellipse = ((x - 50) / 32) ** 2 + ((y - 55) / 40) ** 2 <= 1
    np.testing.assert_array_equal(found.head, found.face | ellipse)
    assert found.head_box == Box(18, 15, 82, 95)


def test_the_lip_square_has_its_side_and_stays_in_the_picture() -> None:
    found = find_regions(face(), 120, 100)
    assert found.lips_box == Box(40, 50, 60, 70)  # 1.3 x 16 = 20.8 about (50, 60), edges rounded
    edge = find_regions(face(centre=(96.0, 60.0)), 120, 100)
    assert edge.lips_box == Box(86, 50, 100, 70)


def test_the_mouth_is_the_polygon_and_may_be_empty() -> None:
    found = find_regions(face(), 120, 100)
    assert found.mouth.sum() == pytest.approx(np.pi * 4 * 2, rel=0.15)
    shut = face()
    shut[list(INNER_LIPS), 1] = 60.0
    assert not find_regions(shut, 120, 100).mouth.any()


def test_a_concave_polygon_leaves_its_notch_out() -> None:
    notched = np.array([(0, 0), (8, 0), (8, 8), (4, 4), (0, 8)], float)
    inside = inside_polygon(notched, np.arange(8)[None] + 0.5, np.arange(8)[:, None] + 0.5)
    assert inside[:4].all() and not inside[7, 3:5].any() and inside[6, 0] and inside[6, 7]


def test_a_box_cuts_whole_pixels() -> None:
    picture = np.arange(20).reshape(4, 5)
    np.testing.assert_array_equal(Box(1, 2, 3, 4).cut(picture), [[11, 12], [16, 17]])
