# SPDX-License-Identifier: Apache-2.0
"""Trains any head of Gaussians on one tracked capture, picture by picture (an `avatar3d.fit.Fittable`).

What only training needs lives here and in `_frame_fit`, and not in the head: small corrections of every frame's head
and body pose, the sampling of frames, relocation, the learned background. One step draws one frame, or a batch. A kind
of head adds what it learns beside its Gaussians and how they are offset in a frame: see the methods that `PictureFit`
leaves open.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from avatar3d.avatar._aside import Aside, see_through, solid_of
from avatar3d.avatar._backdrop import Backdrop
from avatar3d.avatar._core import Core
from avatar3d.avatar._driven import DrivenHead
from avatar3d.avatar._fit_settings import FitSettings
from avatar3d.avatar._frame_fit import FrameFit, laid_over, take_back
from avatar3d.avatar._hidden import Hidden
from avatar3d.avatar._scatter import EARS, SHELL
from avatar3d.avatar._skin import Skin
from avatar3d.contracts import Tools
from avatar3d.density import (
    Relocation,
    Renewal,
    copy_moments,
    plan_relocation,
    plan_renewal,
    relocate,
    renewed,
)  # fmt: skip
from avatar3d.ops.picture import picture_loss
from avatar3d.perceptual import sharpness_loss
from avatar3d.records import Capture, Gaussians, Image, Stage, Track
from avatar3d.seeds import mixed, seeded

H = TypeVar("H", bound=DrivenHead)

_LOG_SIZE_RANGE = (-5.8, -1.5)  # log u
_LOG_ANISOTROPY = 2.3  # the longest axis is at most ten times the shortest
_SSIM_SHARE = 0.5
_PAINTED_FRAMES = 48
_LEAST_OPACITY = 1 / 255  # what the renderer leaves out
_GOLDEN = 0.618034  # steps of this share of a round are spread evenly, however many they are
_SEEN_WEIGHT = 1e-3  # summed over the painted frames, in pixels


class PictureFit(FrameFit[H]):
    """`fit(SomeFit(head, ...).painted(), stages, budget)`, then `trained()`.

    `learned` are the tensors under training by name: the parts of the head that `rates` names, and what a kind of head
    adds. They are shared with `head.parts`.
    """

    batches: ClassVar[bool] = False  # whether `offsets` takes several frames at once
    # Adam's learning rates at the start, of the parts that are learned; lengths in u
    rates: ClassVar[Mapping[str, float]] = {
        "means": 2e-3,
        "quats": 1e-2,
        "log_scales": 2e-2,
        "opacity_logits": 6e-2,
        "colours": 2e-2,
        "skin_logits": 1e-2,
        "background": 2e-3,
        "body_map": 1e-3,
    }

    def __init__(
        self, head: H, capture: Capture, track: Track, tools: Tools, settings: FitSettings | None = None
    ) -> None:
        super().__init__(head, capture, track, tools)
        self.settings = settings or FitSettings()
        self.learned = {name: head.parts[name].detach().clone().requires_grad_() for name in self.rates}
        # planar in memory, as the loss reads it and the fused Adam writes it
        planar = head.parts["background"].detach().permute(2, 0, 1).clone(memory_format=torch.contiguous_format)
        self.learned["background"] = planar.permute(1, 2, 0).requires_grad_()
        self.head.parts |= self.learned
        self.demand = torch.zeros(len(head), device=self.device)
        self.unseen = torch.zeros(len(head), dtype=torch.bool, device=self.device)
        self.hidden = Hidden(head.parts["group"])
        self.core = Core(head.parts["group"], self.learned, float(track.neutral[list(EARS), 2].mean()))
        self.skin = Skin(head.parts["means"], head.parts["group"])
        self.aside = Aside(*solid_of(head.parts, track.neutral), track.camera)
        self.backdrop = Backdrop(None if capture.background is None else self.learned["background"].detach())
        self._pulls = 0  # steps that `demand` sums up
        self._relocations = 0

    # what a kind of head says

    @abstractmethod
    def offsets(self, codes: Tensor) -> Tensor:
        """As `head.deform(codes)`, differentiable in what is learned. Called once per drawn frame; where `batches` is
        true, once per batch with codes [B,K], for offsets [B,N,...].
        """

    def own_terms(self, stage: Stage, gaussians: Gaussians) -> dict[str, Tensor]:  # noqa: ARG002
        """Further terms of the loss among those that the stage weighs, of the Gaussians just drawn."""
        return {}

    def own_update(self, step: int, optimiser: torch.optim.Optimizer) -> None:
        """Whatever follows an update of what this kind of head learns."""

    def own_calm(self, hidden: Tensor) -> None:
        """Calms what this kind of head learned for Gaussians that are hidden by a share [N] of 0..1."""

    def own_plan(self, plan: Relocation) -> Relocation:
        """The plan without those Gaussians that must stay where they are."""
        return plan

    def own_relocation(self, plan: Relocation) -> None:
        """Gives relocated Gaussians their source's share of what this kind of head learns or counts."""

    def own_renewal(self, plan: Renewal) -> None:
        """As `own_relocation`, where the Gaussians' number changes: row i is made of row `plan.source[i]`."""

    def own_state(self) -> dict[str, Tensor]:
        """What else changes while training, beside `learned` and the head's parts per Gaussian; restored in place."""
        return {}

    def own_parts(self) -> dict[str, Tensor]:
        """Parts of the finished head that are not learned as they are kept."""
        return {}

    # what fit asks for

    def param_groups(self) -> list[dict[str, Any]]:
        return [{"name": name, "params": [self.learned[name]], "lr": lr} for name, lr in self.rates.items()]

    def losses(self, stage: Stage, progress: float, step: int, seeds: Sequence[int]) -> dict[str, Tensor]:
        level = self._rough_level() if progress < self.settings.coarse_until else 0
        self.corrections.begin([self._chosen(stage, progress, step, seed) for seed in seeds])
        found = []
        for seed, frame, (gaussians, image) in zip(seeds, self.corrections.frames, self._images(level), strict=True):
            with seeded(mixed(seed, 1)):
                found.append(self._terms(stage, step, frame, level, gaussians, image))
        return {name: torch.stack([terms[name] for terms in found]).mean() for name in found[0]}

    def _terms(
        self, stage: Stage, step: int, frame: int, level: int, gaussians: Gaussians, image: Image
    ) -> dict[str, Tensor]:
        """The terms of one drawn frame; its random numbers follow from its seed."""
        target, weight = self.frames.target(frame, level), self.frames.weight(frame, level)
        rgb, background = image.rgb.permute(2, 0, 1), self._background(level)
        terms = {"picture": picture_loss(rgb, image.alpha, background, target, weight, _SSIM_SHARE)}
        if {"perceptual", "sharpness"} & stage.weights.keys():
            terms |= self._patch_terms(image, target, frame, level, step)
        if "alpha" in stage.weights:
            terms["alpha"] = self.frames.alpha_error(image.alpha, frame, level)
        if "solid" in stage.weights:
            terms["solid"] = self._see_through(frame, step)
        return terms | self.own_terms(stage, gaussians)

    @torch.no_grad()
    def after_step(self, stage: Stage, progress: float, step: int, optimiser: torch.optim.Optimizer) -> None:  # noqa: ARG002
        means = self.learned["means"]
        if means.grad is not None:
            self.demand += means.grad.norm(dim=1)
            self._pulls += 1
        self.own_update(step, optimiser)
        if progress > self.settings.refine_from:
            self.corrections.update(0.03**progress)
        self.core.hold(self.learned)
        if self.settings.skin_every and step % self.settings.skin_every == 0:
            self.skin.hold(means, self.head.parts["group"], self.settings.skin_u)
        sizes = self.learned["log_scales"]
        sizes.clamp_(*_LOG_SIZE_RANGE)
        if step % 10 == 0:
            sizes.copy_(torch.maximum(sizes, sizes.max(1, keepdim=True).values - _LOG_ANISOTROPY))
            self.learned["colours"].clamp_(0, 1)
        if self.settings.hidden_every and step % self.settings.hidden_every == 0:
            self._soothe(progress, step // self.settings.hidden_every)
        due = self.settings.relocate_from + self._relocations * self.settings.relocate_every
        if due <= progress < self.settings.relocate_until:
            # those that a long measurement made the clock pass over are not caught up with: demand has to gather first
            passed = int((progress - self.settings.relocate_from) / self.settings.relocate_every)
            self._relocations = max(passed, self._relocations) + 1
            self._relocate(optimiser)
        if self._must_renew(progress, step):
            self._renew(optimiser)
        if progress >= self.settings.retrack_at:
            self._measure_anew()

    def snapshot(self) -> dict[str, Tensor]:
        kept = {f"learned/{name}": tensor.detach() for name, tensor in self.learned.items()}
        kept |= self._motion_state()
        kept |= {f"fixed/{name}": self.head.parts[name] for name in self._fixed()}
        kept |= {f"own/{name}": tensor for name, tensor in self.own_state().items()}
        kept |= {f"hidden/{name}": tensor for name, tensor in self.hidden.state().items()}
        return kept | {
            "counts": torch.tensor([self._relocations, self._pulls]),
            "demand": self.demand,
            "unseen": self.unseen,
            "bare": self.backdrop.bare,
        }

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self.learned.items():
            take_back(tensor, tensors[f"learned/{name}"])
        for name, tensor in self.own_state().items():
            take_back(tensor, tensors[f"own/{name}"])
        for name, tensor in self.hidden.state().items():
            take_back(tensor, tensors[f"hidden/{name}"])
        self._take_motion(tensors)
        for name in self._fixed():
            take_back(self.head.parts[name], tensors[f"fixed/{name}"])
        self.core.take(self.head.parts["group"], self.learned)
        take_back(self.demand, tensors["demand"])
        take_back(self.unseen, tensors["unseen"])
        take_back(self.backdrop.bare, tensors["bare"])
        self._relocations, self._pulls = tensors["counts"].tolist()

    # the head before and after

    def painted(self) -> Self:
        """This task after one-shot colours: every Gaussian takes the mean colour of the pixels it covers.

        With the real picture (or ones) as upstream gradient the renderer's colour gradients are the sums of weight
        times colour (or of weights), so any differentiable renderer will do.
        """
        usable = self.frames.usable
        chosen = usable[torch.linspace(0, len(usable) - 1, min(_PAINTED_FRAMES, len(usable))).long()].tolist()
        sums, weights = (torch.zeros(len(self.head), 3, device=self.device) for _ in range(2))
        colours = self.learned["colours"]
        for frame in chosen:
            gaussians = self._corrected(frame, self.corrections.values[frame])
            image = self.tools.draw(gaussians, self._camera(0))
            planar = image.rgb.permute(2, 0, 1)
            sums += torch.autograd.grad(planar, colours, self.frames.target(frame, 0), retain_graph=True)[0]
            weights += torch.autograd.grad(planar, colours, torch.ones_like(planar))[0]
        with torch.no_grad():
            self.unseen = weights[:, 0] < _SEEN_WEIGHT
            mean = sums / weights.clamp_min(_SEEN_WEIGHT)
            colours.copy_(torch.where(self.unseen[:, None], colours, mean))
            self.unseen[self.core.rows] = False
            self.core.take(self.head.parts["group"], self.learned)
        return self

    def rendered(self, frame: int, world_from_head: Tensor, world_from_body: Tensor) -> Tensor:
        gaussians = self.head.assemble(self.offsets(self.codes[frame]), world_from_head, world_from_body)
        return laid_over(self.tools.draw(gaussians, self._camera(0)), self._background(0))

    @torch.no_grad()
    def trained(self) -> H:
        """The head as it stands: where the body stood is folded into the map from the head's pose; Gaussians that draw
        nothing, or that no frame ever showed, are left out.
        """
        parts = {name: tensor.detach().clone() for name, tensor in self.head.parts.items()}
        parts |= self.own_parts() | {"body_map": self._folded_body_map()}
        drawn = (parts["opacity_logits"].sigmoid() > _LEAST_OPACITY) & ~self.unseen
        return type(self.head)(parts, self.head.width, self.head.height).keep(drawn.nonzero()[:, 0])

    # pieces of a step

    def _rough_level(self) -> int:
        """At which pictures are drawn where their detail does not count."""
        return 1 if self.head.height >= self.settings.coarse_from_px else 0

    def _images(self, level: int) -> list[tuple[Gaussians, Image]]:
        """The frames of this step, posed and drawn: in one call where head and renderer take batches."""
        frames, rows, camera = self.corrections.frames, self.corrections.rows, self._camera(level)
        if len(frames) == 1 or not (self.batches and getattr(self.tools.draw, "batches", False)):
            posed = [self._corrected(frame, row) for frame, row in zip(frames, rows, strict=True)]
            return [(gaussians, self.tools.draw(gaussians, camera)) for gaussians in posed]
        together = self._corrected(frames, rows)
        images = self.tools.draw(together, camera)
        return [
            (
                replace(together, means=together.means[one], quats=together.quats[one], colours=together.colours[one]),
                Image(images.rgb[one], images.alpha[one], images.depth[one]),
            )
            for one in range(len(frames))
        ]

    def _corrected(self, frame: int | list[int], correction: Tensor) -> Gaussians:
        """The Gaussians of a frame, whose poses are corrected by [12]: the head's turn and shift, the body's. Of
        several frames and [B,12] those of a batch.
        """
        return self.head.assemble(self.offsets(self.codes[frame]), *self._stood(frame, correction))

    def _background(self, level: int) -> Tensor:
        """[3,H,W], the learned one."""
        background = self.learned["background"].permute(2, 0, 1)
        return torch.nn.functional.avg_pool2d(background[None], 2**level)[0] if level else background

    def _patch_terms(self, image: Image, target: Tensor, frame: int, level: int, step: int) -> dict[str, Tensor]:
        """Of one square about the head, and not in every step: these take time."""
        nothing = target.new_zeros(())
        if step % self.settings.patch_every:
            return {"perceptual": nothing, "sharpness": nothing}
        rows, columns = self.frames.patch(frame, level, self.settings.patch_share)
        patch = Image(image.rgb[rows, columns], image.alpha[rows, columns], image.depth)
        drawn, real = laid_over(patch, self._background(level)[:, rows, columns]), target[:, rows, columns]
        looks = nothing if self.tools.perceptual is None else self.tools.perceptual(drawn, real)
        return {"perceptual": looks, "sharpness": sharpness_loss(drawn, real)}

    def _see_through(self, frame: int, step: int) -> Tensor:
        """How see-through the head of a frame is from a random side; not in every step."""
        if step % self.settings.aside_every:
            return self.learned["means"].new_zeros(())
        level = self._rough_level()
        head, solid = (tensor.to(self.device) for tensor in self.aside.look(level))
        with torch.no_grad():  # none shall learn to move from this, for what another lacks
            offsets = self.offsets(self.codes[frame])
        return see_through(self.tools.draw(self.head.assemble(offsets, head, head), self._camera(level)).alpha, solid)

    def _soothe(self, progress: float, time: int) -> None:
        if time % self.settings.hidden_look == 0:
            usable = self.frames.usable
            # not by chance: every process of a training must look at the same frame
            self._look_at_hidden(int(usable[int(time * _GOLDEN * len(usable)) % len(usable)]))
        if progress >= self.settings.hidden_from:
            hidden = self.hidden.share()
            self.hidden.soothe(self.learned["colours"].data, hidden)
            self.core.lend(self.learned, self.head.parts["group"], hidden)
            self.own_calm(hidden)
            self.backdrop.keep(self.learned["background"].data)
            if len(self.core.rows):
                fading = hidden * (self.head.parts["group"] == SHELL)
                self.learned["opacity_logits"].data -= self.settings.hidden_fade * fading

    @torch.enable_grad()
    def _look_at_hidden(self, frame: int) -> None:
        level = self._rough_level()
        camera = self._camera(level)
        gaussians = self._corrected(frame, torch.zeros(12, device=self.device))
        image = self.tools.draw(gaussians, camera)
        self.backdrop.look(image.alpha.detach())
        rgb = image.rgb
        # what a Gaussian gives to a picture is its colour's gradient under a gradient of ones
        ones = torch.ones_like(rgb)
        ones[..., 1] = self.frames.surely(frame, level)
        weights = torch.autograd.grad(rgb, self.learned["colours"], ones)[0]
        self.hidden.look(gaussians, camera, weights[:, 0], weights[:, 1])
        self.core.paint(self.learned, self.head.parts["group"], self.hidden)

    def _fixed(self) -> list[str]:
        """Names of parts with a row per Gaussian that are not learned, but follow Gaussians that move or come."""
        return [name for name in self.head.per_gaussian if name not in self.learned]

    def _relocate(self, optimiser: torch.optim.Optimizer) -> None:
        opacity = self.learned["opacity_logits"].sigmoid()
        free = self.core.free
        plan = plan_relocation(opacity[free], self.learned["log_scales"][free], self.demand[free], self.unseen[free])
        plan = Relocation(free[plan.dead], free[plan.source])
        plan = self.own_plan(plan)
        rows = {name: tensor for name, tensor in self.learned.items() if name in self.head.per_gaussian}
        fixed = {name: self.head.parts[name] for name in self._fixed()}
        relocate({name: tensor.data for name, tensor in rows.items()} | fixed, plan)
        for tensor in rows.values():
            copy_moments(optimiser.state[tensor], plan)
        self.hidden.relocated(plan)
        self.own_relocation(plan)
        self.unseen[plan.dead] = False
        self.demand.zero_()
        self._pulls = 0

    def _must_renew(self, progress: float, step: int) -> bool:
        how = self.settings
        return bool(
            how.renew_every
            and step >= how.renew_from
            and (step + 1) % how.renew_every == 0
            and progress < how.renew_until
        )

    def _renew(self, optimiser: torch.optim.Optimizer) -> None:
        """Density control: the same tensors hold another number of Gaussians afterwards."""
        parts = self.head.parts
        half_width_u = parts["rest_pose"][6] * self.head.width / (2 * parts["camera_K"][0, 0])
        slope = self.demand * (half_width_u / max(self._pulls, 1))
        most = min(self.settings.most, self.head.width * self.head.height // self.settings.pixels_each)
        plan = plan_renewal(self.learned["opacity_logits"].sigmoid(), slope, self.unseen, most)
        for name, tensor in renewed({name: parts[name].detach() for name in self.head.per_gaussian}, plan).items():
            take_back(parts[name], tensor)
            if name in self.learned:
                parts[name].grad = None
                optimiser.state[parts[name]] |= plan.moments(optimiser.state[parts[name]])
        self.hidden.renewed(plan, parts["means"].detach())
        self.own_renewal(plan)
        self.core.take(parts["group"], self.learned)
        self.demand = parts["means"].new_zeros(len(plan.source))
        self.unseen = torch.zeros_like(self.demand, dtype=torch.bool)
        self._pulls = 0
