# SPDX-License-Identifier: Apache-2.0
"""The tri-plane head: Gaussians that a field over the face's space moves, after TalkingGaussian (Li et al., ECCV 2024).

As published: colour and opacity never change, only position, rotation and size do; face and mouth have fields of their
own; each point has its own attention to the codes of the lower and of the upper face; the mouth's field moves mainly up
and down; nothing moves outside the fields' box.

Not as published, and why: the codes are a tracker's and not a sound's (the lower face follows the expression, the upper
face lids, gaze and brows), so one avatar is driven by video, phone or voice. Points start on the tracked surface, not
anywhere in a cube, and the field starts by repeating the tracker's motion (`TriplaneSettings.taught_steps`). Face and
mouth are drawn in one pass, sorted by depth. There the torso is a filmed picture; here it is Gaussians that follow the
body, as in all our heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar._codes import EXTRA_CODES
from avatar3d.avatar._driven import DrivenHead
from avatar3d.avatar._driving import Start
from avatar3d.avatar._scatter import MOUTH, SHELL, Counts
from avatar3d.avatar._triplane_field import Branch
from avatar3d.avatar._triplane_fit import TriplaneFit, TriplaneFitSettings, taught
from avatar3d.face.groups import LEFT_BROW, RIGHT_BROW
from avatar3d.records import Stage, Track

__all__ = ["TriplaneHead"]

CHANNELS = 12  # of an offset: position 3, rotation vector 3, colour 3 (always 0), log scale 3
_REACH_U = 0.1  # what a field's output of one moves a point by
_MOUTH_REACH_U = (0.02, 0.1, 0.02)
_LIDS_GAZE = 4
_HAIR_EVERY = 7
_SHAPE = {"picture": 1.0, "alpha": 0.2, "solid": 0.6, "motion": 1e-3, "attention": 1e-3}


@dataclass(frozen=True)
class TriplaneSettings:
    """How large a tri-plane head is, and how it is trained."""

    counts: Counts = field(default_factory=Counts)
    expression: int = 16  # leading components of the tracker's basis
    face_cells: tuple[int, ...] = (16, 25, 39)  # of the planes; TalkingGaussian's twelve levels go from 16 to 39
    mouth_cells: tuple[int, ...] = (60, 60, 60)  # and from 64 down to 58
    taught_steps: int = 400  # in which the field learns the tracker's motion, before the first picture
    fit: TriplaneFitSettings = field(default_factory=TriplaneFitSettings)


class TriplaneHead(DrivenHead):
    """A drivable head (contracts.Head); beside what every head has, `parts` holds "face/..." and "mouth/..." (see
    `_triplane_field.Branch.start`) and brow_map [E,B]. Parts must not change once `deform` has been called.
    """

    settings_kind: ClassVar = TriplaneSettings
    fit_kind: ClassVar = TriplaneFit
    stages: ClassVar = (
        Stage("start", 0.02, _SHAPE, {"planes": 0.0, "networks": 0.0}, {"hair_every": _HAIR_EVERY}),
        Stage("shape", 0.4, _SHAPE, own={"hair_every": _HAIR_EVERY}),
        Stage("detail", 0.75, _SHAPE | {"perceptual": 0.2}, own={"hair_every": _HAIR_EVERY}),
        Stage("sharpness", 1.0, _SHAPE | {"perceptual": 0.2, "sharpness": 1.0}, own={"hair_every": _HAIR_EVERY}),
    )

    def __init__(self, parts: Mapping[str, Tensor], width: int, height: int) -> None:
        super().__init__(parts, width, height)
        self.branches = _branches(self.parts)
        self._looked: dict[str, tuple[Tensor, Tensor]] = {}

    @classmethod
    def own_start(cls, start: Start, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG003
        """Fields that move nothing."""
        settings, generator = start.settings, torch.Generator().manual_seed(start.seed)
        own = {name: torch.tensor(getattr(settings, name)) for name in ("face_cells", "mouth_cells")}
        own["brow_map"] = _brow_map(start.track, start.expression)
        for name, branch in _branches(own).items():
            own |= {f"{name}/{key}": tensor for key, tensor in branch.start(generator).items()}
        return own

    def taught(self, start: Start) -> Self:
        """Fields that move the points as the tracker does."""
        return taught(self, start, start.settings.taught_steps)

    def deform(self, codes: Tensor) -> Tensor:
        """Offsets [N,12] at codes [K]."""
        if not self._looked:
            with torch.no_grad():
                rows = {branch: self.rows(branch) for branch in self.branches}
                self._looked = {branch: (rows[branch], self.look(branch, rows[branch])) for branch in rows}
        return self.gathered(
            [(branch, rows, self.moved(branch, looked, codes)) for branch, (rows, looked) in self._looked.items()]
        )

    def rows(self, branch: str) -> Tensor:
        """Which Gaussians [M] a field moves."""
        group = self.parts["group"]
        return (group == MOUTH if branch == "mouth" else group <= SHELL).nonzero()[:, 0]

    def look(self, branch: str, rows: Tensor) -> Tensor:
        """What a field knows of Gaussians `rows` [M] before it is told a code: [M,F+codes]."""
        return self.branches[branch].look(self.parts["means"][rows], self._weights(branch))

    def moved(self, branch: str, looked: Tensor, codes: Tensor) -> Tensor:
        """The motion [M,out] of Gaussians that have been looked at, at codes [K], in the field's own units."""
        lower, lids_gaze = codes[:-EXTRA_CODES], codes[-EXTRA_CODES:][:_LIDS_GAZE]
        shape = self.branches[branch]
        told = torch.cat([lower, lids_gaze, lower @ self.parts["brow_map"]]) if shape.upper else lower
        return shape.move(looked, told, self._weights(branch))

    def channels(self, branch: str, motion: Tensor) -> Tensor:
        """Offsets [M,12] from a field's motion [M,out]."""
        still = motion.new_zeros(len(motion), 9)
        if branch == "mouth":
            return torch.cat([motion * motion.new_tensor(_MOUTH_REACH_U), still], 1)
        return torch.cat([motion[:, :3] * _REACH_U, motion[:, 3:6], still[:, :3], motion[:, 6:]], 1)

    def gathered(self, motions: Sequence[tuple[str, Tensor, Tensor]]) -> Tensor:
        """Offsets [N,12] of all Gaussians, from fields' names, the Gaussians they move and the motions of these."""
        means = self.parts["means"]
        offsets = means.new_zeros(len(means), CHANNELS)
        for branch, rows, motion in motions:
            offsets = offsets.index_copy(0, rows, self.channels(branch, motion))
        return offsets

    def _weights(self, branch: str) -> dict[str, Tensor]:
        """The parts of a field, by their names in it."""
        return {key: self.parts[f"{branch}/{key}"] for key in ("planes", *self.branches[branch].networks)}


def _branches(parts: Mapping[str, Tensor]) -> dict[str, Branch]:
    """The shapes of both fields, by name."""
    lower, brows = parts["brow_map"].shape
    face, mouth = (tuple(parts[name].tolist()) for name in ("face_cells", "mouth_cells"))
    return {"face": Branch(face, lower, _LIDS_GAZE + brows, 64, 9), "mouth": Branch(mouth, lower, 0, 32, 3)}


def _brow_map(track: Track, expression: int) -> Tensor:
    """[E,4]: how high the outer and inner halves of both brows stand, in standard deviations, from an expression."""
    halves = [[brow[at] for at in half] for brow in (RIGHT_BROW, LEFT_BROW) for half in ((0, 1, 5, 6), (3, 4, 8, 9))]
    lifts = np.stack([track.basis[half, 1, :expression].mean(0) for half in halves], 1)
    spread = (track.motion.expression[: track.fitted_frames, :expression] @ lifts).std(0)
    return torch.from_numpy((lifts / np.maximum(spread, 1e-4)).astype(np.float32))
