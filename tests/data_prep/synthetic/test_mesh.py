# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np

from avatar3d.data_prep.synthetic.mesh import Patch, Refined, face_normals, sew, without_openings
from avatar3d.data_prep.synthetic.occlusion import openness
from avatar3d.face.canonical import CanonicalFace

_SQUARE = np.array([[0, 1, 2], [0, 2, 3]])
_CORNERS = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]], float)


def test_openings_are_three_holes(canonical: CanonicalFace) -> None:
    """A sheet with an outline and three holes: each loop of border edges is counted once."""
    coarse = without_openings(canonical.triangles)
    edges = np.sort(np.concatenate([coarse[:, [0, 1]], coarse[:, [1, 2]], coarse[:, [2, 0]]]), 1)
    unique, times = np.unique(edges, axis=0, return_counts=True)
    assert set(times) == {1, 2}
    assert (times == 1).sum() == 36 + 16 + 16 + 20
    assert 468 - len(unique) + len(coarse) == 1 - 3  # Euler's formula


def test_refining_keeps_vertices_and_a_flat_sheet_flat() -> None:
    refined = Refined(_SQUARE, 4)
    points = refined.curved(_CORNERS)
    assert len(refined.triangles) == 8 and len(points) == refined.total == 9
    assert np.array_equal(points[:4], _CORNERS)
    assert np.array_equal(points[refined.midpoint(2, 0)], [1, 1, 0])
    assert (face_normals(points, refined.triangles)[:, 2] > 0).all()
    assert face_normals(points, refined.triangles)[:, 2].sum() / 2 == 4  # the area


def test_refining_rounds_what_is_round() -> None:
    turn = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)
    points = np.concatenate([[[0, 0, 1]], [[0, 0, -1]], ring])
    near, far = 2 + np.arange(8), 2 + (np.arange(8) + 1) % 8
    north = np.stack([np.zeros(8, int), near, far], 1)
    south = np.stack([np.ones(8, int), far, near], 1)
    refined = Refined(np.concatenate([north, south]), 10)
    flat = np.linalg.norm(refined.linear(points)[10:], axis=1)
    curved = np.linalg.norm(refined.curved(points)[10:], axis=1)
    assert np.abs(1 - curved).max() < 0.5 * np.abs(1 - flat).max()


def test_a_patch_faces_the_camera_unless_turned_inside_out() -> None:
    x, y = np.meshgrid(np.linspace(0, 1, 4), np.linspace(1, 0, 3))
    points = np.stack([x, y, 0 * x], -1)
    for inside_out, sign in ((False, 1), (True, -1)):
        patch = Patch(points, "skin", inside_out=inside_out)
        assert (sign * face_normals(points.reshape(-1, 3), patch.triangles())[:, 2] > 0).all()


def test_seams_share_normals_and_unwelded_patches_do_not() -> None:
    x, y = np.meshgrid(np.linspace(0, 1, 3), np.linspace(1, 0, 3))
    flat = np.stack([x, y, 0 * x], -1)
    bent = np.stack([1 + 0 * x, y, -x], -1)  # goes back from the right edge of the first
    tiles = {"skin": (0, 0, 8, 8)}
    corner = np.zeros((3, 3))
    for welded in (True, False):
        patches = [("flat", Patch(flat, "skin")), ("bent", Patch(bent, "skin", welded=welded))]
        surface = sew(corner - 9, np.zeros((3, 2)), np.array([[0, 1, 2]]), patches, tiles)
        normals = surface.normals(surface.points)
        edge, twin = normals[surface.spans["flat"]][5], normals[surface.spans["bent"]][3]
        assert np.allclose(edge, twin) == welded
        assert np.allclose(np.linalg.norm(normals[3:], axis=1), 1, atol=1e-6)


def test_what_lies_under_a_roof_is_darker() -> None:
    x, z = np.meshgrid(np.linspace(-6, 6, 13), np.linspace(-6, 6, 13))
    floor = np.stack([x, 0 * x, z], -1)
    roof = floor * 0.5 + [-3, 2, 0]
    patches = [("floor", Patch(floor, "skin")), ("roof", Patch(roof, "skin"))]
    hidden = np.full((3, 3), -30.0)
    surface = sew(hidden, np.zeros((3, 2)), np.array([[0, 1, 2]]), patches, {"skin": (0, 0, 8, 8)})
    normals = np.tile([0.0, 1.0, 0.0], (len(surface.points), 1))
    free = openness(surface.points, normals, surface.triangles, np.array([0, 1, 0.5]))
    ground = free[surface.spans["floor"]].reshape(13, 13)
    assert ground[6, 3] < 0.35
    assert ground[6, 11] > 0.9
