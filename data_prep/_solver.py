# SPDX-License-Identifier: Apache-2.0
"""The tracker's algebra: every unknown in turn, each in closed form, double precision, all frames at once.

The model is X = R (S + B e) + t in camera axes, seen at f X.xy / X.z. The picture is measured in u at the face's own
depth (pixels / px_per_u, from the picture's middle), so that weights and tolerances hold for any picture size.

Shapes: T frames, V vertices, K components. Symmetric 3x3 and KxK matrices are kept as their upper triangles, so that
the sums over frames and over vertices are two plain matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from avatar3d import geometry
from avatar3d.geometry import matrix_from_quat, quat_from_matrix, quat_from_rotvec, rotvec_from_quat

ROBUST_U = 0.015  # reprojection errors beyond this (1 % of a face's width) lose weight
_CHUNK = 96  # frames whose Jacobians are held at once


@dataclass(frozen=True)
class Poses:
    """camera_from_head, frame by frame."""

    rotation: Tensor  # [T,3,3]
    translation: Tensor  # [T,3] u

    def __len__(self) -> int:
        return len(self.rotation)

    def __getitem__(self, rows: slice | Tensor) -> Poses:
        return Poses(self.rotation[rows], self.translation[rows])

    def moved(self, step: Tensor) -> Poses:
        """Turned and shifted by steps [T,6] (rotation vector about the head's origin in camera axes, translation)."""
        turn = matrix_from_quat(quat_from_rotvec(step[:, :3]))
        return Poses(turn @ self.rotation, self.translation + step[:, 3:])

    def since(self, before: Poses) -> Tensor:
        """The steps [T,6] that `before` moved by to come here."""
        turn = rotvec_from_quat(quat_from_matrix(self.rotation @ before.rotation.transpose(1, 2)))
        return torch.cat([turn, self.translation - before.translation], 1)


@dataclass(frozen=True)
class Rig:
    """A face that moves linearly: S + B e. A rigid one has K = 0."""

    neutral: Tensor  # [V,3] u
    basis: Tensor  # [V,3,K] u

    @staticmethod
    def rigid(neutral: Tensor) -> Rig:
        return Rig(neutral, neutral.new_zeros(*neutral.shape, 0))

    def vertices(self, codes: Tensor) -> Tensor:
        """[T,V,3] of codes [T,K]."""
        return self.neutral + (codes @ self.basis.flatten(0, 1).T).unflatten(-1, (-1, 3))


def reprojection(seen: Tensor, rig: Rig, codes: Tensor, poses: Poses, focal: float) -> Tensor:
    """Residuals [T,V,2] u: where the model appears minus where it was seen [T,V,2]."""
    parts = []
    for rows in _chunks(len(seen)):
        points = rig.vertices(codes[rows]) @ poses.rotation[rows].transpose(1, 2) + poses.translation[rows, None]
        parts.append(focal * points[..., :2] / points[..., 2:] - seen[rows])
    return torch.cat(parts)


def starting_poses(seen: Tensor, focal: float, face_width: float) -> Poses:
    """Facing the camera at the distance that gives the seen width; face_width u."""
    low, high = seen.amin(1), seen.amax(1)
    depth = focal * face_width / (high - low)[:, :1]
    facing = torch.diag(seen.new_tensor([1.0, -1.0, -1.0])).expand(len(seen), 3, 3)
    return Poses(facing.clone(), torch.cat([(low + high) / 2 * depth / focal, depth], 1))


def pose_normals(
    seen: Tensor, rig: Rig, codes: Tensor, poses: Poses, focal: float, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Normal equations ([T,6,6], [T,6]) of Gauss-Newton on every pose, robust; weights of vertices [V] or [T,V]."""
    used = weights.reshape(-1, weights.shape[-1]).amax(0) > 0
    rig, seen = Rig(rig.neutral[used], rig.basis[used]), seen[:, used]
    weights = weights[..., used]
    matrices, vectors = [], []
    for rows in _chunks(len(seen)):
        arm = poses.rotation[rows] @ rig.vertices(codes[rows]).transpose(1, 2)  # [T,3,V]
        jacobian, picture = _pose_jacobian(arm, poses.translation[rows], focal)
        residual = picture - seen[rows].transpose(1, 2)  # [T,2,V]
        weight = (weights if weights.ndim == 1 else weights[rows]) / (1 + residual.square().sum(1) / ROBUST_U**2)
        weighted = jacobian * weight[:, None, None]
        matrices.append((weighted @ jacobian.transpose(2, 3)).sum(1))
        vectors.append(-(weighted @ residual[..., None]).sum(1)[..., 0])
    return torch.cat(matrices), torch.cat(vectors)


def _pose_jacobian(arm: Tensor, shift: Tensor, focal: float) -> tuple[Tensor, Tensor]:
    """How the picture [T,2,V] of points `arm` [T,3,V] + `shift` [T,3] moves with (turn, shift): [T,2,6,V], and itself.

    With g the derivative of a picture coordinate in the point, its derivative in a turn about the head's origin is
    arm x g and in a shift g; g is (s, 0, -x/z) for x and (0, s, -y/z) for y, s = f/z.
    """
    a0, a1, a2 = arm.unbind(1)
    inverse = 1 / (a2 + shift[:, 2:])
    s = focal * inverse
    x, y = s * (a0 + shift[:, :1]), s * (a1 + shift[:, 1:2])
    gx, gy, zero = -x * inverse, -y * inverse, torch.zeros_like(s)
    rows_x = (a1 * gx, a2 * s - a0 * gx, -a1 * s, s, zero, gx)
    rows_y = (a1 * gy - a2 * s, -a0 * gy, a0 * s, zero, s, gy)
    return torch.stack(rows_x + rows_y, 1).unflatten(1, (2, 6)), torch.stack([x, y], 1)


def refine_poses(
    seen: Tensor, rig: Rig, codes: Tensor, poses: Poses, focal: float, weights: Tensor, steps: int
) -> Poses:
    """Robust Gauss-Newton, every frame for itself."""
    for _ in range(steps):
        matrix, vector = pose_normals(seen, rig, codes, poses, focal, weights)
        damping = 1e-6 * matrix.diagonal(dim1=1, dim2=2).mean(1)
        matrix = matrix + damping[:, None, None] * torch.eye(6, dtype=matrix.dtype)
        poses = poses.moved(torch.linalg.solve(matrix, vector))
    return poses


@dataclass(frozen=True)
class PointNormals:
    """With the pose known the projection is linear in the point p, so each point has 3x3 normal equations.

    The rows are (f R_1 - x R_3) p = x t_z - f t_x and the same for y, both divided by t_z, which makes them u of the
    picture. Their A'A and A'b are linear in (1, x, y, x^2 + y^2): one small matrix per frame serves all its points.
    """

    matrix: Tensor  # [T,V,6], A'A as its upper triangle
    vector: Tensor  # [T,V,3], A'b

    @staticmethod
    def of(seen: Tensor, poses: Poses, focal: float) -> PointNormals:
        """The normal equations of points seen at [T,V,2]."""
        r1, r2, r3 = poses.rotation.unbind(1)
        tx, ty, tz = poses.translation[:, :, None].unbind(1)
        left, right = torch.triu_indices(3, 3)

        def product(a: Tensor, b: Tensor) -> Tensor:
            return a[:, left] * b[:, right] + a[:, right] * b[:, left]

        one = torch.cat([focal**2 / 2 * (product(r1, r1) + product(r2, r2)), -(focal**2) * (tx * r1 + ty * r2)], 1)
        in_x = torch.cat([-focal * product(r1, r3), focal * (tz * r1 + tx * r3)], 1)
        in_y = torch.cat([-focal * product(r2, r3), focal * (tz * r2 + ty * r3)], 1)
        in_square = torch.cat([product(r3, r3) / 2, -tz * r3], 1)
        per_frame = torch.stack([one, in_x, in_y, in_square], 1) / tz[..., None].square()  # [T,4,9]
        terms = torch.cat([torch.ones_like(seen[..., :1]), seen, seen.square().sum(-1, keepdim=True)], -1)
        sums = terms @ per_frame
        return PointNormals(sums[..., :6].contiguous(), sums[..., 6:].contiguous())

    def weighed(self, weights: Tensor) -> PointNormals:
        """Every point's equations times its weight [T,V]."""
        return PointNormals(self.matrix * weights[..., None], self.vector * weights[..., None])


def solve_rig(normals: PointNormals, codes: Tensor, centre: Tensor, pull: float, stiffness: Tensor) -> Rig:
    """The rig that fits all frames best, vertex by vertex, for known poses and codes [T,K].

    Args:
        centre: [V,3] u, where the neutral is pulled to, `pull` (per frame).
        stiffness: [V,3] ridge on the basis, per frame: large on bone, so that the basis cannot take over the pose, and
            in depth, which a head that hardly turns does not show.
    """
    frames, vertices = normals.matrix.shape[:2]
    factors = torch.cat([codes.new_ones(frames, 1), codes], 1)  # [T,1+K]
    count = factors.shape[1]
    left, right = torch.triu_indices(count, count)
    sums = (factors[:, left] * factors[:, right]).T @ normals.matrix.flatten(1)
    full = sums.unflatten(1, (vertices, 6))[_symmetric(count)][..., _symmetric(3)]  # [1+K,1+K,V,3,3]
    matrix = full.permute(2, 0, 3, 1, 4).reshape(vertices, 3 * count, 3 * count)
    vector = (factors.T @ normals.vector.flatten(1)).unflatten(1, (vertices, 3)).transpose(0, 1).clone()
    ridge = (stiffness * frames)[:, None].expand(vertices, count, 3).clone()
    ridge[:, 0] = pull * frames
    vector[:, 0] += pull * frames * centre
    matrix = matrix + torch.diag_embed(ridge.flatten(1))
    solved = torch.cholesky_solve(vector.flatten(1)[..., None], torch.linalg.cholesky(matrix))[..., 0]
    solved = solved.unflatten(1, (count, 3))
    return Rig(solved[:, 0].contiguous(), solved[:, 1:].transpose(1, 2).contiguous())


def solve_codes(normals: PointNormals, rig: Rig, weights: Tensor, ridge: float) -> Tensor:
    """The codes [T,K] that fit each frame best for a known rig and known poses; weights per vertex [V]."""
    matrix, vector = code_normals(normals, rig, weights)
    matrix = matrix + ridge * torch.eye(matrix.shape[1], dtype=matrix.dtype)
    return torch.cholesky_solve(vector[..., None], torch.linalg.cholesky(matrix))[..., 0]


def code_normals(normals: PointNormals, rig: Rig, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Normal equations ([T,K,K], [T,K]) of every frame's codes for a known rig and known poses; weights [V]."""
    components = rig.basis.shape[2]
    products = _products(rig.basis * weights.sqrt()[:, None, None])
    sums = normals.matrix.flatten(1) @ products.flatten(0, 1)
    explained = (unpacked(normals.matrix) @ rig.neutral[:, :, None])[..., 0]
    missing = (normals.vector - explained) * weights[:, None]
    return sums[:, _symmetric(components)], missing.flatten(1) @ rig.basis.flatten(0, 1)


def _products(basis: Tensor) -> Tensor:
    """[V,6,K(K+1)/2] what a vertex's A'A, kept as 6 numbers, gives to each pair of components of the basis [V,3,K]."""
    row, column = torch.triu_indices(basis.shape[2], basis.shape[2])
    first, second = basis[..., row], basis[..., column]
    products = basis.new_empty(len(basis), 6, len(row))
    for at, (left, right) in enumerate(torch.triu_indices(3, 3).T.tolist()):
        torch.mul(first[:, left], second[:, right], out=products[:, at])
        if left != right:
            products[:, at].addcmul_(first[:, right], second[:, left])
    return products


def unpacked(triangle: Tensor) -> Tensor:
    """Symmetric matrices [...,3,3] of their upper triangles [...,6]."""
    return triangle[..., _symmetric(3)]


@dataclass(frozen=True)
class Similarity:
    """Points [V,3] of one space in another: scale * points @ turn + shift."""

    scale: Tensor  # []
    turn: Tensor  # [3,3]
    shift: Tensor  # [3] u

    def __call__(self, points: Tensor) -> Tensor:
        return self.scale * points @ self.turn + self.shift

    def of_fields(self, fields: Tensor) -> Tensor:
        """The displacements [V,3,K] in the other space."""
        return self.scale * torch.einsum("vik,ij->vjk", fields, self.turn)

    def of_poses(self, poses: Poses) -> Poses:
        """The poses of the same head in the other space; the camera's own space is scaled, so no picture changes."""
        rotation = poses.rotation @ self.turn
        return Poses(rotation, self.scale * poses.translation - rotation @ self.shift)


def similarity(points: Tensor, target: Tensor, weights: Tensor) -> Similarity:
    """What brings points [V,3] closest to `target` [V,3]; weights [V]."""
    return Similarity(*geometry.similarity(points, target, weights))


def aligned(points: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Points [V,3] after the similarity that brings them closest to `target` [V,3]; weights [V]."""
    return similarity(points, target, weights)(points)


def principal_codes(movement: Tensor, components: int, sweeps: int = 8) -> Tensor:
    """The leading principal components of movement [T,M] over time, [T,components], unit variance each.

    Subspace iteration: the alternation that follows needs a start, not the last digit.
    """
    centred = movement - movement.mean(0)
    spare = min(components + 8, *movement.shape)
    probe = torch.randn(movement.shape[1], spare, dtype=movement.dtype, generator=torch.Generator().manual_seed(0))
    for _ in range(sweeps):
        probe = torch.linalg.qr(centred.T @ (centred @ probe))[0]
    scores, _, _ = torch.linalg.svd(centred @ probe, full_matrices=False)
    return scores[:, :components] * len(movement) ** 0.5


def whitened(rig: Rig, codes: Tensor) -> tuple[Rig, Tensor]:
    """The same faces with codes of zero mean and unit covariance, components ordered by the energy they carry."""
    mean = codes.mean(0)
    factor = torch.linalg.cholesky((codes - mean).T @ (codes - mean) / len(codes))
    u, values, vt = torch.linalg.svd(rig.basis.flatten(0, 1) @ factor, full_matrices=False)
    white = torch.linalg.solve_triangular(factor, (codes - mean).T, upper=False).T @ vt.T
    neutral = rig.neutral + rig.basis @ mean
    return Rig(neutral, (u * values).unflatten(0, (-1, 3))), white


def _symmetric(size: int) -> Tensor:
    """[size,size] positions in an upper triangle of the entries of a symmetric matrix."""
    index = torch.empty(size, size, dtype=torch.long)
    row, column = torch.triu_indices(size, size)
    index[row, column] = index[column, row] = torch.arange(len(row))
    return index


def _chunks(frames: int) -> Iterator[slice]:
    for start in range(0, frames, _CHUNK):
        yield slice(start, start + _CHUNK)
