# SPDX-License-Identifier: Apache-2.0
"""Rotations and rigid poses. Quaternions are wxyz; poses [...,7] are (quaternion, translation u), named b_from_a.

Every function takes batches in front ([...]) and is differentiable.

Cameras of other programs (`camera_to`, `intrinsics_to` and back); the world's axes are nobody's business but its own:

| convention | camera axes x, y, z | what is stored | intrinsics |
| --- | --- | --- | --- |
| ours | right, down, forward | cam_from_world | K px, centres of pixels at +0.5 |
| opencv | right, down, forward | cam_from_world | K px, centres of pixels at whole numbers |
| colmap | right, down, forward | cam_from_world (as quaternion wxyz and shift) | K px, centres at +0.5 |
| opengl | right, up, backward | cam_from_world (view matrix) | clip_from_cam [4,4], centres at +0.5 |
| nerfstudio | right, up, backward | world_from_cam | K px, centres at +0.5 |
| pytorch3d | left, up, forward | world-to-view, for row vectors from the left | K [4,4], NDC by the shorter side |
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Convention = Literal["opencv", "colmap", "opengl", "nerfstudio", "pytorch3d"]
_Pair = tuple[Tensor | float, Tensor | float]
# camera axes of others from ours (x right, y down, z forward): signs of x, y, z
_CAMERA_AXES: dict[Convention, tuple[float, float, float]] = {
    "opencv": (1, 1, 1),
    "colmap": (1, 1, 1),
    "opengl": (1, -1, -1),  # x right, y up, z backward
    "nerfstudio": (1, -1, -1),
    "pytorch3d": (-1, -1, 1),  # x left, y up, z forward
}


def normalise(v: Tensor, eps: float = 1e-12) -> Tensor:
    """Vectors [...,D] at unit length."""
    return v / v.norm(dim=-1, keepdim=True).clamp_min(eps)


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product of quaternions [...,4]: first b, then a, as rotations."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def matrix_from_quat(quat: Tensor) -> Tensor:
    """Rotation matrices [...,3,3] of quaternions [...,4] of any length but zero."""
    w, x, y, z = normalise(quat).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def quat_from_matrix(matrix: Tensor) -> Tensor:
    """Quaternions [...,4] with w >= 0 of rotation matrices [...,3,3].

    Of the four ways to divide, each row takes the one with the largest divisor (Shepperd, 1978).
    """
    m = matrix
    d0, d1, d2 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    squares = torch.stack([1 + d0 + d1 + d2, 1 + d0 - d1 - d2, 1 - d0 + d1 - d2, 1 - d0 - d1 + d2], -1)
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    s0, s1, s2, s3 = squares.unbind(-1)
    candidates = torch.stack(
        [torch.stack(row, -1) for row in ([s0, a, b, c], [a, s1, d, e], [b, d, s2, f], [c, e, f, s3])], -2
    )
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quat = normalise(candidates.gather(-2, best)[..., 0, :])
    return torch.where(quat[..., :1] < 0, -quat, quat)


def quat_from_rotvec(rotvec: Tensor) -> Tensor:
    """Quaternions [...,4] of rotation vectors [...,3] (axis times angle, rad); smooth at zero."""
    angle_sq = (rotvec * rotvec).sum(-1, keepdim=True)
    small = angle_sq < 1e-8
    angle = torch.where(small, torch.ones_like(angle_sq), angle_sq).sqrt()
    sinc = torch.where(small, 0.5 - angle_sq / 48, (angle / 2).sin() / angle)
    cos = torch.where(small, 1 - angle_sq / 8, (angle / 2).cos())
    return torch.cat([cos, sinc * rotvec], -1)


def rotvec_from_quat(quat: Tensor) -> Tensor:
    """Rotation vectors [...,3] (rad, shorter than pi) of quaternions [...,4]."""
    quat = normalise(quat)
    quat = torch.where(quat[..., :1] < 0, -quat, quat)
    sin = quat[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sin, quat[..., :1])
    return quat[..., 1:] * torch.where(sin > 1e-7, angle / sin.clamp_min(1e-7), torch.full_like(sin, 2.0))


def rotate(quat: Tensor, points: Tensor) -> Tensor:
    """Points [...,N,3] turned by quaternions [...,4]."""
    return points @ matrix_from_quat(quat).transpose(-1, -2)


def apply_pose(b_from_a: Tensor, points: Tensor) -> Tensor:
    """Points [...,N,3] of frame a in frame b; pose [...,7]."""
    return rotate(b_from_a[..., :4], points) + b_from_a[..., None, 4:]


def compose(c_from_b: Tensor, b_from_a: Tensor) -> Tensor:
    """Pose [...,7] c_from_a."""
    quat = quat_multiply(c_from_b[..., :4], b_from_a[..., :4])
    moved = apply_pose(c_from_b, b_from_a[..., None, 4:])[..., 0, :]
    return torch.cat([normalise(quat), moved], -1)


def invert(b_from_a: Tensor) -> Tensor:
    """Pose [...,7] a_from_b."""
    back = normalise(b_from_a[..., :4]) * b_from_a.new_tensor([1.0, -1.0, -1.0, -1.0])
    return torch.cat([back, -rotate(back, b_from_a[..., None, 4:])[..., 0, :]], -1)


def matrix_from_pose(b_from_a: Tensor) -> Tensor:
    """Homogeneous matrices [...,4,4] of poses [...,7]."""
    top = torch.cat([matrix_from_quat(b_from_a[..., :4]), b_from_a[..., 4:, None]], -1)
    bottom = b_from_a.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, bottom], -2)


def pose_from_matrix(b_from_a: Tensor) -> Tensor:
    """Poses [...,7] of homogeneous rigid matrices [...,4,4]."""
    return torch.cat([quat_from_matrix(b_from_a[..., :3, :3]), b_from_a[..., :3, 3]], -1)


def turn_about(rotation: Tensor, pivot: Tensor) -> Tensor:
    """Homogeneous matrix [4,4] of a rotation [3,3] that leaves the point `pivot` [3] where it is."""
    turned = torch.cat([rotation, (pivot - rotation @ pivot)[:, None]], 1)
    return torch.cat([turned, rotation.new_tensor([[0.0, 0.0, 0.0, 1.0]])])


def project(points_cam: Tensor, K: Tensor) -> Tensor:
    """Pixels [...,2] of points [...,3] in camera axes; K [3,3] px."""
    u = K[0, 0] * points_cam[..., 0] / points_cam[..., 2] + K[0, 2]
    v = K[1, 1] * points_cam[..., 1] / points_cam[..., 2] + K[1, 2]
    return torch.stack([u, v], -1)


def rays(at: Tensor, K: Tensor, cam_from_world: Tensor) -> tuple[Tensor, Tensor]:
    """Through points [N,2] px of a picture: where they begin [3], and directions [N,3] of length 1."""
    across = torch.stack([(at[:, 0] - K[0, 2]) / K[0, 0], (at[:, 1] - K[1, 2]) / K[1, 1], torch.ones_like(at[:, 0])], 1)
    turn = cam_from_world[:3, :3]
    # the transpose turns back
    return -cam_from_world[:3, 3] @ turn, normalise(across @ turn)


def intrinsics(focal_px: float, width: int, height: int) -> Tensor:
    """K [3,3] of a camera with square pixels whose axis passes through the middle of the picture."""
    return torch.tensor([[focal_px, 0.0, width / 2], [0.0, focal_px, height / 2], [0.0, 0.0, 1.0]])


def intrinsics_to(
    convention: Convention, K: Tensor, width: int, height: int, near_u: float = 0.01, far_u: float = 100.0
) -> Tensor:
    """K [3,3] px as another program stores it.

    "colmap" and "nerfstudio": the same; "opencv": [3,3] whose principal point counts from the first pixel's centre.
    "opengl": clip_from_cam [4,4] of points in OpenGL's camera axes, with z -1..1 from near_u to far_u. "pytorch3d": the
    [4,4] of `PerspectiveCameras(K=..., in_ndc=True)`: x_ndc = K00 x / z + K02, 1 at half the picture's shorter side.
    """
    _known(convention)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    if convention == "opengl":
        depth = (-(far_u + near_u) / (far_u - near_u), -2 * far_u * near_u / (far_u - near_u))
        return _rows(K, (2 * fx / width, 1 - 2 * cx / width), (2 * fy / height, 2 * cy / height - 1), depth, -1)
    if convention == "pytorch3d":
        side = min(width, height)
        return _rows(K, (2 * fx / side, (width - 2 * cx) / side), (2 * fy / side, (height - 2 * cy) / side), (0, 1), 1)
    half = 0.5 if convention == "opencv" else 0.0
    return K - K.new_tensor([[0.0, 0.0, half], [0.0, 0.0, half], [0.0, 0.0, 0.0]])


def intrinsics_from(convention: Convention, stored: Tensor, width: int, height: int) -> Tensor:
    """Our K [3,3] px from what another program stores: the inverse of `intrinsics_to`."""
    _known(convention)
    if convention not in ("opengl", "pytorch3d"):
        half = 0.5 if convention == "opencv" else 0.0
        return stored + stored.new_tensor([[0.0, 0.0, half], [0.0, 0.0, half], [0.0, 0.0, 0.0]])
    (wide, high), up = (width, height), -1
    if convention == "pytorch3d":
        (wide, high), up = (min(width, height),) * 2, 1
    K = torch.eye(3, dtype=stored.dtype, device=stored.device)
    K[0, 0], K[1, 1] = stored[0, 0] * wide / 2, stored[1, 1] * high / 2
    K[0, 2], K[1, 2] = (width - stored[0, 2] * wide) / 2, (height - up * stored[1, 2] * high) / 2
    return K


def _rows(like: Tensor, x: _Pair, y: _Pair, z: _Pair, w: float) -> Tensor:
    """[4,4] with these numbers: (factor, per z) of x and y, (per z, constant) of z, and per z of w."""
    matrix = like.new_zeros(4, 4)
    matrix[0, 0], matrix[0, 2] = x
    matrix[1, 1], matrix[1, 2] = y
    matrix[2, 2], matrix[2, 3] = z
    matrix[3, 2] = w
    return matrix


def camera_to(convention: Convention, cam_from_world: Tensor) -> Tensor:
    """A camera's matrix [...,4,4] as another program stores it; the world's axes stay as they are.

    "opencv" and "colmap": cam_from_world, axes x right, y down, z forward. "opengl": the view matrix, x right, y up,
    z backward. "nerfstudio" (also AD-NeRF's and instant-ngp's transforms.json): world_from_cam with OpenGL's axes.
    "pytorch3d": the matrix of `get_world_to_view_transform`, which stands to the right of row vectors, x left, y up.
    """
    moved = _axes(convention, cam_from_world) @ cam_from_world
    if convention == "nerfstudio":
        return torch.linalg.inv(moved)
    return moved.mT if convention == "pytorch3d" else moved


def camera_from(convention: Convention, stored: Tensor) -> Tensor:
    """Our cam_from_world [...,4,4] from what another program stores: the inverse of `camera_to`."""
    if convention == "nerfstudio":
        stored = torch.linalg.inv(stored)
    if convention == "pytorch3d":
        stored = stored.mT
    return _axes(convention, stored) @ stored


def _axes(convention: Convention, like: Tensor) -> Tensor:
    _known(convention)
    return torch.diag(like.new_tensor([*_CAMERA_AXES[convention], 1.0]))


def _known(convention: Convention) -> None:
    if convention not in _CAMERA_AXES:
        raise ValueError(f"convention: expected one of {', '.join(_CAMERA_AXES)}, got {convention!r}")


def similarity(points: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale [], turn [3,3] and shift [3] for which scale * points @ turn + shift is closest to `target`.

    S. Umeyama, Least-Squares Estimation of Transformation Parameters Between Two Point Patterns, 1991.

    Args:
        points, target: [V,3].
        weights: [V], at least 0.
    """
    share = weights / weights.sum()
    here, there = share @ points, share @ target
    centred = points - here
    u, values, vt = torch.linalg.svd((share[:, None] * centred).T @ (target - there))
    signs = torch.cat([values.new_ones(2), torch.det(u @ vt).reshape(1).sign()])
    scale = (values * signs).sum() / (share @ centred.square()).sum()
    turn = (u * signs) @ vt
    return scale, turn, there - scale * here @ turn
