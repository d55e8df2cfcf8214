# SPDX-License-Identifier: Apache-2.0
"""The NeRF head: a radiance field in a cube that the head's pose carries, before a torso that is a bending picture.

RAD-NeRF, ER-NeRF and GeneFace++ are settings of it (see `_radiance_field`, `VARIANTS`). Not as published, and why: the
codes are a tracker's and not a sound's, so one avatar is driven by video, phone or voice, as all heads here are; field
and torso are trained together, and the field begins within the hull of the tracked face and its outline, since nothing
has to be searched for there, and what no frame shows stays as that hull expects; poses are corrected while it learns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar._codes import EXTRA_CODES, relative_pose, shots
from avatar3d.avatar._driven import started
from avatar3d.avatar._driving import POSE, Driven, Start, driving_parts
from avatar3d.avatar._enlarger import Enlarger
from avatar3d.avatar._radiance_field import Field, Told, attended, attention_start
from avatar3d.avatar._radiance_fit import RadianceFit, RadianceFitSettings
from avatar3d.avatar._radiance_hull import FIRM, SOFT, expected, hull
from avatar3d.avatar._scatter import Counts
from avatar3d.avatar._torso_field import Torso
from avatar3d.contracts import HeadLearner, Tools
from avatar3d.geometry import apply_pose, compose, invert, matrix_from_pose, project
from avatar3d.records import Capture, Motion, Radiance, Stage, Track

__all__ = ["RadianceHead"]

OWN = 4  # numbers of each frame's own, which take up what light and camera did
_LIDS_GAZE = 4
_HELD = 0.25  # how much the turn of the head may shade it, which few frames show well
_ANCHORS_U = ((0.0, -0.9, 0.0), (-0.6, -0.6, -0.5), (0.6, -0.6, -0.5))  # chin, and below both ears

Note = Callable[[Tensor, Tensor], None]

_SHAPE = {
    "picture": 1.0,
    "alpha": 0.02,
    "solid": 0.02,
    "entropy": 1e-4,
    "reach": 1e-3,
    "expected": 1e-5,
    "smooth": 1e-5,
}
_IN_DETAIL = {"perceptual": 0.01, "enlarged": 1.0}


@dataclass(frozen=True)
class RadianceSettings:
    """How a NeRF head is built, and how it is trained."""

    counts: Counts = field(default_factory=Counts)  # points by which the hull is known
    expression: int = 16  # leading components of the tracker's basis
    shape: Mapping[str, Any] = field(default_factory=dict)  # what differs from the defaults of `Field`
    window: int = 1  # frames whose codes a frame hangs on; odd
    cells: int = 64  # of the occupancy grid along an axis
    step_u: float = 0.03  # between samples of a ray
    most: int = 16  # samples of a ray
    enlarge: bool = False  # rays draw pictures of half the size, and a network makes them whole
    path: str = "auto"  # by which grids are read while it is trained, see `hashgrid`; no part of the head that is kept
    fit: RadianceFitSettings = field(default_factory=RadianceFitSettings)


class RadianceHead(Driven):
    """A drivable head (contracts.Head). `parts` are, beside what every head has: field/... and torso/... (the weights
    of `Field` and `Torso`), cube [4] (its lowest corner in head space and its side, u), occupied [R,R,R] bool, face
    [468,3] and face_tables [E,468,3] (the tracked face), anchors [3,3], own [4]; and where it enlarges, enlarger/...
    """

    renderer: ClassVar[str] = "volume"
    stages: ClassVar = (
        Stage("grow", 0.04, _SHAPE, {"anchors": 0.0}),
        Stage("head", 0.6, _SHAPE),
        Stage("lips", 0.93, _SHAPE | _IN_DETAIL),
        Stage("torso", 1.0, {"picture": 1.0, "alpha": 0.02} | _IN_DETAIL, {"planes": 0.0, "networks": 0.0}),
    )

    def __init__(self, parts: Mapping[str, Tensor], width: int, height: int, shape: Mapping[str, Any]) -> None:
        super().__init__(parts, width, height)
        self.shape = dict(shape)
        self.field, self.torso = Field(**self.shape["field"]), Torso()
        self.enlarger = Enlarger() if self.shape.get("enlarge") else None
        self.window, self.step_u, self.most = (self.shape[name] for name in ("window", "step_u", "most"))
        self.path = self.shape.get("path", "auto")

    @classmethod
    def learner(
        cls, capture: Capture, track: Track, triangles: np.ndarray, tools: Tools, settings: Any = None, seed: int = 0
    ) -> HeadLearner:
        """What `avatar3d.fit.fit` trains: see contracts.TrainableHead."""
        settings = settings or RadianceSettings()
        start = started(capture, track, triangles, settings, seed)
        head = cls.begun(capture, start).to(tools.device)
        known = expected(start, head.parts["cube"].cpu(), head.field.hull_cells, FIRM)
        return RadianceFit(head, capture, track, tools, settings.fit, known)

    @classmethod
    def begun(cls, capture: Capture, start: Start) -> Self:
        """An untrained head: a veil within the hull of the tracked head."""
        settings, track, generator = start.settings, start.track, torch.Generator().manual_seed(start.seed)
        described: dict[str, Any] = {
            "lower": start.expression,
            "upper": _LIDS_GAZE,
            "shade": EXTRA_CODES - _LIDS_GAZE + OWN,
        }
        shape = {"field": asdict(Field(**described, **settings.shape))}
        shape |= {name: getattr(settings, name) for name in ("window", "step_u", "most", "enlarge", "path")}
        parts = driving_parts(capture, start)
        cube, occupied = hull(start, settings.cells)
        parts |= {
            "cube": cube,
            "occupied": occupied,
            "face": torch.from_numpy(track.neutral.astype(np.float32)),
            "face_tables": torch.from_numpy(
                np.moveaxis(track.basis[..., : start.expression], -1, 0).astype(np.float32).copy()
            ),
            "anchors": torch.tensor(_ANCHORS_U),
            "own": torch.zeros(OWN),
        }
        weights = Field(**shape["field"]).start(generator)
        weights["hull_planes"] = expected(start, cube, Field(**shape["field"]).hull_cells, SOFT)
        if settings.window > 1:
            weights |= attention_start(settings.window, start.expression + EXTRA_CODES)
        parts |= {f"field/{name}": tensor for name, tensor in weights.items()}
        parts |= {f"torso/{name}": tensor for name, tensor in Torso().start(generator).items()}
        if settings.enlarge:
            parts |= {f"enlarger/{name}": tensor for name, tensor in Enlarger().start(generator).items()}
        return cls(parts, track.camera.width, track.camera.height, shape)

    @property
    def codes(self) -> int:
        """W K: of a frame and those about it."""
        return self.window * super().codes

    def encode(self, motion: Motion, cuts: Sequence[int] = ()) -> Tensor:
        """Rows [T,W K + 14] for `pose`: as any head's, with the codes of W frames about each, held at a shot's ends."""
        rows = super().encode(motion, cuts)
        if self.window == 1:
            return rows
        codes, poses = rows.split([super().codes, 2 * POSE], 1)
        bounds = torch.empty(len(rows), 2, dtype=torch.int64)
        for shot in shots(relative_pose(motion.head, self.parts["rest_pose"].cpu()), cuts):
            bounds[shot] = torch.tensor([shot.start, shot.stop - 1])
        about = torch.arange(len(rows))[:, None] + torch.arange(self.window) - self.window // 2
        windows = codes[about.clamp(bounds[:, :1], bounds[:, 1:]).to(rows.device)]
        return torch.cat([windows.flatten(1), poses], 1)

    def pose(self, code: Tensor) -> Radiance:
        """The field of one frame: code [W K + 14], a row of `encode`."""
        codes, head, body = code.split([self.codes, POSE, POSE])
        return self.assemble(codes, head, body, self.parts["own"])

    def assemble(
        self, codes: Tensor, world_from_head: Tensor, world_from_body: Tensor, own: Tensor, note: Note | None = None
    ) -> Radiance:
        """The field at codes [W K], on poses [7], with a frame's own code [4].

        Args:
            note: told, wherever the field is looked at, the points [S,3] and how the codes reached them (see `Field`).
        """
        window = codes.view(self.window, -1)
        field, torso = self.weights("field"), self.weights("torso")
        now = attended(window, field) if self.window > 1 else window[0]
        lower, upper, held = now.split([self.field.lower, _LIDS_GAZE, EXTRA_CODES - _LIDS_GAZE])
        told = Told(lower, upper, torch.cat([_HELD * held, own]))
        anchored = torch.cat([self._anchored(world_from_head), self._anchored(world_from_body), own])
        expression = window[self.window // 2, : self.field.lower]
        face = self.parts["face"] + torch.einsum("e,epc->pc", expression, self.parts["face_tables"])

        def density(points: Tensor) -> tuple[Tensor, Tensor]:
            found, given, reached = self.field.density(points, told, field, self.path)
            if note is not None:
                note(points, reached)
            return found, given

        return Radiance(
            cube_from_world=self._cube_from_world(world_from_head),
            occupied=self.parts["occupied"],
            step_u=self.step_u,
            most=self.most,
            density=density,
            colour=lambda given: self.field.colour(given, told, field),
            behind=partial(self._behind, anchored, world_from_body, torso),
            points=apply_pose(world_from_head, face),
            enlarge=None if self.enlarger is None else partial(self.enlarger, weights=self.weights("enlarger")),
        )

    def weights(self, kind: str) -> dict[str, Tensor]:
        """The parts of "field", "torso" or "enlarger", by their names in it."""
        return {name.removeprefix(f"{kind}/"): part for name, part in self.parts.items() if name.startswith(f"{kind}/")}

    def with_parts(self, parts: Mapping[str, Tensor]) -> Self:
        return type(self)(parts, self.width, self.height, self.shape)

    def config(self) -> dict[str, Any]:
        return super().config() | {"shape": {name: of for name, of in self.shape.items() if name != "path"}}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        shape = config["shape"]
        # JSON knows no tuples
        known = {name: tuple(v) if isinstance(v, list) else v for name, v in shape["field"].items()}
        return cls(tensors, config["width"], config["height"], {**shape, "field": known})

    def _cube_from_world(self, world_from_head: Tensor) -> Tensor:
        low, side = self.parts["cube"][:3], self.parts["cube"][3]
        head = matrix_from_pose(invert(world_from_head))
        return torch.cat([torch.cat([head[:3, :3], (head[:3, 3] - low)[:, None]], 1) / side, head[3:]])

    def _anchored(self, world_from_a: Tensor) -> Tensor:
        """[6] how far the anchors are from where they stand at rest, in the filmed picture, in tenths of its width."""
        there, rest = (self._filmed(apply_pose(pose, self.parts["anchors"])) for pose in (world_from_a, self._rest))
        return 10 * (there - rest).flatten()

    def _filmed(self, points: Tensor) -> Tensor:
        """Points [N,3] u of the world in the filmed picture [N,2] 0..1."""
        size = points.new_tensor([self.width, self.height])
        return project(points, self.parts["camera_K"]) / size

    @property
    def _rest(self) -> Tensor:
        return self.parts["rest_pose"]

    def _behind(
        self, anchored: Tensor, world_from_body: Tensor, weights: Mapping[str, Tensor], origin: Tensor, ways: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What rays see of the torso: see records.Radiance."""
        depth = (self._rest[6] - origin[2]) / ways[:, 2]
        world = origin + depth[:, None] * ways
        at = self._filmed(apply_pose(compose(self._rest, invert(world_from_body)), world))
        before = torch.isfinite(depth) & (depth > 0)
        rgb, alpha = self.torso.look(torch.where(before[:, None], at, -1.0), anchored, weights)
        return rgb * before[:, None], alpha * before, torch.where(before, depth, 0.0)


# the papers' heads, by the names under which `avatar3d train --preset` knows them
VARIANTS: Mapping[str, Callable[[], RadianceSettings]] = {
    "rad-nerf": RadianceSettings,
    "er-nerf": lambda: RadianceSettings(
        shape={"planes": True, "ambient": 0, "cells": (32, 64, 128, 256, 400), "features": 4}
    ),
    "geneface++": lambda: RadianceSettings(
        shape={"ambient": 3, "ambient_cells": (8, 16, 32), "ambient_features": 4},
        window=5,
        enlarge=True,
        fit=RadianceFitSettings(adapted_reach=1e-4),
    ),
}
