# SPDX-License-Identifier: Apache-2.0
"""The tracker's closed forms against autograd and against dense algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from avatar3d.data_prep._smooth import Steadiness, bridged, gap_lengths, measure_steadiness, shots, smoothing_step
from avatar3d.data_prep._solver import (
    PointNormals,
    Poses,
    Rig,
    aligned,
    pose_normals,
    principal_codes,
    refine_poses,
    reprojection,
    solve_codes,
    solve_rig,
    whitened,
)
from avatar3d.geometry import matrix_from_quat, quat_from_rotvec

FOCAL = 6.0


@pytest.fixture
def scene() -> tuple[Rig, Tensor, Poses, Tensor]:
    """A random rig, codes [40,3], poses and what is seen, without noise."""
    make = torch.Generator().manual_seed(3)
    random = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=make)  # noqa: E731
    rig = Rig(random(30, 3) * 0.5, random(30, 3, 3) * 0.05)
    codes = random(40, 3)
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    turn = matrix_from_quat(quat_from_rotvec(0.3 * random(40, 3)))
    poses = Poses(turn @ facing, 0.2 * random(40, 3) + torch.tensor([0.0, 0.0, 6.0], dtype=torch.float64))
    seen = reprojection(torch.zeros(40, 30, 2, dtype=torch.float64), rig, codes, poses, FOCAL)
    return rig, codes, poses, seen


def test_point_normals_are_the_slope_of_the_reprojection_error(scene: tuple[Rig, Tensor, Poses, Tensor]) -> None:
    rig, codes, poses, seen = scene
    points = rig.vertices(codes)
    near = (points + 0.003 * torch.randn_like(points)).requires_grad_()
    camera = near @ poses.rotation.transpose(1, 2) + poses.translation[:, None]
    error = (FOCAL * camera[..., :2] / camera[..., 2:] - seen).square().sum() / 2
    (slope,) = torch.autograd.grad(error, near)
    normals = PointNormals.of(seen, poses, FOCAL)
    index = torch.tensor([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
    linear = (normals.matrix[..., index] @ near.detach()[..., None])[..., 0] - normals.vector
    cosine = torch.nn.functional.cosine_similarity(slope, linear, dim=-1)
    assert cosine.min() > 0.99


def test_pose_normals_are_the_slope_in_the_pose(scene: tuple[Rig, Tensor, Poses, Tensor]) -> None:
    rig, codes, poses, seen = scene
    seen = seen + 1e-4 * torch.randn_like(seen)  # so small that the robust weights are 1
    weights = torch.linspace(0, 1, 30, dtype=torch.float64)
    step = torch.zeros(40, 6, dtype=torch.float64, requires_grad=True)
    errors = reprojection(seen, rig, codes, poses.moved(step), FOCAL).square().sum(-1) @ weights
    (slope,) = torch.autograd.grad(errors.sum() / 2, step)
    _, vector = pose_normals(seen, rig, codes, poses, FOCAL, weights)
    assert torch.allclose(vector, -slope, rtol=1e-3, atol=1e-6)


def test_poses_are_found_from_a_bad_start_with_outliers(scene: tuple[Rig, Tensor, Poses, Tensor]) -> None:
    rig, codes, poses, seen = scene
    seen = seen.clone()
    seen[:, :3] += 0.3
    start = poses.moved(torch.full((40, 6), 0.05, dtype=torch.float64))
    found = refine_poses(seen, rig, codes, start, FOCAL, torch.ones(30, dtype=torch.float64), 12)
    assert (found.translation - poses.translation).abs().max() < 0.05
    assert (found.rotation - poses.rotation).abs().max() < 0.01


def test_rig_and_codes_are_recovered_from_each_other(scene: tuple[Rig, Tensor, Poses, Tensor]) -> None:
    rig, codes, poses, seen = scene
    normals = PointNormals.of(seen, poses, FOCAL)
    none = torch.full((30, 3), 1e-12, dtype=torch.float64)
    found = solve_rig(normals, codes, torch.zeros_like(rig.neutral), 1e-12, none)
    assert torch.allclose(found.neutral, rig.neutral, atol=1e-5)
    assert torch.allclose(found.basis, rig.basis, atol=1e-5)
    weights = torch.linspace(0.5, 2, 30, dtype=torch.float64)
    assert torch.allclose(solve_codes(normals, rig, weights, 1e-12), codes, atol=1e-5)


def test_stiff_vertices_stay_still(scene: tuple[Rig, Tensor, Poses, Tensor]) -> None:
    rig, codes, poses, seen = scene
    stiffness = torch.zeros(30, 3, dtype=torch.float64)
    stiffness[:10] = 1e6
    found = solve_rig(PointNormals.of(seen, poses, FOCAL), codes, rig.neutral, 1e-9, stiffness)
    assert found.basis[:10].abs().max() < 1e-5 < found.basis[10:].abs().max()


def test_whitening_changes_numbers_but_no_face(scene: tuple[Rig, Tensor, Poses, Tensor]) -> None:
    rig, codes, _, _ = scene
    white_rig, white = whitened(rig, codes + 2.0)
    assert torch.allclose(white_rig.vertices(white), rig.vertices(codes + 2.0), atol=1e-9)
    assert torch.allclose(white.T @ white / len(white), torch.eye(3, dtype=torch.float64), atol=1e-9)


def test_alignment_undoes_a_similarity() -> None:
    points = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turn = matrix_from_quat(quat_from_rotvec(torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64)))
    weights = torch.linspace(0, 1, 20, dtype=torch.float64)
    assert torch.allclose(aligned(1.7 * points @ turn + 0.4, points, weights), points, atol=1e-9)


def test_principal_codes_span_what_moves_most() -> None:
    make = np.random.default_rng(0)
    truth = make.standard_normal((100, 2))
    movement = torch.from_numpy(truth @ make.standard_normal((2, 60)) + 0.01 * make.standard_normal((100, 60)))
    codes = principal_codes(movement, 2).numpy()
    left = truth - truth.mean(0)
    assert np.abs(left - codes @ np.linalg.lstsq(codes, left, rcond=None)[0]).max() < 0.05


def test_steadiness_tells_noise_from_motion() -> None:
    rng = np.random.default_rng(0)
    frames = 4000
    pull = np.repeat(rng.standard_normal((frames // 8, 6)), 8, 0)  # accelerations that last
    path = np.cumsum(np.cumsum(1e-4 * pull, 0), 0)
    path = path - np.linspace(0, 1, frames)[:, None] * path[-1]  # back to where it began
    noisy = torch.from_numpy(path + 1e-3 * rng.standard_normal((frames, 6)))
    poses = Poses(matrix_from_quat(quat_from_rotvec(0 * noisy[:, :3])), noisy[:, 3:])
    matrix = torch.eye(6, dtype=torch.float64).repeat(frames, 1, 1)
    found = measure_steadiness(poses, matrix, np.ones(frames, bool), ())
    assert np.allclose(found.noise[3:], 1e-6, rtol=0.2)
    assert (found.noise[:3] < 1e-12).all()


def test_a_banded_step_is_the_dense_one() -> None:
    """Without rotation noise the prior is quadratic: the step lands on the minimum of data + accelerations."""
    rng = np.random.default_rng(1)
    frames = 12
    start = Poses(
        torch.eye(3, dtype=torch.float64).repeat(frames, 1, 1), torch.from_numpy(rng.standard_normal((frames, 3)))
    )
    data = torch.eye(6, dtype=torch.float64).repeat(frames, 1, 1)
    steadiness = Steadiness(np.full(6, 1e3), np.full(6, 1e3), np.eye(6))
    known, vector = np.ones(frames, bool), torch.zeros(frames, 6, dtype=torch.float64)
    moved = smoothing_step(start, data, vector, known, (), steadiness, 1.0)
    bend = np.diff(start.translation.numpy(), 2, axis=0)
    scale = 1e3 * 0.5
    calm = 10 / (4 + (bend**2 / scale).sum(1))
    second = np.diff(np.eye(frames), 2, axis=0)
    weight = np.diag(calm * 1e3 / scale)
    dense = np.linalg.solve(np.eye(frames) + second.T @ weight @ second, start.translation.numpy())
    assert np.allclose(moved.translation.numpy(), dense, atol=1e-9)


def test_gaps_and_bridges() -> None:
    known = np.array([1, 0, 0, 1, 1, 0, 0, 0, 1, 0], bool)
    assert gap_lengths(known, ()).tolist() == [0, 2, 2, 0, 0, 3, 3, 3, 0, 11]
    assert gap_lengths(known, (6,)).tolist() == [0, 2, 2, 0, 0, 11, 11, 11, 0, 11]
    values = np.where(known, np.arange(10.0), np.nan)[:, None]
    assert bridged(values, known, ())[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]
    assert bridged(values, known, (6,))[:, 0].tolist() == [0, 1, 2, 3, 4, 4, 8, 8, 8, 8]
    assert bridged(values, known, (1, 3))[:, 0].tolist()[:3] == [0, 0, 0]
    assert shots(10, (0, 3, 10)) == [slice(0, 3), slice(3, 10)]
