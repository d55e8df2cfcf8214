# SPDX-License-Identifier: Apache-2.0
"""Trains a NeRF head on one tracked capture: some pixels of a frame in every step.

Rays cost what they are looked at, so a step takes as many as keep the number of samples the same while the field clears
up (`_ray_frames` says which). The occupancy grid follows the densest that the field has lately been in each cell, at
any frame's codes. In late stages every second step draws a patch too, which is judged as a picture, enlarged where the
head enlarges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from avatar3d.avatar._enlarger import REACH_PX
from avatar3d.avatar._frame_fit import FrameFit, laid_over, take_back
from avatar3d.avatar._radiance_field import DENSITY_START
from avatar3d.avatar._ray_frames import RayFrames
from avatar3d.avatar._seen import Seen, seen
from avatar3d.contracts import DrawPixels, Tools
from avatar3d.errors import InputError
from avatar3d.geometry import apply_pose, project
from avatar3d.ops.hashgrid import hashgrid
from avatar3d.records import Capture, Radiance, Stage, Track
from avatar3d.seeds import mixed, seeded

if TYPE_CHECKING:
    from avatar3d.avatar.radiance import RadianceHead

_ADAM = {"betas": (0.9, 0.99), "eps": 1e-15}  # Instant NGP's: a vertex of a grid is seldom seen
_FEWEST_RAYS, _MOST_RAYS = 512, 16384
_CALM = 0.9  # of the mean number of samples that stays in a step
_REACH_RATE, _REACH_MOST = 0.01, 1000.0  # GeneFace++'s adaptive weight
_FACE_GROWN = 1.15
_THIN = 1e-4  # of the density of a field that knows nothing: thinner is as good as nothing
_LIT_LEVEL, _LIT_DECAY, _DARK = 2, 0.93, 0.2  # halvings of the depth picture's size; a cell stays lit for 22 looks
_PROBES, _NEAR_U = 1024, 0.04  # points in which a step looks what no picture says, and how far from each it looks again
_SOLID, _SKIN_U = 0.95, 0.12  # what stops light, and how deep behind the depth that is seen it still counts


@dataclass(frozen=True)
class RadianceFitSettings:
    """How a NeRF head is trained; times are fractions of the budget."""

    samples: int = 40_000  # of a step
    planes_rate: float = 1e-2
    networks_rate: float = 2e-3
    torso_rate: float = 2e-3
    refine_from: float = 0.05  # corrections of the poses begin
    retrack_at: float = 0.25  # the motion is measured again, where there is a way to: lips follow by then
    occupancy_every: int = 16  # steps
    occupancy_from: int = 64  # steps in which the whole hull is looked at
    occupancy_share: float = 0.25  # of the hull's cells that are measured at a time
    occupancy_decay: float = 0.95
    least_density: float = 1.0  # per u, below which a cell is empty
    lit_every: int = 12  # steps: it is looked anew which cells light reaches; samples elsewhere teach nothing
    lit_from: int = 100  # steps
    patch_every: int = 2  # steps, of the terms that judge a patch
    enlarger_rate: float = 5e-3  # it begins to learn when rates are a tenth
    adapted_reach: float = 0.0  # how far codes may reach beyond the face, where the weight of that adapts; 0: it stays


class RadianceFit(FrameFit["RadianceHead"]):
    """`fit(RadianceFit(head, ...), stages, budget)`, then `trained()`."""

    def __init__(
        self,
        head: RadianceHead,
        capture: Capture,
        track: Track,
        tools: Tools,
        settings: RadianceFitSettings | None = None,
        expected: Tensor | None = None,
    ) -> None:
        """Args: expected: what to expect of density where pictures say little, as `hull_planes`; None: those."""
        super().__init__(head, capture, track, tools)
        self.settings = settings or RadianceFitSettings()
        if not isinstance(tools.draw, DrawPixels):
            raise InputError(f"a NeRF head cannot be trained by {type(tools.draw).__name__}", "use --renderer volume")
        self.draw: DrawPixels = tools.draw
        trained = [name for name in head.parts if name.startswith(("field/", "torso/", "enlarger/"))]
        names = [*trained, "anchors", "body_map"]
        self.learned = {name: head.parts[name].detach().clone().requires_grad_() for name in names}
        head.parts |= self.learned
        self.learned["own"] = torch.zeros(len(track.motion), len(head.parts["own"]), device=self.device)
        self.learned["own"].requires_grad_()
        self.hull = head.parts["occupied"].nonzero()
        self.expected = (head.parts["field/hull_planes"].detach() if expected is None else expected).to(self.device)
        self.densest = torch.zeros(head.parts["occupied"].shape, device=self.device)
        self.lit = torch.ones(len(self.hull), device=self.device)  # how lately light reached a cell of the hull
        self.mean_samples = torch.tensor(float(head.most), device=self.device)
        self.reach_weight = torch.tensor(1.0, device=self.device)
        low, high = head.parts["face"].amin(0), head.parts["face"].amax(0)
        cube = head.parts["cube"]
        self.face_at = ((low + high) / 2 - cube[:3]) / cube[3]
        self.face_half = _FACE_GROWN * (high - low) / 2 / cube[3]
        self._room = head.parts["background"].detach()
        self.level = 0 if head.enlarger is None else 1
        self.rays = RayFrames(self.frames, capture, track, self._room, self.level)

    # what fit asks for

    def param_groups(self) -> list[dict[str, Any]]:
        how = self.settings
        kinds = {
            "planes": ("field/", True, how.planes_rate),
            "networks": ("field/", False, how.networks_rate),
            "torso_planes": ("torso/", True, how.planes_rate),
            "torso": ("torso/", False, how.torso_rate),
            "enlarger": ("enlarger/", False, how.enlarger_rate),
        }
        groups: list[dict[str, Any]] = [
            {
                "name": name,
                "params": [
                    tensor
                    for key, tensor in self.learned.items()
                    if key.startswith(kind) and key.endswith("planes") == planes
                ],
                "lr": rate,
                **_ADAM,
            }
            for name, (kind, planes, rate) in kinds.items()
            if any(key.startswith(kind) for key in self.learned)
        ]
        rest = {"anchors": 1e-3, "body_map": 1e-3, "own": 2e-3}
        return groups + [{"name": name, "params": [self.learned[name]], "lr": rate} for name, rate in rest.items()]

    def losses(self, stage: Stage, progress: float, step: int, seeds: Sequence[int]) -> dict[str, Tensor]:
        self.corrections.begin([self._chosen(stage, progress, step, seed) for seed in seeds])
        found = []
        for seed, frame, row in zip(seeds, self.corrections.frames, self.corrections.rows, strict=True):
            with seeded(mixed(seed, 1)):
                found.append(self._terms(stage, step, frame, row))
        return {name: torch.stack([terms[name] for terms in found]).mean() for name in found[0]}

    @torch.no_grad()
    def after_step(self, stage: Stage, progress: float, step: int, optimiser: torch.optim.Optimizer) -> None:  # noqa: ARG002
        if progress > self.settings.refine_from:
            self.corrections.update(0.03**progress)
        if step % self.settings.occupancy_every == 0 and stage.rates.get("planes", 1.0) > 0:
            # all are looked at once: what never was is not empty
            self.measure_occupancy(self.settings.occupancy_share if step else 1.0)
            if step >= self.settings.occupancy_from:
                self._empty()
        if step % self.settings.lit_every == 0 and step >= self.settings.lit_from:
            self._look_where_light_reaches()
        if progress >= self.settings.retrack_at:
            self._measure_anew()

    def snapshot(self) -> dict[str, Tensor]:
        kept = {f"learned/{name}": tensor.detach() for name, tensor in self.learned.items()}
        return kept | self._motion_state() | {f"state/{name}": tensor for name, tensor in self._state().items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self.learned.items():
            take_back(tensor, tensors[f"learned/{name}"])
        for name, tensor in self._state().items():
            take_back(tensor, tensors[f"state/{name}"])
        self._take_motion(tensors)

    def _state(self) -> dict[str, Tensor]:
        return {
            "occupied": self.head.parts["occupied"],
            "densest": self.densest,
            "lit": self.lit,
            "mean_samples": self.mean_samples,
            "reach_weight": self.reach_weight,
        }

    # the head before and after

    def rendered(self, frame: int, world_from_head: Tensor, world_from_body: Tensor) -> Tensor:
        radiance = self.head.assemble(self.codes[frame], world_from_head, world_from_body, self._usual_own())
        return laid_over(self.tools.draw(radiance, self._camera(0)), self._room.permute(2, 0, 1))

    @torch.no_grad()
    def trained(self) -> RadianceHead:
        """The head as it stands: where the body stood is folded into the map from the head's pose."""
        parts = {name: tensor.detach().clone() for name, tensor in self.head.parts.items()}
        return self.head.with_parts(parts | {"body_map": self._folded_body_map(), "own": self._usual_own()})

    def _usual_own(self) -> Tensor:
        return self.learned["own"].detach()[self.frames.usable].mean(0)

    # pieces of a step

    def _terms(self, stage: Stage, step: int, frame: int, correction: Tensor) -> dict[str, Tensor]:
        """The terms of some pixels of one frame."""
        reached: list[tuple[Tensor, Tensor]] = []

        def note(points: Tensor, how_far: Tensor) -> None:
            reached.append((points, how_far))

        own = self.learned["own"][frame]
        radiance = self.head.assemble(self.codes[frame], *self._stood(frame, correction), own, note)
        radiance = replace(radiance, occupied=self._worth_sampling())
        patched = {"perceptual", "enlarged"} & stage.weights.keys()
        patch = self.rays.patch(frame) if patched and step % self.settings.patch_every == 0 else None
        at = self._some_pixels(frame, patch)
        jitter = torch.rand(len(at)).to(at.device)
        found = seen(self.draw, radiance, self._camera(self.level), at, jitter)
        error = found.over(self.rays.room(at)) - self.rays.real(frame, at)
        terms = {"picture": error.square().mean()} | dict.fromkeys(patched, error.new_zeros(()))
        if patch is not None:
            terms |= self._patch_terms(found, radiance, frame, patch)
        if {"alpha", "solid", "entropy"} & stage.weights.keys():
            terms |= self._alpha_terms(found, frame, at)
        if "reach" in stage.weights:
            terms["reach"] = self._reach(reached)
        if {"expected", "smooth"} & stage.weights.keys():
            terms |= self._unseen_terms(radiance)
        self._note_samples(len(reached[0][0]), len(at))
        return terms

    def _some_pixels(self, frame: int, patch: tuple[int, int] | None) -> Tensor:
        """Middles [N,2] px of pixels at random; those of a patch come first, where there is one."""
        own = 0 if patch is None else self.rays.patch_px**2
        count = int((self.settings.samples / self.mean_samples).clamp(max(_FEWEST_RAYS, 2 * own), _MOST_RAYS))
        some = self.rays.some(frame, count - own)
        return some if patch is None else torch.cat([self.rays.pixels_of(*patch), some])

    def _patch_terms(self, found: Seen, radiance: Radiance, frame: int, patch: tuple[int, int]) -> dict[str, Tensor]:
        """ "perceptual": of a patch, whose pixels are the first. "enlarged": the same, pixel by pixel, where it is."""
        side, times = self.rays.patch_px, 2**self.level
        drawn = torch.cat([found.person, found.alpha[:, None]], 1)[: side**2].T.reshape(-1, side, side)
        margin = 0
        if radiance.enlarge is not None:  # without the rim, about which more would be known in a whole picture
            drawn, margin = radiance.enlarge(drawn), times * REACH_PX
        left, top, size = times * patch[0] + margin, times * patch[1] + margin, times * side - 2 * margin
        drawn = drawn[:, margin : margin + size, margin : margin + size]
        real = self.frames.target(frame, 0)[:, top : top + size, left : left + size]
        room = self._room.permute(2, 0, 1)[:, top : top + size, left : left + size]
        drawn = drawn[:3] + (1 - drawn[3]) * room
        terms = {}
        if self.tools.perceptual is not None:
            terms["perceptual"] = self.tools.perceptual(drawn, real)
        if radiance.enlarge is not None:
            terms["enlarged"] = (drawn - real).square().mean()
        return terms

    def _alpha_terms(self, found: Seen, frame: int, at: Tensor) -> dict[str, Tensor]:
        """ "alpha": off the mask, where that is sure. "solid": how see-through the face is. "entropy": of the field."""
        person, room, within = self.rays.sides(frame, at)
        sure = (person * (1 - found.alpha) + room * found.alpha).sum() / (person + room).sum().clamp_min(1)
        own = found.own_alpha.clamp(1e-5, 1 - 1e-5)
        return {
            "alpha": sure,
            "solid": (within * (1 - found.own_alpha)).sum() / within.sum().clamp_min(1),
            "entropy": -(own * own.log() + (1 - own) * (1 - own).log()).mean(),
        }

    def _reach(self, reached: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """How far the codes reach beyond the face; GeneFace++ adapts its weight until that is as little as asked."""
        points, how_far = reached[0]
        outside = (((points.detach() - self.face_at) / self.face_half).abs() > 1).any(1)
        far = (how_far.abs().mean(1) * outside).sum() / outside.sum().clamp_min(1)
        if not self.settings.adapted_reach:
            return far
        with torch.no_grad():
            off = far.clamp_min(1e-12).log10() - math.log10(self.settings.adapted_reach)
            self.reach_weight += _REACH_RATE * off
            self.reach_weight.clamp_(0, _REACH_MOST)
        return self.reach_weight.clone() * far

    def _unseen_terms(self, radiance: Radiance) -> dict[str, Tensor]:
        """What decides where pictures say little, anywhere in the hull. "expected": how far the log of density is from
        what was known of the head before. "smooth": how fast what colour is made of changes.
        """
        cells = self.hull[torch.randint(len(self.hull), (_PROBES,)).to(self.device)]
        points = (cells + torch.rand(cells.shape).to(self.device)) / len(self.densest)
        aside = _NEAR_U / self.head.parts["cube"][3] * torch.randn(points.shape).to(self.device)
        density, given = radiance.density(torch.cat([points, (points + aside).clamp(0, 1)]))
        known = hashgrid(points, self.expected, self.head.field.hull_grid)[:, 0]
        log_density = (density[:_PROBES] / DENSITY_START).clamp_min(_THIN).log()
        return {
            "expected": (log_density - known).square().mean(),
            "smooth": (given[_PROBES:] - given[:_PROBES]).square().mean(),
        }

    def _note_samples(self, samples: int, pixels: int) -> None:
        self.mean_samples.mul_(_CALM).add_((1 - _CALM) * max(samples / pixels, 0.5))

    @torch.no_grad()
    def measure_occupancy(self, share: float) -> None:
        """Looks at a share of the hull's cells, somewhere in each, at the codes of a random frame."""
        cells = self.hull[torch.randperm(len(self.hull))[: max(1, round(share * len(self.hull)))].to(self.device)]
        frame = int(self.frames.usable[torch.randint(len(self.frames.usable), ())])
        points = (cells + torch.rand(cells.shape).to(self.device)) / len(self.densest)
        head, body = self._stood(frame, self.corrections.values[frame])
        density, _ = self.head.assemble(self.codes[frame], head, body, self._usual_own()).density(points)
        x, y, z = cells.unbind(1)
        self.densest[x, y, z] = torch.maximum(self.settings.occupancy_decay * self.densest[x, y, z], density)

    def _empty(self) -> None:
        """Cells of the hull are occupied where the field is dense."""
        self.head.parts["occupied"].copy_(self.densest > self.settings.least_density)

    def _worth_sampling(self) -> Tensor:
        """[R,R,R] bool: occupied cells that light has reached lately."""
        x, y, z = self.hull[self.lit < _DARK].unbind(1)
        return self.head.parts["occupied"].index_put((x, y, z), torch.zeros((), dtype=torch.bool, device=self.device))

    def _look_where_light_reaches(self) -> None:
        """By a small depth picture of a random frame: cells that stand behind what it shows are in the dark there."""
        frame = int(torch.multinomial(self.chances, 1))
        head, body = self._stood(frame, self.corrections.values[frame])
        radiance = self.head.assemble(self.codes[frame], head, body, self._usual_own())
        small = self._camera(_LIT_LEVEL)
        image = self.tools.draw(replace(radiance, behind=_nothing, enlarge=None), small)
        depth = torch.where(image.alpha > _SOLID, image.depth / image.alpha.clamp_min(_SOLID), math.inf)
        deepest = torch.nn.functional.max_pool2d(depth[None], 3, 1, 1)[0]
        cube = self.head.parts["cube"]
        middles = apply_pose(head, (self.hull + 0.5) / len(self.densest) * cube[3] + cube[:3])
        x, y = project(middles, small.K).long().unbind(1)
        x, y = x.clamp(0, small.width - 1), y.clamp(0, small.height - 1)
        reached = middles[:, 2] < deepest[y, x] + _SKIN_U
        self.lit = torch.where(reached, 1.0, _LIT_DECAY * self.lit)


def _nothing(_origin: Tensor, ways: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nothing behind a field."""
    return torch.zeros_like(ways), ways.new_zeros(len(ways)), ways.new_zeros(len(ways))
