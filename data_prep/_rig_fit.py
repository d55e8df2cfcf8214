# SPDX-License-Identifier: Apache-2.0
"""A person's mean face and basis of expressions, from frames spread over the capture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar3d.data_prep._bounded import CodePrior, solve_bounded
from avatar3d.data_prep._focal import Scene, fit_rigid
from avatar3d.data_prep._solver import (
    PointNormals,
    Poses,
    Rig,
    principal_codes,
    refine_poses,
    reprojection,
    solve_codes,
    solve_rig,
    starting_poses,
    whitened,
)
from avatar3d.face.groups import LEFT_EYE, LIPS, RIGHT_EYE

OUTLIER = 5.0  # times the median residual: this is not the face
_STRANGE = 4.0  # times the median of what the basis leaves over: frames that may not shape it
_RANKS = (0, 1, 2, 4, 8)  # of the growing basis that outliers are told by
EVERYWHERE = 0.2  # added to the rigid weights once the expression is known
CODE_RIDGE = 2.5e-5
_SWEEPS = 12  # of the alternation between rig and codes
_POSE_SWEEPS = (3, 6, 9)  # after which the poses are refreshed
_PULL = 2.5e-5  # of the mean face to the canonical one, per frame
_SOFT, _BONE, _DEPTH = 5e-6, 1.3e-2, 4e-3  # ridge on the basis, per frame: on what moves, on bone, in depth


@dataclass(frozen=True)
class Fit:
    """The frozen rig that every frame is then posed with."""

    scene: Scene
    rig: Rig
    focal: float  # u of the picture
    weights: Tensor  # [V] what counts when a frame's codes are read
    prior: CodePrior | None = None  # of a face model's codes; None: those of a personal basis

    def codes(self, seen: Tensor, poses: Poses, trust: Tensor | None = None) -> Tensor:
        """The codes [T,K] that fit each frame best; `trust` [T,V] 0..1 says what each landmark is worth."""
        normals = PointNormals.of(seen, poses, self.focal)
        if trust is not None:
            normals = normals.weighed(trust)
        if self.prior is None:
            return solve_codes(normals, self.rig, self.weights, CODE_RIDGE)
        return solve_bounded(normals, self.rig, self.weights, self.prior)


def fit_rig(scene: Scene, seen: Tensor, focal: float, components: int, given: Poses | None = None) -> Rig:
    """Mean face and basis by alternation, from a rigid fit and the principal components of what it leaves over.

    Args:
        given: poses that are known and stay as they are; None: they are solved for.
    """
    neutral, poses = rigid_start(scene, seen, focal, given)
    errors = frame_errors(reprojection(seen, Rig.rigid(neutral), seen.new_zeros(len(seen), 0), poses, focal))
    good = errors < OUTLIER * errors.median()
    seen, poses = seen[good], poses[good]
    codes = principal_codes(_movement(seen, neutral, poses, focal), components)
    stiffness = torch.where(scene.bone > 0.5, _BONE, _SOFT).double()[:, None].repeat(1, 3)
    stiffness[:, 2] = stiffness[:, 2].clamp_min(_DEPTH)
    weights = code_weights(scene)
    normals = PointNormals.of(seen, poses, focal)
    for sweep in range(_SWEEPS):
        rig = solve_rig(normals, codes, scene.canonical, _PULL, stiffness)
        codes = solve_codes(normals, rig, weights, CODE_RIDGE)
        rig, codes = whitened(rig, codes)
        if given is None and sweep in _POSE_SWEEPS:
            poses = refine_poses(seen, rig, codes, poses, focal, scene.bone + EVERYWHERE, 2)
            normals = PointNormals.of(seen, poses, focal)
    return rig


def agreeing(scene: Scene, seen: Tensor, focal: float, components: int) -> Tensor:
    """[T] bool, the frames that show one and the same face, bare: those that a rig may be learned from.

    A few frames of garbage, of somebody else or of a hand would otherwise become expressions of their own. First go
    those that the canonical face does not fit at all. Then a basis grows from nothing, and each frame counts in it as
    it agrees with it (iteratively reweighted principal components): what most frames do is explained first, and what
    is then still far off is none of it.
    """
    none = seen.new_zeros(len(seen), 0)
    canonical = Rig.rigid(scene.canonical)
    poses = starting_poses(seen, focal, scene.face_width)
    poses = refine_poses(seen, canonical, none, poses, focal, scene.bone, 4)
    errors = frame_errors(reprojection(seen, canonical, none, poses, focal))
    good = errors < 0.5 * OUTLIER * errors.median()
    rows = good.nonzero()[:, 0]
    shape = Rig.rigid(mean_shape(scene, seen[rows], poses[rows], focal))
    poses = refine_poses(seen[rows], shape, none[rows], poses[rows], focal, scene.bone, 3)
    good[rows] = _of_one_kind(_movement(seen[rows], shape.neutral, poses, focal), components)
    return good


def _of_one_kind(movement: Tensor, components: int) -> Tensor:
    """[T] bool, rows of movement [T,M] that a few directions common to most of them explain."""
    probe = torch.randn(movement.shape[1], components, dtype=movement.dtype, generator=torch.Generator().manual_seed(0))
    weights = movement.new_ones(len(movement), 1)
    for rank in [rank for rank in _RANKS if rank < components] + 2 * [components]:
        centred = movement - (weights * movement).sum(0) / weights.sum()
        directions = probe[:, :rank]
        for _ in range(4 if rank else 0):
            directions = torch.linalg.qr(centred.T @ (weights * (centred @ directions)))[0]
        errors = (centred - (centred @ directions) @ directions.T).square().mean(1).sqrt()
        times = errors / errors.median()
        weights = torch.where(times < _STRANGE, 1 / (1 + (times / 2).square()).square(), 0.0)[:, None]
    return times < _STRANGE


def code_weights(scene: Scene) -> Tensor:
    """[V] what counts when a frame's expression is read: lips and lids carry speech and blinks."""
    weights = torch.ones_like(scene.bone)
    weights[list(LIPS)] = 3.0
    weights[list(RIGHT_EYE + LEFT_EYE)] = 2.0
    return weights


def frame_errors(residuals: Tensor) -> Tensor:
    """[T] root mean square lengths of residuals [T,V,2]."""
    return residuals.square().sum(-1).mean(-1).sqrt()


def rigid_start(scene: Scene, seen: Tensor, focal: float, given: Poses | None) -> tuple[Tensor, Poses]:
    """A rigid face [V,3] and its poses; those that are given stay as they are."""
    if given is None:
        rigid = fit_rigid(scene, seen, focal)
        return rigid.neutral, rigid.poses
    return mean_shape(scene, seen, given, focal), given


def mean_shape(scene: Scene, seen: Tensor, poses: Poses, focal: float) -> Tensor:
    """The rigid face [V,3] that fits best for known poses; what they do not show is as in the canonical face."""
    unused = torch.zeros_like(scene.canonical)
    return solve_rig(
        PointNormals.of(seen, poses, focal), seen.new_zeros(len(seen), 0), scene.canonical, _PULL, unused
    ).neutral


def _movement(seen: Tensor, neutral: Tensor, poses: Poses, focal: float) -> Tensor:
    """What the rigid face leaves over, [T,3V] u: residuals laid parallel to the picture at the face's depth."""
    missing = -reprojection(seen, Rig.rigid(neutral), seen.new_zeros(len(seen), 0), poses, focal)
    flat = torch.cat([missing, torch.zeros_like(missing[..., :1])], -1) * (poses.translation[:, 2:, None] / focal)
    return (flat @ poses.rotation).flatten(1)
