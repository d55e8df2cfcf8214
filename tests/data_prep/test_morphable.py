# SPDX-License-Identifier: Apache-2.0
"""The tracker with a face model: bounded codes against scipy, and a person made from the model comes back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
import torch
from face_models import ANCHORS, fields

from avatar3d.data_prep._bounded import CodePrior, solve_bounded
from avatar3d.data_prep._focal import Scene
from avatar3d.data_prep._morphable import fit_model, principal
from avatar3d.data_prep._sight import Sight
from avatar3d.data_prep._solver import PointNormals, Poses, Rig, code_normals, similarity
from avatar3d.data_prep.synthetic.judged import gap, rotation_jitter_deg
from avatar3d.data_prep.synthetic.sighting import Sighting, sighting
from avatar3d.data_prep.track import TrackSettings, track, track_quality
from avatar3d.face.arkit import SCORES
from avatar3d.face.canonical import CanonicalFace, load_canonical
from avatar3d.face.rig import rig_vertices
from avatar3d.face.rigid import rigid_weights
from avatar3d.geometry import apply_pose, intrinsics, matrix_from_quat, project
from avatar3d.records import FaceModel, Landmarks, Track
from avatar3d.threads import torch_threads

FRAMES, FOCAL, SIZE = 240, 1200.0, 512
ACTIVE = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "browInnerUpLeft", "eyeBlinkLeft", "eyeBlinkRight", "jawLeft")


@pytest.fixture(scope="module")
def face(face_task: Path) -> CanonicalFace:
    return load_canonical(face_task)


def made_up(face: CanonicalFace) -> FaceModel:
    """A model on MediaPipe's own vertices without names or bounds, as FLAME's and Basel's are."""
    every = np.arange(468)
    return FaceModel(
        "made up", face.vertices, face.triangles, fields(face, 8, 0.02, 1).astype(np.float32),
        fields(face, 12, 0.02, 2).astype(np.float32), tuple("abcdefghijkl"),
        np.array([[-np.inf], [np.inf]], np.float32).repeat(12, 1), np.ones(12, np.float32),
        ANCHORS, every[ANCHORS][:, None].repeat(3, 1), np.eye(3, dtype=np.float32)[np.zeros(len(ANCHORS), int)],
    )  # fmt: skip


@dataclass(frozen=True)
class Known:
    """A person made from a face model, and how it was made."""

    person: Sighting
    codes: np.ndarray  # [T,E]
    identity: np.ndarray  # [I]


def from_model(model: FaceModel, person: Sighting, noise_px: float = 0.5) -> Known:
    """The model's face in place of a made-up person's, under the same head's movement."""
    rng = np.random.default_rng(5)
    codes = np.zeros((FRAMES, model.expression.shape[2]))
    names = ACTIVE if "jawOpen" in model.expression_names else model.expression_names
    for name in names:
        wave = np.convolve(rng.standard_normal(FRAMES + 12), np.hanning(13), "valid")
        wave /= np.abs(wave).max()
        low = model.bounds[0, model.expression_names.index(name)]
        codes[:, model.expression_names.index(name)] = np.maximum(wave, 0) * 0.7 if low == 0 else wave
    identity = np.zeros(model.identity.shape[2])
    identity[:6] = (2.0, -2.0, 1.5, -1.5, 1.0, 1.0)
    vertices = rig_vertices(model.neutral + model.identity @ identity, model.expression, codes).astype(np.float64)
    irises = np.stack([vertices[:, [33, 133]].mean(1)] * 5 + [vertices[:, [362, 263]].mean(1)] * 5, 1)
    points = torch.from_numpy(np.concatenate([vertices, irises], 1))
    picture = project(apply_pose(torch.from_numpy(person.head), points), intrinsics(FOCAL, SIZE, SIZE).double())
    seen = picture.numpy() + noise_px * rng.standard_normal(picture.shape)
    scores = np.zeros((FRAMES, 52), np.float32)
    for name in set(model.expression_names) & set(SCORES):
        scores[:, SCORES.index(name)] = codes[:, model.expression_names.index(name)]
    landmarks = Landmarks(
        np.concatenate([seen, np.zeros((*seen.shape[:2], 1))], 2).astype(np.float32), scores, np.ones(FRAMES, bool)
    )
    return Known(replace(person, landmarks=landmarks, vertices=vertices), codes, identity)


@pytest.fixture(scope="module")
def known(face: CanonicalFace, ict: FaceModel) -> Known:
    return from_model(ict, sighting(face, frames=FRAMES))


@pytest.fixture(scope="module")
def solved(known: Known, face: CanonicalFace, ict: FaceModel) -> Track:
    return track(known.person.capture, known.person.landmarks, face, TrackSettings(focal_ratio=FOCAL / SIZE), model=ict)


def test_bounded_codes_are_those_of_scipy() -> None:
    generator = torch.Generator().manual_seed(2)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    frames, vertices, count = 6, 40, 12
    rig = Rig(random(vertices, 3) * 0.4, random(vertices, 3, count) * 0.1)
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)).repeat(frames, 1, 1)
    poses = Poses(facing, torch.tensor([[0.0, 0.0, 6.0]], dtype=torch.float64).repeat(frames, 1))
    normals = PointNormals.of(random(frames, vertices, 2) * 0.3, poses, 12.0)
    weights, ridge = torch.ones(vertices, dtype=torch.float64), torch.full((count,), 1e-3, dtype=torch.float64)
    prior = CodePrior(ridge, torch.full_like(ridge, -0.1), torch.full_like(ridge, 0.6))
    codes = solve_bounded(normals, rig, weights, prior)
    matrix, vector = code_normals(normals, rig, weights)
    matrix = matrix + torch.diag(ridge)
    for frame in range(frames):
        factor = torch.linalg.cholesky(matrix[frame]).T
        target = torch.linalg.solve(factor.T, vector[frame])
        expected = scipy.optimize.lsq_linear(factor.numpy(), target.numpy(), (-0.1, 0.6), tol=1e-12).x
        assert np.allclose(codes[frame].numpy(), expected, atol=1e-5)
    assert ((codes == -0.1) | (codes == 0.6)).any() and ((codes > -0.1) & (codes < 0.6)).any()


def test_principal_components_keep_the_motion_when_codes_hang_together() -> None:
    rng = np.random.default_rng(0)
    few = rng.standard_normal((200, 3))
    codes = torch.from_numpy(np.concatenate([few, few @ rng.standard_normal((3, 2)), np.zeros((200, 2))], 1) + 0.3)
    rig = Rig(torch.from_numpy(rng.standard_normal((30, 3))), torch.from_numpy(rng.standard_normal((30, 3, 7))))
    rows = torch.arange(200) < 150
    leading, white = principal(rig, codes, rows, 16)
    assert leading.basis.shape[2] == 3
    assert torch.allclose(leading.vertices(white), rig.vertices(codes), atol=1e-9)
    assert torch.allclose(white[rows].mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(white[rows].T @ white[rows] / 150, torch.eye(3, dtype=torch.float64), atol=1e-9)


def test_identity_and_expression_come_back_under_their_names(known: Known, face: CanonicalFace, ict: FaceModel) -> None:
    person = known.person
    sight = Sight.of(person.landmarks, np.ones(FRAMES, bool), face, (SIZE / 2, SIZE / 2))
    scene = Scene(
        torch.from_numpy(face.vertices).double(), torch.from_numpy(rigid_weights(face)), SIZE / sight.px_per_u[0]
    )
    focal = FOCAL / sight.px_per_u[0]
    seen = sight.face()[np.arange(FRAMES)]
    poses = Poses(matrix_from_quat(torch.from_numpy(person.head[:, :4])), torch.from_numpy(person.head[:, 4:]))
    poses = similarity(torch.from_numpy(ict.neutral).double(), scene.canonical, scene.bone).of_poses(poses)
    with torch_threads(1):
        fit = fit_model(scene, seen, focal, ict, poses)
        codes = solve_bounded(PointNormals.of(seen, poses, focal), fit.rig, fit.weights, fit.prior).numpy()
    true = torch.from_numpy(ict.neutral + ict.identity @ known.identity)
    errors = [
        float((similarity(shape, true, torch.ones_like(scene.bone))(shape) - true).square().sum(1).mean().sqrt())
        for shape in (fit.rig.neutral, torch.from_numpy(ict.neutral).double())
    ]
    assert errors[0] < 0.2 * errors[1]
    assert np.corrcoef(fit.identity[:6].numpy(), known.identity[:6])[0, 1] > 0.95
    assert codes.min() >= 0 and codes.max() <= 1
    for name in ACTIVE:
        row = ict.expression_names.index(name)
        assert np.corrcoef(codes[:, row], known.codes[:, row])[0, 1] > 0.95, name
    other = ict.expression_names.index("jawRight")
    assert codes[:, other].mean() < 0.1


def test_a_person_of_the_model_is_tracked(known: Known, solved: Track) -> None:
    assert solved.face_model == "ict"
    found = rig_vertices(solved.neutral, solved.basis, solved.motion.expression)
    for upper, lower in ((13, 14), (159, 145), (386, 374)):
        one, other = gap(found, upper, lower), gap(known.person.vertices, upper, lower)
        assert np.corrcoef(one, other)[0, 1] > 0.97
        assert 0.85 < one.std() / other.std() < 1.15
    assert rotation_jitter_deg(solved.motion.head, known.person.head).mean() < 0.12
    assert track_quality(solved)["landmark_rms_px"] < 0.85  # the noise alone is 0.71


def test_a_models_track_is_like_any_other(solved: Track) -> None:
    codes = solved.motion.expression[: solved.fitted_frames].astype(np.float64)
    assert codes.shape[1] == solved.basis.shape[2] <= 16
    assert np.abs(codes.mean(0)).max() < 1e-4
    assert np.allclose(codes.T @ codes / len(codes), np.eye(codes.shape[1]), atol=1e-3)
    assert (np.diff(np.square(solved.basis).sum((0, 1))) <= 1e-9).all()


def test_scores_by_name_drive_the_side_they_name(known: Known, solved: Track) -> None:
    scores = np.concatenate([known.person.landmarks.scores, np.ones((FRAMES, 1), np.float32)], 1)
    driven = rig_vertices(solved.neutral, solved.basis, scores @ solved.arkit_map)
    assert np.corrcoef(gap(driven, 13, 14), gap(known.person.vertices, 13, 14))[0, 1] > 0.98
    rest = np.zeros((2, 53), np.float32)
    rest[:, -1], rest[1, SCORES.index("mouthSmileLeft")] = 1.0, 1.0
    moved = np.diff(rig_vertices(solved.neutral, solved.basis, rest @ solved.arkit_map), axis=0)[0]
    assert moved[291, 1] > 0.02 > 2 * abs(moved[61, 1])


def test_a_model_without_names_or_bounds_serves_too(face: CanonicalFace) -> None:
    model = made_up(face)
    known = from_model(model, sighting(face, frames=FRAMES))
    settings = TrackSettings(components=8, focal_ratio=FOCAL / SIZE)
    solved = track(known.person.capture, known.person.landmarks, face, settings, model=model)
    assert track_quality(solved)["landmark_rms_px"] < 1.0
    assert solved.basis.shape[2] == 8
    assert np.isfinite(solved.arkit_map).all()
