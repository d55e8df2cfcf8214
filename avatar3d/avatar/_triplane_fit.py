# SPDX-License-Identifier: Apache-2.0
"""Trains a tri-plane head: what `PictureFit` does, and the habits of TalkingGaussian, asked for by a stage's numbers.

`Stage.own` of this head:
- "still": 1, nothing moves but the head as a whole (its warm-up);
- "hair_every": n, the hair's motion is learned in every n-th step alone, so that motion is learned on the face;
- "opening_every", "blink_every": n, every n-th step draws a frame whose mouth is open, or lids shut, as far as a window
  says that slides up between "since", a fraction of the budget, and the stage's end (its incremental sampling).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar._driving import Start
from avatar3d.avatar._fit_settings import FitSettings
from avatar3d.avatar._picture_fit import PictureFit
from avatar3d.avatar._scatter import HEAD, MOUTH, SHELL
from avatar3d.contracts import Tools
from avatar3d.density import Relocation, Renewal
from avatar3d.face.groups import LIPS
from avatar3d.face.lips import lip_opening
from avatar3d.records import Capture, Gaussians, Stage, Track
from avatar3d.threads import torch_threads

if TYPE_CHECKING:
    from avatar3d.avatar.triplane import TriplaneHead

T = TypeVar("T", bound="TriplaneHead")

_OPENING_WINDOW, _BLINK_WINDOW = (-0.2, 0.2), (-0.15, 0.3)
_LIPS_MARGIN = 1.2  # of the box about the lips where lids, gaze and brows have no say
_TAUGHT_POINTS, _TAUGHT_CODES = 1500, 2  # in a step
_TAUGHT_RATES = (2e-2, 4e-3)  # of the planes and of the networks
_TAUGHT_DECAY = 0.1
_TAUGHT_UNIT_U = 0.01
BRANCH_OF = {HEAD: "face", SHELL: "face", MOUTH: "mouth"}  # the torso has none


@dataclass(frozen=True)
class TriplaneFitSettings(FitSettings):
    """As any head's; and Adam's learning rates of the field at the start."""

    planes_rate: float = 1.5e-2
    networks_rate: float = 3e-3


class TriplaneFit(PictureFit["TriplaneHead"]):
    """`learned` also holds the parts of both fields."""

    def __init__(
        self,
        head: TriplaneHead,
        capture: Capture,
        track: Track,
        tools: Tools,
        settings: TriplaneFitSettings | None = None,
    ) -> None:
        settings = settings or TriplaneFitSettings()
        super().__init__(head, capture, track, tools, settings)
        self.field_rates = {"planes": settings.planes_rate, "networks": settings.networks_rate}
        names = [name for name in head.parts if "/" in name]
        self.learned |= {name: head.parts[name].detach().clone().requires_grad_() for name in names}
        self.head.parts |= {name: self.learned[name] for name in names}
        self.openings = _ranked(lip_opening(track.neutral, track.basis, track.motion.expression), track)
        self.blinks = torch.from_numpy(track.motion.blink.mean(1))
        lips = torch.from_numpy(track.neutral[list(LIPS)]).to(self.device)
        self.lips = (lips.amin(0) + lips.amax(0)) / 2, _LIPS_MARGIN * (lips.amax(0) - lips.amin(0)) / 2
        self._rows: dict[int, Tensor] = {}
        self._own: Mapping[str, float] = {}
        self._step = 0
        self._measured: list[dict[str, Tensor]] = []  # terms of the frames posed in this step

    def param_groups(self) -> list[dict[str, Any]]:
        planes = [tensor for name, tensor in self.learned.items() if name.endswith("/planes")]
        networks = [tensor for name, tensor in self.learned.items() if "/" in name and not name.endswith("/planes")]
        found = {"planes": planes, "networks": networks}
        groups = [{"name": name, "params": params, "lr": self.field_rates[name]} for name, params in found.items()]
        return [*super().param_groups(), *groups]

    def losses(self, stage: Stage, progress: float, step: int, seeds: Sequence[int]) -> dict[str, Tensor]:
        self._own, self._step, self._measured = stage.own, step, []
        return super().losses(stage, progress, step, seeds)

    def frame_for(self, stage: Stage, progress: float, step: int) -> int:
        for name, values, (low, high) in (
            ("opening_every", self.openings, _OPENING_WINDOW),
            ("blink_every", self.blinks, _BLINK_WINDOW),
        ):
            every = int(stage.own.get(name, 0))
            if not every or step % every:
                continue
            since = stage.own.get("since", 0.0)
            at = (progress - since) / (stage.until - since)
            usable = self.frames.usable
            within = usable[(values[usable] >= at + low) & (values[usable] <= at + high)]
            if len(within):
                return int(within[torch.randint(len(within), ())])
        return super().frame_for(stage, progress, step)

    def offsets(self, codes: Tensor) -> Tensor:
        drawing = not torch.is_grad_enabled()
        if not drawing:
            self._measured.append({})
            if self._own.get("still"):
                return self.head.gathered([])
        hair_learns = self._step % int(self._own.get("hair_every", 1)) == 0
        found = []
        for group, branch in BRANCH_OF.items():
            rows = self._rows_of(group)
            with torch.set_grad_enabled(not drawing and (group != SHELL or hair_learns)):
                looked = self.head.look(branch, rows)
                motion = self.head.moved(branch, looked, codes)
            if not drawing:
                self._measure(group, rows, looked, motion)
            found.append((branch, rows, motion))
        return self.head.gathered(found)

    def own_terms(self, stage: Stage, gaussians: Gaussians) -> dict[str, Tensor]:  # noqa: ARG002
        """ "motion": mean size of what the fields give. "attention": how much the upper face's codes count about the
        lips, and any codes at the hair.
        """
        # frames are posed in the order in which they are judged
        measured, zero = self._measured.pop(0), torch.zeros((), device=self.device)
        return {name: measured.get(name, zero) for name in ("motion", "attention") if name in stage.weights}

    def own_relocation(self, plan: Relocation) -> None:  # noqa: ARG002
        self._rows = {}

    def own_renewal(self, plan: Renewal) -> None:  # noqa: ARG002
        self._rows = {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        super().restore(tensors)
        self._rows = {}

    def _rows_of(self, group: int) -> Tensor:
        if group not in self._rows:
            self._rows[group] = (self.head.parts["group"] == group).nonzero()[:, 0]
        return self._rows[group]

    def _measure(self, group: int, rows: Tensor, looked: Tensor, motion: Tensor) -> None:
        """Adds to the terms of the frame being posed."""
        found = {"motion": motion.abs().mean()}
        if group != MOUTH:
            lower, upper = self.head.branches["face"].attention(looked)
            if group == HEAD:
                away = (self.head.parts["means"][rows].detach() - self.lips[0]).abs() / self.lips[1]
                found["attention"] = (upper.mean(1) * (away < 1).all(1)).mean()
            else:
                found["attention"] = lower.abs().mean() + upper.mean()
        for name, value in found.items():
            self._measured[-1][name] = self._measured[-1].get(name, 0) + value


def taught(head: T, start: Start, steps: int) -> T:
    """The head after `steps` in which its fields learned to move its Gaussians as the tracker does."""
    codes = head.encode(start.track.motion)[: start.track.fitted_frames, : head.codes]
    tables = torch.from_numpy(start.points.tables).to(codes.device)
    learned = {name: part.clone().requires_grad_() for name, part in head.parts.items() if "/" in name}
    pupil = type(head)(head.parts | learned, head.width, head.height)
    groups = [
        {"params": [part for name, part in learned.items() if name.endswith("planes") == planes], "lr": rate}
        for planes, rate in zip((True, False), _TAUGHT_RATES, strict=True)
    ]
    optimiser = torch.optim.Adam(groups)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimiser, _TAUGHT_DECAY ** (1 / max(steps, 1)))
    generator = torch.Generator().manual_seed(start.seed)
    with torch_threads(1):
        for _ in range(steps):
            chosen = torch.randint(len(codes), (_TAUGHT_CODES,), generator=generator)
            losses = [
                _strayed(pupil, branch, _some(head.rows(branch), generator), codes[chosen], tables)
                for branch in head.branches
            ]
            optimiser.zero_grad()
            sum(losses, start=torch.zeros((), device=codes.device)).backward()
            optimiser.step()
            decay.step()
    return type(head)(head.parts | {name: part.detach() for name, part in learned.items()}, head.width, head.height)


def _some(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Rows drawn at random, so many as a step of teaching takes."""
    return rows[torch.randint(len(rows), (min(_TAUGHT_POINTS, len(rows)),), generator=generator).to(rows.device)]


def _strayed(pupil: TriplaneHead, branch: str, rows: Tensor, codes: Tensor, tables: Tensor) -> Tensor:
    """How far a field's motion of Gaussians `rows` is from what tables [E,N,3] say, and from turning or resizing."""
    looked = pupil.look(branch, rows)
    loss = torch.zeros((), device=codes.device)
    for code in codes:
        wanted = torch.einsum("e,end->nd", code[: len(tables)], tables[:, rows])
        offsets = pupil.channels(branch, pupil.moved(branch, looked, code))
        loss = loss + (offsets[:, :3] - wanted).square().mean() / _TAUGHT_UNIT_U**2 + offsets[:, 3:].square().mean()
    return loss


def _ranked(values: np.ndarray, track: Track) -> Tensor:
    """Values [T] from 0 to 1 between the least and the most that training shows."""
    low, high = np.quantile(values[: track.fitted_frames], [0.02, 0.98])
    return torch.from_numpy(((values - low) / max(high - low, 1e-6)).astype(np.float32))
