# SPDX-License-Identifier: Apache-2.0
"""A face model in place of the personal basis: who it is, and what it does frame by frame within the model's bounds.

The same alternation as for a personal rig. First the basis is the model's own, and the shape is its mean, its identity
coefficients and a small offset per vertex that is this person's own. Then each expression may also differ a little from
the model's, as everybody smiles in their own way (after Li, Weise and Pauly, "Example-based facial rigging", 2010): so
neither a face that the model does not know nor the detector's own idea of a vertex ends up in the wrong expression.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar3d.data_prep._bounded import CodePrior, solve_bounded
from avatar3d.data_prep._focal import Scene
from avatar3d.data_prep._rig_fit import EVERYWHERE, OUTLIER, code_weights, frame_errors, rigid_start
from avatar3d.data_prep._solver import (
    PointNormals,
    Poses,
    Rig,
    refine_poses,
    reprojection,
    similarity,
    solve_rig,
    unpacked,
)
from avatar3d.face.arkit import SCORES, rows_of
from avatar3d.face.groups import OVAL
from avatar3d.records import FaceModel

_FRAMES = 300  # at most so many say who it is
_SWEEPS, _OWN_SWEEPS = 8, 4
_CODE_RIDGE = 1e-4  # per frame, on a code of one usual deviation
_OWN, _IDENTITY = 5e-3, 2e-5  # ridge per frame: on the person's own offsets (u), on identity (standard deviations)
_MANNER = 3e-2  # ridge per frame on how expressions differ from the model's
_RESTING = 0.25  # share of the frames in which an expression is at rest, at least
_OUTLINE = 0.1  # weight of the vertices that slide over the skin as the head turns


@dataclass(frozen=True)
class ModelFit:
    """A face model made to fit one person."""

    rig: Rig  # neutral [V,3] with all codes at 0, and the model's basis with the person's own manner
    prior: CodePrior
    identity: Tensor  # [I] standard deviations
    weights: Tensor  # [V] what counts when a frame's codes are read


def fit_model(scene: Scene, seen: Tensor, focal: float, model: FaceModel, given: Poses | None = None) -> ModelFit:
    """The person within a face model, from frames seen at [T,V,2] u.

    Args:
        model: sampled at MediaPipe's 468 vertices.
        given: poses that are known and stay as they are; None: they are solved for.
    """
    fields = _Fields.of(model, scene)
    every = -(-len(seen) // _FRAMES)
    seen, given = seen[::every], given and given[slice(None, None, every)]
    neutral, poses = rigid_start(scene, seen, focal, given)
    errors = frame_errors(reprojection(seen, Rig.rigid(neutral), seen.new_zeros(len(seen), 0), poses, focal))
    good = errors < OUTLIER * errors.median()
    seen, poses = seen[good], poses[good]
    rig = Rig(fields.neutral, fields.expression)
    identity = fields.identity.new_zeros(fields.identity.shape[2])
    for sweep in range(_SWEEPS + _OWN_SWEEPS):
        normals = PointNormals.of(seen, poses, focal)
        if sweep == 0:
            # whatever is taken for expression now would be long in leaving it again
            codes = seen.new_zeros(len(seen), fields.expression.shape[2])
        else:
            codes = _at_rest(solve_bounded(normals, rig, fields.weights, fields.prior))
        if sweep < _SWEEPS:
            identity, own = _shape(normals, codes, fields)
            known = Rig(fields.neutral + fields.identity @ identity, fields.expression)
            rig = Rig(known.neutral + own, known.basis)
        else:
            rig = _with_manner(normals, codes, known)
        if given is None:
            poses = refine_poses(seen, rig, codes, poses, focal, scene.bone + EVERYWHERE, 1)
    return ModelFit(rig, fields.prior, identity, fields.weights)


@dataclass(frozen=True)
class _Fields:
    """A face model as tensors, brought to the canonical face's size and place."""

    neutral: Tensor  # [V,3]
    identity: Tensor  # [V,3,I]
    expression: Tensor  # [V,3,E]
    prior: CodePrior
    weights: Tensor  # [V]

    @staticmethod
    def of(model: FaceModel, scene: Scene) -> _Fields:
        neutral, identity, expression, bounds, spread = (
            torch.from_numpy(array).double()
            for array in (model.neutral, model.identity, model.expression, model.bounds, model.spread)
        )
        change = similarity(neutral, scene.canonical, scene.bone)
        weights = code_weights(scene)
        weights[list(OVAL)] = _OUTLINE
        prior = CodePrior(_CODE_RIDGE / spread.square(), bounds[0], bounds[1])
        return _Fields(change(neutral), change.of_fields(identity), change.of_fields(expression), prior, weights)


def _at_rest(codes: Tensor) -> Tensor:
    """The codes [T,E] without what never ceases: that is how this face is made, and the shape's to explain."""
    lasting = codes.quantile(_RESTING, dim=0)
    return codes - torch.where(codes >= 0, lasting.clamp_min(0), 0.0).minimum(codes.clamp_min(0))


def _shape(normals: PointNormals, codes: Tensor, fields: _Fields) -> tuple[Tensor, Tensor]:
    """Identity [I] and own offsets [V,3] for known poses and codes; the offsets are eliminated vertex by vertex."""
    frames = len(codes)
    weights = torch.ones_like(fields.weights)
    weights[list(OVAL)] = _OUTLINE
    moved = Rig(fields.neutral, fields.expression).vertices(codes)
    known = unpacked(normals.matrix)
    missing = (normals.vector - (known @ moved[..., None])[..., 0]).sum(0) * weights[:, None]
    matrix = known.sum(0) * weights[:, None, None]
    ridge = _OWN * frames * torch.eye(3, dtype=codes.dtype)
    # what a vertex still says of the identity once its own offset may follow
    heard = torch.linalg.solve(matrix + ridge, ridge.expand_as(matrix)).mT
    right = torch.einsum("vik,vij,vj->k", fields.identity, heard, missing)
    left = torch.einsum("vik,vij,vjl->kl", fields.identity, heard @ matrix, fields.identity)
    left = left + _IDENTITY * frames * torch.eye(len(left), dtype=left.dtype)
    identity = torch.linalg.solve(left, right)
    rest = missing - (matrix @ (fields.identity @ identity)[..., None])[..., 0]
    return identity, torch.linalg.solve(matrix + ridge, rest[..., None])[..., 0]


def _with_manner(normals: PointNormals, codes: Tensor, known: Rig) -> Rig:
    """The known rig with offsets of this person's own on the neutral and on every expression."""
    explained = (unpacked(normals.matrix) @ known.vertices(codes)[..., None])[..., 0]
    left_over = PointNormals(normals.matrix, normals.vector - explained)
    stiffness = torch.full_like(known.neutral, _MANNER)
    own = solve_rig(left_over, codes, torch.zeros_like(known.neutral), _OWN, stiffness)
    return Rig(known.neutral + own.neutral, known.basis + own.basis)


def principal(rig: Rig, codes: Tensor, rows: Tensor, components: int) -> tuple[Rig, Tensor]:
    """The same motion in its leading components, most energy first: mean face, unit variance over `rows` [T] bool.

    Codes of a face model hang together, and many of them never stir; so unlike `whitened` this bears a singular
    covariance.
    """
    mean = codes[rows].mean(0)
    movement = rig.basis.flatten(0, 1)
    covariance = (codes[rows] - mean).T @ (codes[rows] - mean) / int(rows.sum())
    values, vectors = torch.linalg.eigh(covariance)
    u, energy, _ = torch.linalg.svd(movement @ (vectors * values.clamp_min(0).sqrt()), full_matrices=False)
    count = min(components, int((energy > 1e-6 * energy[0]).sum()))
    u, energy = u[:, :count], energy[:count]
    basis = (u * energy).unflatten(0, (-1, 3))
    return Rig(rig.neutral + rig.basis @ mean, basis), (codes - mean) @ (movement.T @ u / energy)


def named_map(model: FaceModel, whole: Rig, rig: Rig) -> Tensor:
    """[53,K] what ARKit's scores (and 1) mean to `rig`, the leading components of `whole`; 0 for unknown names."""
    inverse = torch.linalg.pinv(rig.basis.flatten(0, 1))  # [K,3V]
    named = inverse.new_zeros(len(SCORES) + 1, len(inverse))
    for name, shape in zip(model.expression_names, (inverse @ whole.basis.flatten(0, 1)).T, strict=True):
        for row in rows_of(name):
            named[row] += shape
    named[-1] = inverse @ (whole.neutral - rig.neutral).flatten()
    return named
