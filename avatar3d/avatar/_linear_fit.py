# SPDX-License-Identifier: Apache-2.0
"""Trains a linear head on one tracked capture (an `avatar3d.fit.Fittable`).

What only training needs lives here and not in the head: small corrections of every frame's head and body pose, the
sampling of frames, relocation. One step draws one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar._frames import Frames, rarity
from avatar3d.avatar._pose_rows import PoseRows
from avatar3d.avatar._turned import turned
from avatar3d.avatar.linear import PER_GAUSSIAN, POSE, LinearHead
from avatar3d.contracts import Draw
from avatar3d.density import copy_moments, plan_relocation, relocate
from avatar3d.ops.blend import adam_low_rank, blend
from avatar3d.ops.picture import picture_loss
from avatar3d.records import Camera, Capture, Image, Motion, Stage, Track

Perceptual = Callable[[Tensor, Tensor], Tensor]  # pictures [3,h,w] 0..1, drawn and real -> scalar
Retrack = Callable[[LinearHead], Motion]  # a better motion of the capture, found with a half-trained head

# Adam's learning rates at the start; lengths in u
_RATES = {
    "means": 5e-4,
    "quats": 2e-3,
    "log_scales": 5e-3,
    "opacity_logits": 3e-2,
    "colours": 1e-2,
    "skin_logits": 1e-2,
    "background": 2e-3,
    "body_map": 1e-3,
}
_TABLE_RATE = 1e-3
# tables are learned in these units, so that one learning rate suits all nine channels
_TABLE_UNITS = (0.1, 0.1, 0.1, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0)
_LOG_SIZE_RANGE = (-5.8, -1.5)  # log u
_LOG_ANISOTROPY = 2.3  # the longest axis is at most ten times the shortest
_SSIM_SHARE = 0.2
_PAINTED_FRAMES = 48
# colour and rotation tables shrink by this much every so many steps: what a frame does not show must not drift, or it
# is seen as coloured specks from another side
_TABLE_SHRINK, _SHRINK_EVERY = 0.98, 50
_LEAST_OPACITY = 1 / 255  # what the renderer leaves out
_SEEN_WEIGHT = 1e-3  # summed over the painted frames, in pixels


@dataclass(frozen=True)
class LinearFitSettings:
    """How a linear head is trained."""

    coarse_until: float = 0.0  # fraction of the budget during which pictures are drawn at half size
    relocate_from: float = 0.06  # fraction of the budget
    relocate_until: float = 0.7
    relocate_every: float = 0.03
    patch_px: int = 96  # of the perceptual term
    patch_every: int = 2  # steps
    refine_from: float = 0.05  # fraction of the budget at which corrections of the poses begin
    retrack_at: float = 0.4  # fraction of the budget at which the motion is measured again, where there is a way to


class LinearFit:
    """`fit(LinearFit(...), stages, budget)`, then `trained()`."""

    def __init__(
        self,
        head: LinearHead,
        capture: Capture,
        track: Track,
        draw: Draw,
        settings: LinearFitSettings | None = None,
        perceptual: Perceptual | None = None,
        retrack: Retrack | None = None,
    ) -> None:
        self.head, self.draw, self.perceptual, self.retrack = head, draw, perceptual, retrack
        self.settings = settings or LinearFitSettings()
        self.frames = Frames(capture, track)
        self.cuts = capture.cuts
        self.codes, self.poses, self.features = self._driven(track.motion)
        self.corrections = PoseRows(len(self.codes), capture.cuts)
        self.chances = rarity(track, self.frames.usable)
        self.units = torch.tensor(_TABLE_UNITS)
        self.learned = {name: head.parts[name].detach().clone().requires_grad_() for name in _RATES}
        # planar in memory, as the loss reads it and the fused Adam writes it
        planar = head.parts["background"].detach().permute(2, 0, 1).clone(memory_format=torch.contiguous_format)
        self.learned["background"] = planar.permute(1, 2, 0).requires_grad_()
        # the optimiser of `fit` only schedules the tables' rate: their update is made here, without a stored gradient
        self.learned["tables"] = (head.parts["tables"] / self.units).requires_grad_()
        self.moments = {key: torch.zeros_like(head.parts["tables"]) for key in ("exp_avg", "exp_avg_sq")}
        self._updates = 0
        self._blended: tuple[Tensor, Tensor] | None = None
        self.head.parts |= {name: self.learned[name] for name in _RATES}
        self.demand = torch.zeros(len(head))
        self.unseen = torch.zeros(len(head), dtype=torch.bool)
        self._relocations = 0
        self._retracked = False

    # what fit asks for

    def param_groups(self) -> list[dict[str, Any]]:
        groups = [{"name": name, "params": [self.learned[name]], "lr": lr} for name, lr in _RATES.items()]
        return [*groups, {"name": "tables", "params": [self.learned["tables"]], "lr": _TABLE_RATE}]

    def losses(self, stage: Stage, progress: float, step: int) -> dict[str, Tensor]:
        frame = int(torch.multinomial(self.chances, 1))
        level = 1 if progress < self.settings.coarse_until else 0
        self.corrections.begin(frame)
        image = self._drawn(self.codes[frame], frame, self.corrections.row, level)
        target, weight = self.frames.target(frame, level), self.frames.weight(frame, level)
        rgb, background = image.rgb.permute(2, 0, 1), self._background(level)
        terms = {"picture": picture_loss(rgb, image.alpha, background, target, weight, _SSIM_SHARE)}
        if "perceptual" in stage.weights:
            terms["perceptual"] = self._perceptual(image, target, frame, level, step)
        if "alpha" in stage.weights:
            terms["alpha"] = self.frames.alpha_error(image.alpha, frame, level)
        return terms

    @torch.no_grad()
    def after_step(self, stage: Stage, progress: float, step: int, optimiser: torch.optim.Optimizer) -> None:  # noqa: ARG002
        means = self.learned["means"]
        if means.grad is not None:
            self.demand += means.grad.norm(dim=1)
        self._update_tables(next(group["lr"] for group in optimiser.param_groups if group["name"] == "tables"))
        if progress > self.settings.refine_from:
            self.corrections.update(0.03**progress)
        sizes = self.learned["log_scales"]
        sizes.clamp_(*_LOG_SIZE_RANGE)
        if step % 10 == 0:
            sizes.copy_(torch.maximum(sizes, sizes.max(1, keepdim=True).values - _LOG_ANISOTROPY))
            self.learned["colours"].clamp_(0, 1)
        if step % _SHRINK_EVERY == 0:
            self.learned["tables"][..., 3:] *= _TABLE_SHRINK
        due = self.settings.relocate_from + self._relocations * self.settings.relocate_every
        if due <= progress < self.settings.relocate_until:
            self._relocations += 1
            self._relocate(optimiser)
        if self.retrack is not None and not self._retracked and progress >= self.settings.retrack_at:
            self._retracked = True
            self.codes, self.poses, self.features = self._driven(self.retrack(self.trained()))
            self.corrections.forget_heads()

    def snapshot(self) -> dict[str, Tensor]:
        kept = {f"learned/{name}": tensor.detach() for name, tensor in self.learned.items()}
        kept |= {f"corrections/{name}": tensor for name, tensor in self.corrections.snapshot().items()}
        kept |= {f"tables/{name}": tensor for name, tensor in self.moments.items()}
        return kept | {
            "counts": torch.tensor([self._relocations, self._updates, self._retracked]),
            "motion": torch.cat([self.codes, self.poses, self.features], 1),
            "group": self.head.parts["group"],
            "demand": self.demand,
            "unseen": self.unseen,
        }

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self.learned.items():
            tensor.copy_(tensors[f"learned/{name}"])
        self.corrections.restore({k.split("/")[1]: v for k, v in tensors.items() if k.startswith("corrections/")})
        self.head.parts["group"].copy_(tensors["group"])
        self.demand.copy_(tensors["demand"])
        self.unseen.copy_(tensors["unseen"])
        for name, tensor in self.moments.items():
            tensor.copy_(tensors[f"tables/{name}"])
        self._relocations, self._updates, retracked = tensors["counts"].tolist()
        self._retracked = bool(retracked)
        widths = [part.shape[1] for part in (self.codes, self.poses, self.features)]
        self.codes, self.poses, self.features = tensors["motion"].split(widths, 1)

    @torch.no_grad()
    def pictures(self) -> dict[str, Tensor]:
        frames = self.frames.held_out(3) or self.frames.usable[:1].tolist()
        strips = [torch.cat([self.frames.target(frame, 0), self._rendered(frame)], 1) for frame in frames]
        return {"real over made": torch.cat(strips, 2)}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """PSNR (dB) on spread held-out frames: whole picture, and the box around the face."""
        found = []
        for frame in self.frames.held_out(12):
            real = self.frames.target(frame, 0)
            error = (self._rendered(frame).clamp(0, 1) - real).square()
            x0, y0, x1, y1 = self.frames.face_box(frame)
            found.append([_psnr(error), _psnr(error[:, y0:y1, x0:x1])])
        full, face = np.mean(found, 0) if found else (np.nan, np.nan)
        return {"psnr_full": float(full), "psnr_face_box": float(face)} if found else {}

    # the head before and after

    def paint(self) -> None:
        """One-shot colours: every Gaussian takes the mean colour of the pixels it covers over some frames.

        With the real picture (or ones) as upstream gradient the renderer's colour gradients are the sums of weight
        times colour (or of weights), so any differentiable renderer will do.
        """
        usable = self.frames.usable
        chosen = usable[torch.linspace(0, len(usable) - 1, min(_PAINTED_FRAMES, len(usable))).long()].tolist()
        sums, weights = (torch.zeros(len(self.head), 3) for _ in range(2))
        colours = self.learned["colours"]
        for frame in chosen:
            image = self._drawn(self.codes[frame], frame, self.corrections.values[frame], 0)
            planar = image.rgb.permute(2, 0, 1)
            sums += torch.autograd.grad(planar, colours, self.frames.target(frame, 0), retain_graph=True)[0]
            weights += torch.autograd.grad(planar, colours, torch.ones_like(planar))[0]
        with torch.no_grad():
            self.unseen = weights[:, 0] < _SEEN_WEIGHT
            painted = sums / weights.clamp_min(_SEEN_WEIGHT)
            colours.copy_(torch.where(self.unseen[:, None], colours, painted))

    @torch.no_grad()
    def trained(self) -> LinearHead:
        """The head as it stands: body corrections are folded into the map from the head's pose, and Gaussians that draw
        nothing, or that no frame ever showed, are left out.
        """
        parts = {name: tensor.detach().clone() for name, tensor in self.head.parts.items()}
        parts["tables"] = self.learned["tables"].detach() * self.units
        parts["body_map"] = self._folded_body_map()
        drawn = (parts["opacity_logits"].sigmoid() > _LEAST_OPACITY) & ~self.unseen
        return LinearHead(parts, self.head.width, self.head.height).keep(drawn.nonzero()[:, 0])

    def _folded_body_map(self) -> Tensor:
        """Ridge regression of the body's corrections on the features of the head's pose, added to the learned map."""
        usable = self.frames.usable
        X, Y = self.features[usable], self.corrections.values[usable, 6:]
        gram = X.T @ X + 0.01 * len(X) * torch.eye(X.shape[1])
        return self.learned["body_map"].detach() + torch.linalg.solve(gram, X.T @ Y)

    # pieces of a step

    @torch.no_grad()
    def _driven(self, motion: Motion) -> tuple[Tensor, Tensor, Tensor]:
        """Codes [T,K], world_from_head [T,7] and what the body's pose is predicted from [T,19]."""
        codes, poses, _ = self.head.encode(motion, self.cuts).split([self.head.codes, POSE, POSE], 1)
        return codes, poses, self.head.body_features(motion, self.cuts)

    def _camera(self, level: int) -> Camera:
        whole, shrink = self.head.camera, 2**level
        K = torch.cat([whole.K[:2] / shrink, whole.K[2:]])
        return Camera(K, whole.cam_from_world, whole.width // shrink, whole.height // shrink)

    def _drawn(self, codes: Tensor, frame: int, correction: Tensor, level: int) -> Image:
        with torch.no_grad():
            blended = blend(codes, self.learned["tables"])
        blended.requires_grad_(torch.is_grad_enabled())
        self._blended = codes, blended
        offsets = blended * self.units
        head = turned(self.poses[frame], correction[:6])
        deviation = self.features[frame] @ self.learned["body_map"] + correction[6:]
        body = turned(self.head.parts["rest_pose"], deviation)
        return self.draw(self.head.assemble(offsets, head, body), self._camera(level))

    def _background(self, level: int) -> Tensor:
        """[3,H,W], the learned one."""
        background = self.learned["background"].permute(2, 0, 1)
        return torch.nn.functional.avg_pool2d(background[None], 2**level)[0] if level else background

    def _rendered(self, frame: int) -> Tensor:
        """[3,H,W] of a held-out frame: only what a new motion would give, no corrections of its own."""
        correction = torch.zeros(12)
        correction[6:] = self.features[frame] @ (self._folded_body_map() - self.learned["body_map"])
        return _over(self._drawn(self.codes[frame], frame, correction, 0), self._background(0))

    def _perceptual(self, image: Image, target: Tensor, frame: int, level: int, step: int) -> Tensor:
        if self.perceptual is None or step % self.settings.patch_every:
            return target.new_zeros(())
        rows, columns = self.frames.patch(frame, level, self.settings.patch_px)
        patch = Image(image.rgb[rows, columns], image.alpha[rows, columns], image.depth)
        drawn = _over(patch, self._background(level)[:, rows, columns])
        return self.perceptual(drawn, target[:, rows, columns])

    def _update_tables(self, rate: float) -> None:
        if self._blended is None or (gradient := self._blended[1].grad) is None:
            return
        codes = self._blended[0]
        self._updates += 1
        first, second = self.moments["exp_avg"], self.moments["exp_avg_sq"]
        adam_low_rank(self.learned["tables"].data, first, second, codes, gradient, rate, self._updates)

    def _relocate(self, optimiser: torch.optim.Optimizer) -> None:
        opacity = self.learned["opacity_logits"].sigmoid()
        plan = plan_relocation(opacity, self.learned["log_scales"], self.demand, self.unseen)
        rows = {name: tensor for name, tensor in self.learned.items() if name in PER_GAUSSIAN}
        relocate({name: tensor.data for name, tensor in rows.items()} | {"group": self.head.parts["group"]}, plan)
        tables = self.learned["tables"].data
        tables.index_copy_(1, plan.dead, tables.index_select(1, plan.source))
        for tensor in rows.values():
            copy_moments(optimiser.state[tensor], plan)
        copy_moments(self.moments, plan, axis=1)
        self.unseen[plan.dead] = False
        self.demand.zero_()


def _over(image: Image, background: Tensor) -> Tensor:
    """[3,H,W]: a picture over a background [3,H,W]."""
    return image.rgb.permute(2, 0, 1) + (1 - image.alpha) * background


def _psnr(squared_error: Tensor) -> float:
    return float(-10 * squared_error.mean().clamp_min(1e-10).log10())
