# SPDX-License-Identifier: Apache-2.0
"""Where MediaPipe's vertices lie on another face, on a face of which that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from face_models import ANCHORS, bent, fields

from avatar3d.face.canonical import CanonicalFace, load_canonical
from avatar3d.face.correspond import at_landmarks, correspondence
from avatar3d.face.groups import INNER_LIPS, LIPS
from avatar3d.face.rig import triangles_within
from avatar3d.records import FaceModel

SCALE = 3.0


@pytest.fixture(scope="module")
def face(face_task: Path) -> CanonicalFace:
    return load_canonical(face_task)


@pytest.fixture(scope="module")
def model(face: CanonicalFace) -> FaceModel:
    """A bent canonical face of another size whose triangles were cut in four; its mouth is open to the inside."""
    triangles = face.triangles[~triangles_within(face.triangles, INNER_LIPS)]
    neutral, moving = bent(face, SCALE), fields(face, 3, 0.05, 9)
    edges = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    middle = {tuple(edge): len(neutral) + at for at, edge in enumerate(edges.tolist())}
    cut = []
    for a, b, c in triangles.tolist():
        ab, bc, ca = (middle[tuple(sorted(edge))] for edge in ((a, b), (b, c), (c, a)))
        cut += [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    whole = np.concatenate([neutral, neutral[edges].mean(1)])
    field = np.concatenate([moving, moving[edges].mean(1)])
    ones = np.ones(3, np.float32)
    return FaceModel(
        "made up", whole.astype(np.float32), np.array(cut), field[..., :1].astype(np.float32),
        field[..., 1:].astype(np.float32), ("one", "two"), np.stack([-ones[:2], ones[:2]]), ones[:2],
        ANCHORS, np.repeat(ANCHORS[:, None], 3, 1), np.eye(3, dtype=np.float32)[np.zeros(len(ANCHORS), int)],
    )  # fmt: skip


def test_every_vertex_is_found_on_the_other_face(face: CanonicalFace, model: FaceModel) -> None:
    found = at_landmarks(model, face)
    errors = np.linalg.norm(found.neutral - model.neutral[:468], axis=1) / SCALE
    assert np.median(errors) < 0.02 and np.quantile(errors, 0.95) < 0.08
    assert errors[list(LIPS)].max() < 0.03
    assert np.linalg.norm(found.expression - model.expression[:468], axis=1).max() < 0.05
    assert found.triangles is face.triangles


def test_places_lie_inside_triangles_of_the_model(face: CanonicalFace, model: FaceModel) -> None:
    corners, shares = correspondence(model, face)
    assert shares.min() >= -1e-6 and np.allclose(shares.sum(1), 1, atol=1e-5)
    assert corners.max() < len(model.neutral)
    assert np.array_equal(corners[ANCHORS], model.corners)


def test_between_known_points_a_rim_follows_the_models_edges(face: CanonicalFace, model: FaceModel) -> None:
    found = at_landmarks(model, face)
    upper, lower = [191, 80, 82, 312, 310, 415], [95, 88, 87, 317, 318, 324]
    for names in (upper, lower):
        assert np.linalg.norm(found.neutral[names] - model.neutral[names], axis=1).max() / SCALE < 0.03
