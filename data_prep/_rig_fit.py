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
    whitened,
)
from avatar3d.face.groups import LEFT_EYE, LIPS, RIGHT_EYE

OUTLIER = 5.0  # times the median residual: this is not the face
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

    def codes(self, seen: Tensor, poses: Poses) -> Tensor:
        """The codes [T,K] that fit each frame best."""
        normals = PointNormals.of(seen, poses, self.focal)
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
