# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from avatar3d.errors import InputError
from avatar3d.face import groups
from avatar3d.face.canonical import CanonicalFace, load_canonical
from avatar3d.face.rig import rig_vertices, triangles_within
from avatar3d.face.rigid import rigid_weights


@pytest.fixture(scope="module")
def face(face_task: Path) -> CanonicalFace:
    return load_canonical(face_task)


def test_the_canonical_face_stands_upright_and_looks_forward(face: CanonicalFace) -> None:
    assert np.abs(face.vertices[:, 0]).max() == pytest.approx(0.774, abs=0.01)
    top, chin, nose = face.vertices[10], face.vertices[152], face.vertices[4]
    assert top[1] > nose[1] > chin[1]
    assert nose[2] == face.vertices[:, 2].max()
    assert face.vertices[33, 0] < 0 < face.vertices[263, 0]  # the person's right eye is on the image's left
    assert face.uv.min() >= 0 and face.uv.max() <= 1


def test_triangles_look_out_of_the_face(face: CanonicalFace) -> None:
    corners = face.vertices[face.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    central = np.abs(corners.mean(1)[:, 0]) < 0.5
    assert (normals[central, 2] > 0).mean() > 0.95


@pytest.mark.parametrize("loop", [groups.INNER_LIPS, groups.RIGHT_EYE, groups.LEFT_EYE])
def test_a_loop_is_filled_by_two_triangles_fewer_than_its_points(face: CanonicalFace, loop: tuple[int, ...]) -> None:
    assert triangles_within(face.triangles, loop).sum() == len(loop) - 2


@pytest.mark.parametrize("loop", [groups.INNER_LIPS, groups.OUTER_LIPS, groups.RIGHT_EYE, groups.LEFT_EYE, groups.OVAL])
def test_loops_run_along_edges_of_the_mesh(face: CanonicalFace, loop: tuple[int, ...]) -> None:
    edges = {
        frozenset(map(int, pair)) for corner in face.triangles for pair in zip(corner, np.roll(corner, 1), strict=True)
    }
    assert all(frozenset(pair) in edges for pair in zip(loop, (*loop[1:], loop[0]), strict=True))


def test_bone_is_above_the_mouth(face: CanonicalFace) -> None:
    weights = rigid_weights(face)
    assert not weights[list(groups.LIPS + groups.CHIN + groups.SILHOUETTE)].any()
    assert (weights[list(groups.RIGHT_BROW + groups.LEFT_BROW)] <= 1).all()
    assert weights[list(groups.RIGHT_EYE)].max() < 0.1 < weights[[9, 151, 168, 4]].min()


def test_a_rig_moves_linearly() -> None:
    rng = np.random.default_rng(0)
    neutral, basis, codes = rng.standard_normal((5, 3)), rng.standard_normal((5, 3, 2)), rng.standard_normal((4, 2))
    expected = neutral + np.einsum("vik,tk->tvi", basis, codes)
    assert np.allclose(rig_vertices(neutral, basis, codes), expected)


def test_a_file_without_a_face_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.task"
    path.write_bytes(b"not an archive")
    with pytest.raises(InputError, match="no canonical face"):
        load_canonical(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("geometry_pipeline_metadata_landmarks.binarypb", b"\x0a\x02\x08\x01")
    with pytest.raises(InputError, match="no canonical face"):
        load_canonical(path)
