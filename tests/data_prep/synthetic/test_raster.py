# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np

from avatar3d.data_prep.synthetic import raster

# front faces run clockwise on the screen's downward y axis turned up, so these two fill [1,5] x [1,4]
_RECTANGLE = np.array([[1, 1], [1, 4], [5, 4], [5, 1]], float)
_HALVES = np.array([[0, 1, 2], [0, 2, 3]])


def test_a_rectangle_covers_its_pixels_once() -> None:
    fragments = raster.cover(_RECTANGLE, _HALVES, 8, 6)
    covered = np.bincount(fragments.pixel, minlength=48).reshape(6, 8)
    expected = np.zeros((6, 8), int)
    expected[1:4, 1:5] = 1
    assert np.array_equal(covered, expected)


def test_back_faces_are_not_drawn() -> None:
    assert len(raster.cover(_RECTANGLE, _HALVES[:, ::-1], 8, 6).pixel) == 0


def test_a_fan_of_any_shape_leaves_no_gap_and_no_overlap() -> None:
    rng = np.random.default_rng(0)
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    rim = 40 + rng.uniform(25, 38, 40)[:, None] * np.stack([np.cos(turn), -np.sin(turn)], 1)
    xy = np.concatenate([[[40.3, 39.6]], rim])
    fan = np.stack([np.zeros(40, int), 1 + np.arange(40), 1 + (np.arange(40) + 1) % 40], 1)
    count = np.bincount(raster.cover(xy, fan, 80, 80).pixel, minlength=6400)
    assert count.max() == 1
    a, b = rim, np.roll(rim, -1, axis=0)
    area = 0.5 * abs((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum())
    assert abs(count.sum() - area) < 0.01 * area


def test_what_sticks_out_of_the_picture_is_cut_off() -> None:
    fragments = raster.cover(100 * (_RECTANGLE - 3), _HALVES, 8, 6)
    assert np.array_equal(np.unique(fragments.pixel), np.arange(48))


def test_interpolation_is_affine() -> None:
    fragments = raster.cover(_RECTANGLE, _HALVES, 8, 6)
    value = np.stack([_RECTANGLE @ [2.0, -3.0] + 1, _RECTANGLE[:, 0]], 1)
    got = fragments.interpolate(value[_HALVES[fragments.triangle]])
    x, y = fragments.pixel % 8 + 0.5, fragments.pixel // 8 + 0.5
    assert np.allclose(got[:, 0], 2 * x - 3 * y + 1, atol=1e-5)
    assert np.allclose(got[:, 1], x, atol=1e-5)


def test_small_triangles_far_from_the_corner_are_as_exact_as_near_ones() -> None:
    """Textures flicker where interpolation is a sum of large numbers that cancel."""
    xy = np.array([[2001.2, 1900.1], [2001.0, 1902.9], [2003.7, 1902.2]])
    fragments = raster.cover(xy, np.array([[0, 1, 2]]), 2048, 2048)
    texel = np.array([[[1000.0], [1001.0], [1002.0]]])
    got = fragments.interpolate(texel)[:, 0]
    place = np.stack([fragments.pixel % 2048 + 0.5, fragments.pixel // 2048 + 0.5, np.ones(len(got))], 1)
    plane = np.linalg.solve(np.column_stack([xy - xy[0], np.ones(3)]), texel[0, :, 0])
    assert len(got) >= 3
    assert np.abs((place - [*xy[0], 0]) @ plane - got).max() < 1e-2


def test_the_nearer_of_two_wins_whatever_their_order() -> None:
    xy = np.concatenate([_RECTANGLE, _RECTANGLE])
    for order in ([0, 1, 2, 3], [2, 3, 0, 1]):
        triangles = np.concatenate([_HALVES, _HALVES + 4])[order]
        fragments = raster.cover(xy, triangles, 8, 6)
        closeness = np.repeat([1.0, 2.0], 4)[triangles[fragments.triangle]]
        front, buffer = raster.nearest(fragments, closeness, 48)
        assert len(front.pixel) == 12
        assert (triangles[front.triangle[front.slot]] >= 4).all()
        assert np.isneginf(buffer).sum() == 36 and np.allclose(buffer[front.pixel], 2)


def test_holes_let_the_farther_through() -> None:
    xy = np.concatenate([_RECTANGLE, _RECTANGLE])
    triangles = np.concatenate([_HALVES, _HALVES + 4])
    fragments = raster.cover(xy, triangles, 8, 6)
    holed = triangles[fragments.triangle].min(1) >= 4
    left = raster.without(fragments, holed, lambda some: some.pixel % 8 < 3)
    front, _ = raster.nearest(left, np.repeat([1.0, 2.0], 4)[triangles[left.triangle]], 48)
    nearer = triangles[front.triangle[front.slot]].min(1) >= 4
    assert np.array_equal(nearer, front.pixel % 8 >= 3)
