# SPDX-License-Identifier: Apache-2.0
"""The rigged head: Gaussians bound to the triangles of the person's face mesh, which carry them.

The binding is that of GaussianAvatars (Qian et al., CVPR 2024) on the tracker's mesh of 468 vertices, whose shape and
movement are the person's own (or, after `--face`, a face model's). Vertices are linear in a frame's codes; they begin
as the tracker's and are learned, so that lids, lips and gaze reach where the tracker's basis does not. Three triangles
are added that are no skin: the chin, which carries the lower teeth, and one for each eyeball, turned by the gaze. What
does not lie on the face follows its nearest triangle the less the further away it is; colours never change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar._codes import EXTRA_CODES
from avatar3d.avatar._driven import DrivenHead
from avatar3d.avatar._driving import Start
from avatar3d.avatar._fit_settings import FitSettings
from avatar3d.avatar._mesh import Frames, carried, frames_of
from avatar3d.avatar._rigged_fit import RiggedFit
from avatar3d.avatar._scatter import CORE, MOUTH, TORSO, Counts, Scatter
from avatar3d.face.groups import INNER_LIPS, LEFT_EYE, RIGHT_EYE
from avatar3d.face.nearest import nearest_triangles
from avatar3d.face.rig import triangles_within
from avatar3d.ops.blend import blend
from avatar3d.records import Stage, Track

__all__ = ["RiggedHead"]

_SHAPE = {"picture": 1.0, "alpha": 0.2, "solid": 0.6, "strayed": 0.01, "swollen": 1.0}
_CHIN = (152, 150, 379)  # its tip and both sides
_REACH_U = 0.15  # off the face, movement of the skin fades over this


@dataclass(frozen=True)
class RiggedSettings:
    """How large a rigged head is, and how it is trained."""

    counts: Counts = field(default_factory=Counts)
    expression: int = 16  # leading components of the tracker's basis
    fit: FitSettings = field(default_factory=FitSettings)


class RiggedHead(DrivenHead):
    """A drivable head (contracts.Head); beside what every head has, `parts` holds the mesh.

    vertices [V,3] u at rest, vertex_tables [K,V,3] u per unit of a code, faces [F,3], and per Gaussian its triangle
    and how much of the triangle's movement it follows, 0..1.
    """

    settings_kind: ClassVar = RiggedSettings
    fit_kind: ClassVar = RiggedFit
    per_gaussian: ClassVar = (*DrivenHead.per_gaussian, "triangle", "follow")
    # the mesh moves beyond the tracker's basis once colours are roughly right, and detail comes last
    stages: ClassVar = (
        Stage("start", 0.02, _SHAPE, {"vertex_tables": 0.0}),
        Stage("shape", 0.4, _SHAPE),
        Stage("detail", 0.75, _SHAPE | {"perceptual": 0.2}),
        Stage("sharpness", 1.0, _SHAPE | {"perceptual": 0.2, "sharpness": 1.0}),
    )

    @classmethod
    def own_start(cls, start: Start, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tracker's mesh and its movement, with the Gaussians bound to it."""
        count = start.expression
        return _mesh(start.track, start.triangles, start.points, parts["code_scale"][count + 2 : count + 4])

    def deform(self, codes: Tensor) -> Tensor:
        """Offsets [N,10] at codes [K]: position, rotation vector, no colour, log scale."""
        return self.deformed(codes, self.rest())

    def rest(self) -> Frames:
        """The triangles' frames before any code."""
        return frames_of(self.parts["vertices"][self.parts["faces"]])

    def deformed(self, codes: Tensor, rest: Frames) -> Tensor:
        """As `deform`, where the frames at rest are known."""
        parts = self.parts
        moved = parts["vertices"] + blend(codes, parts["vertex_tables"])
        by_triangle = carried(parts["vertices"][parts["faces"]], rest, moved[parts["faces"]])
        # by index_select, whose gradient is added up in one order
        A, shift, others = by_triangle.index_select(0, parts["triangle"]).split([9, 3, 7], 1)
        means = parts["means"]
        there = torch.baddbmm(shift[..., None], A.unflatten(1, (3, 3)), means[..., None])[..., 0]
        return parts["follow"][:, None] * torch.cat([there - means, others], 1)


def _mesh(track: Track, triangles: np.ndarray, points: Scatter, gaze_scale: Tensor) -> dict[str, Tensor]:
    """The parts of a rigged head that are its mesh, and what its Gaussians are bound to.

    Args:
        gaze_scale: eye widths [2] per unit of the codes of gaze, across and down.
    """
    neutral, basis = track.neutral.astype(np.float64), track.basis[..., : len(points.tables)]
    skin = triangles[~triangles_within(triangles, INNER_LIPS)]
    eyes = [_eyeball(neutral[list(ring)]) for ring in (RIGHT_EYE, LEFT_EYE)]
    vertices = np.concatenate([neutral, *eyes])
    count, expression = len(neutral), basis.shape[-1]
    tables = np.zeros((expression + EXTRA_CODES, len(vertices), 3))
    tables[:expression, :count] = basis.transpose(2, 0, 1)
    for number, eye in enumerate(eyes):
        rows = slice(count + 3 * number, count + 3 * number + 3)
        width = eye[1, 0] - eye[0, 0]
        tables[expression + 2, rows, 0] = gaze_scale[0] * width
        tables[expression + 3, rows, 1] = -gaze_scale[1] * width
    faces = np.concatenate([skin, [_CHIN], np.arange(count, len(vertices)).reshape(-1, 3)])
    triangle, follow = _bound(points, vertices, skin)
    return {
        "vertices": torch.from_numpy(vertices.astype(np.float32)),
        "vertex_tables": torch.from_numpy(tables.astype(np.float32)),
        "faces": torch.from_numpy(faces.astype(np.int64)),
        "triangle": torch.from_numpy(triangle),
        "follow": torch.from_numpy(follow.astype(np.float32)),
    }


def _eyeball(ring: np.ndarray) -> np.ndarray:
    """Corners [3,3] of a triangle that stands for an eyeball, from the points of its lids' rim."""
    low, high = ring.min(0), ring.max(0)
    centre, half = (low + high) / 2, (high[0] - low[0]) / 2
    return centre + half * np.array([[-1.0, 0, 0], [1, 0, 0], [0, 1, 0]])


def _bound(points: Scatter, vertices: np.ndarray, skin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which triangle each point is bound to [N] int64, and how much it follows it [N]."""
    nearest, away = nearest_triangles(points.points.astype(np.float64), vertices[skin])
    triangle = nearest.copy()
    follow = np.exp(-np.square(away / _REACH_U))
    for number, ring in enumerate((RIGHT_EYE, LEFT_EYE), 1):
        triangle[triangles_within(skin, ring)[nearest]] = len(skin) + number
    mouth = points.group == MOUTH
    triangle[mouth], follow[mouth] = len(skin), np.abs(points.tables[:, mouth]).max((0, 2)) > 0
    follow[(points.group == TORSO) | (points.group == CORE)] = 0
    return triangle, follow
