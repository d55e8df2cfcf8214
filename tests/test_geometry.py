# SPDX-License-Identifier: Apache-2.0
"""Laws of rotations and poses, against SciPy and against each other."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from avatar3d import geometry as g


def quats(count: int, seed: int = 0) -> torch.Tensor:
    return g.normalise(torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def poses(count: int, seed: int = 0) -> torch.Tensor:
    shift = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    return torch.cat([quats(count, seed), shift], 1)


def scipy_rotation(quat: torch.Tensor) -> Rotation:
    return Rotation.from_quat(quat[:, [1, 2, 3, 0]].numpy())


def test_matrix_of_quaternion_equals_scipys() -> None:
    q = quats(100)
    expected = torch.from_numpy(scipy_rotation(q).as_matrix())
    torch.testing.assert_close(g.matrix_from_quat(q * 3), expected)


def test_product_of_quaternions_is_product_of_matrices() -> None:
    a, b = quats(50, 1), quats(50, 2)
    both = g.matrix_from_quat(g.quat_multiply(a, b))
    torch.testing.assert_close(both, g.matrix_from_quat(a) @ g.matrix_from_quat(b))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_turns_survive_the_way_through_a_matrix(axis: int) -> None:
    """At a half turn w is zero, where the naive formula divides by zero."""
    q = torch.zeros(4, dtype=torch.float64)
    q[1 + axis] = 1
    back = g.quat_from_matrix(g.matrix_from_quat(q))
    assert abs(float(back @ q)) == pytest.approx(1, abs=1e-12)


def test_matrix_round_trip() -> None:
    m = g.matrix_from_quat(quats(200))
    torch.testing.assert_close(g.matrix_from_quat(g.quat_from_matrix(m)), m)


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3).filter(lambda v: math.hypot(*v) < 3.1))
def test_rotation_vector_round_trip(v: list[float]) -> None:
    vector = torch.tensor(v, dtype=torch.float64)
    torch.testing.assert_close(g.rotvec_from_quat(g.quat_from_rotvec(vector)), vector, atol=1e-7, rtol=1e-7)


def test_rotation_vector_has_a_gradient_at_zero() -> None:
    vector = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(g.quat_from_rotvec, vector)
    expected = torch.cat([torch.zeros(1, 3), 0.5 * torch.eye(3)]).double()
    torch.testing.assert_close(jacobian, expected)


def test_inverse_and_composition() -> None:
    a, b = poses(30, 1), poses(30, 5)
    identity = torch.eye(4, dtype=torch.float64).expand(30, 4, 4)
    torch.testing.assert_close(g.matrix_from_pose(g.compose(a, g.invert(a))), identity)
    torch.testing.assert_close(g.matrix_from_pose(g.compose(a, b)), g.matrix_from_pose(a) @ g.matrix_from_pose(b))
    torch.testing.assert_close(g.matrix_from_pose(g.pose_from_matrix(g.matrix_from_pose(a))), g.matrix_from_pose(a))


def test_apply_pose_is_the_homogeneous_product() -> None:
    pose, points = poses(4), torch.randn(4, 7, 3, dtype=torch.float64)
    homogeneous = torch.cat([points, torch.ones(4, 7, 1, dtype=torch.float64)], -1)
    expected = (homogeneous @ g.matrix_from_pose(pose).transpose(1, 2))[..., :3]
    torch.testing.assert_close(g.apply_pose(pose, points), expected)


def test_a_point_on_the_axis_projects_to_the_middle() -> None:
    K = g.intrinsics(500, 640, 480)
    assert g.project(torch.tensor([0.0, 0.0, 3.0]), K).tolist() == [320, 240]
    assert g.project(torch.tensor([0.3, -0.6, 3.0]), K).tolist() == pytest.approx([370, 140])


def test_a_turn_about_a_point_leaves_it_there() -> None:
    pivot = torch.tensor([1.0, -2.0, 9.0], dtype=torch.float64)
    turn = g.turn_about(g.matrix_from_quat(quats(1)[0]), pivot)
    torch.testing.assert_close(turn @ torch.cat([pivot, torch.ones(1)]), torch.cat([pivot, torch.ones(1)]))
    torch.testing.assert_close(turn[:3, :3], g.matrix_from_quat(quats(1)[0]))


def seen_by(convention: str, stored: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Pixels [N,2] as each program's own manual projects them, for f = 500 px, c = (320, 240) px."""
    rows = torch.cat([points, torch.ones(len(points), 1, dtype=points.dtype)], 1)
    if convention == "pytorch3d":  # row vectors from the left; x to the left, y up
        x, y, z = (rows @ stored)[:, :3].unbind(1)
        return torch.stack([320 - 500 * x / z, 240 - 500 * y / z], 1)
    view = torch.linalg.inv(stored) if convention == "nerfstudio" else stored
    x, y, z = (view @ rows.T)[:3].unbind(0)
    if convention in ("opencv", "colmap"):
        return torch.stack([500 * x / z + 320, 500 * y / z + 240], 1)
    return torch.stack([-500 * x / z + 320, 500 * y / z + 240], 1)  # looks along -z, y up


@pytest.mark.parametrize("convention", ["opencv", "colmap", "opengl", "nerfstudio", "pytorch3d"])
def test_a_camera_sees_the_same_in_every_convention(convention: g.Convention) -> None:
    pose = poses(1)[0]
    ahead = torch.rand(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    points = g.apply_pose(g.invert(pose), ahead + torch.tensor([-0.5, -0.5, 2.0]))
    cam_from_world = g.matrix_from_pose(pose)
    stored = g.camera_to(convention, cam_from_world)
    ours = seen_by("opencv", cam_from_world, points)
    torch.testing.assert_close(seen_by(convention, stored, points), ours, atol=1e-9, rtol=0)
    torch.testing.assert_close(g.camera_from(convention, stored), cam_from_world, atol=1e-12, rtol=0)


def drawn_by(convention: str, view: torch.Tensor, stored: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Pixels [N,2], centres at +0.5, of a picture of 640x480 px, by each program's own pipeline."""
    rows = torch.cat([points, torch.ones(len(points), 1, dtype=points.dtype)], 1)
    if convention == "pytorch3d":  # row vectors; NDC to the left and up, 1 at half of the shorter side
        ndc = (rows @ view) @ stored.mT
        ndc = ndc[:, :3] / ndc[:, 3:]
        torch.testing.assert_close(ndc[:, 2], 1 / (rows @ view)[:, 2])
        return torch.stack([320 - 240 * ndc[:, 0], 240 - 240 * ndc[:, 1]], 1)
    view = torch.linalg.inv(view) if convention == "nerfstudio" else view
    seen = rows @ view.mT
    if convention == "opengl":
        clip = seen @ stored.mT
        ndc = clip[:, :3] / clip[:, 3:]
        assert (ndc[:, 2].abs() < 1).all()
        return torch.stack([320 * (1 + ndc[:, 0]), 240 * (1 - ndc[:, 1])], 1)
    if convention == "nerfstudio":
        seen = seen * torch.tensor([1.0, -1, -1, 1])
    pixels = (seen[:, :3] @ stored.mT)[:, :2] / seen[:, 2:3]
    return pixels + 0.5 if convention == "opencv" else pixels


@pytest.mark.parametrize("convention", ["opencv", "colmap", "opengl", "nerfstudio", "pytorch3d"])
def test_intrinsics_draw_the_same_in_every_convention(convention: g.Convention) -> None:
    K = torch.tensor([[500.0, 0, 311.25], [0, 502.0, 251.5], [0, 0, 1]], dtype=torch.float64)
    pose = poses(1, 4)[0]
    ahead = torch.rand(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    points = g.apply_pose(g.invert(pose), ahead + torch.tensor([-0.5, -0.5, 2.0]))
    ours = g.project(g.apply_pose(pose, points), K)
    cam_from_world = g.matrix_from_pose(pose)
    stored = g.intrinsics_to(convention, K, 640, 480)
    theirs = drawn_by(convention, g.camera_to(convention, cam_from_world), stored, points)
    torch.testing.assert_close(theirs, ours, atol=1e-9, rtol=0)
    torch.testing.assert_close(g.intrinsics_from(convention, stored, 640, 480), K, atol=1e-9, rtol=0)


def test_opengls_depth_runs_from_near_to_far() -> None:
    K = g.intrinsics(500, 640, 480)
    clip = g.intrinsics_to("opengl", K, 640, 480, near_u=0.5, far_u=20.0)
    for z, depth in ((-0.5, -1.0), (-20.0, 1.0)):
        x, y, d, w = clip @ torch.tensor([0.0, 0.0, z, 1.0])
        assert (x.item(), y.item(), (d / w).item()) == pytest.approx((0, 0, depth), abs=1e-5)


def test_an_unknown_convention_is_named() -> None:
    with pytest.raises(ValueError, match="blender"):
        g.intrinsics_to("blender", torch.eye(3), 640, 480)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="blender"):
        g.camera_to("blender", torch.eye(4))  # type: ignore[arg-type]
