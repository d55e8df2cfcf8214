# SPDX-License-Identifier: Apache-2.0
"""Training of `tcn` on one capture: what is drawn, what is compared, and what each member must not hear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatar3d.contracts import Listen
from avatar3d.motion._lip_space import LipSpace
from avatar3d.motion._tcn_net import TcnNet
from avatar3d.motion._voices import Rendition, renditions
from avatar3d.records import Sound, Stage, Track
from avatar3d.seeds import seeded

STAGES = (Stage("voice", 1.0, {"lips": 1.0, "velocity": 1.0, "aperture": 0.3}),)
RATE = 2e-3

_WINDOW, _BATCH = 64, 8
_RENDITIONS = 6
_CLEAN_SHARE = 0.5  # of the windows, drawn from the recording as it is
_GAP = 8  # frames beside a left-out part that its member does not train on: neighbours look alike
_NOISE, _TILT = 0.15, 0.15  # of normalised features: independent, and smooth over the bands
_TILT_KNOTS = 5
_MASKS, _MASK_WIDTH = 2, 14  # stretches of features set to their mean (SpecAugment, Park et al., 2019)


class TcnFit:
    """A `Fittable`: one network on the training frames of one capture.

    The capture's held-out frames are never read. Frames of confidence 0 count nothing, and no difference is taken
    across a cut.
    """

    def __init__(
        self, net: TcnNet, listen: Listen, sound: Sound, track: Track, cuts: tuple[int, ...], seed: int
    ) -> None:
        frames = track.fitted_frames
        self.net, self.space = net, LipSpace.of(track)
        self.codes = track.motion.expression[:frames]
        self.trusted = track.confidence[:frames] > 0
        self.joined = _joined(self.trusted, cuts)
        self.heard = heard_by_members(frames, net.shape.members)
        rng = np.random.default_rng(seed)
        voiced = Sound(sound.samples[: round(frames * sound.rate / track.motion.fps)], sound.rate)
        made = renditions(voiced, listen, frames, _RENDITIONS, rng)
        self.clean_rows = made[0].rows
        net.normalise_as(self.clean_rows)
        known = len(self.clean_rows)
        net.solve_linear(self.clean_rows, self.codes[:known], (self.heard & self.trusted[:, None])[:known])
        self.takes = [_Take.of(rendition, self, net) for rendition in made]
        self.window = min(_WINDOW, *(len(take.rows) for take in self.takes))
        with torch.no_grad():
            self.aperture_scale = float(self.space.aperture(torch.from_numpy(self.codes)).std()) + 1e-6

    def param_groups(self) -> list[dict[str, Any]]:
        return [{"name": "net", "params": list(self.net.parameters()), "lr": RATE, "weight_decay": 1e-4}]

    def losses(
        self,
        stage: Stage,  # noqa: ARG002 - Fittable's
        progress: float,  # noqa: ARG002
        step: int,  # noqa: ARG002
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        with seeded(seeds[0]):
            rows, codes, weight, joint = self._batch()
            said = self.net(_disturbed(rows))
        wrong = (said - codes) @ self.space.to_lips
        jerk = wrong[:, 1:] - wrong[:, :-1]
        opening = self.space.aperture(said) - self.space.aperture(codes)
        huber = functional.huber_loss(opening / self.aperture_scale, torch.zeros_like(opening), reduction="none")
        return {
            "lips": _mean(wrong.square().sum(-1), weight),
            "velocity": _mean(jerk.square().sum(-1), joint),
            "aperture": _mean(huber, weight),
        }

    def after_step(self, stage: Stage, progress: float, step: int, optimiser: torch.optim.Optimizer) -> None:
        pass

    def snapshot(self) -> dict[str, Tensor]:
        return dict(self.net.state_dict())

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.net.load_state_dict(dict(tensors))

    def pictures(self) -> dict[str, Tensor]:
        return {}

    def evaluate(self) -> dict[str, float]:
        """How well and how widely members open the mouth on the parts that they have not heard."""
        said, real = self.unheard_aperture()
        return {"aperture_r": float(np.corrcoef(said, real)[0, 1]), "aperture_gain": float(said.std() / real.std())}

    @torch.no_grad()
    def unheard_aperture(self) -> tuple[np.ndarray, np.ndarray]:
        """Opening of the mouth in trusted frames, said by the member that has not heard them; and the real one."""
        said = self.net.say(self.clean_rows)
        own = said[np.arange(len(said)), part_of_frames(len(said), self.net.shape.members)]
        real = self.codes[: len(own)]
        trusted = self.trusted[: len(own)]
        made, truth = (self.space.aperture(torch.from_numpy(codes)).numpy()[trusted] for codes in (own, real))
        return made, truth

    @torch.no_grad()
    def timidity(self) -> float:
        """How much less than the person's own the mouth would open on new sound: a ratio of standard deviations."""
        made, real = self.unheard_aperture()
        apertures = self.space.aperture(torch.from_numpy(self.net.say(self.clean_rows)))  # [T,M]
        # the mean of members that differ moves less than each of them
        calmer = apertures.mean(1).std() / apertures.std(0).mean()
        return float(made.std() * calmer / real.std())

    def _batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rows [B,W,D], codes [B,W,1,K], weights of frames [B,W,M] and of steps between them [B,W-1,M]."""
        clean = torch.rand(_BATCH) < _CLEAN_SHARE
        which = torch.where(clean, 0, torch.randint(len(self.takes), (_BATCH,)))
        windows = [self.takes[int(index)].window(self.window) for index in which]
        rows, codes, weight, joint = (torch.stack(parts) for parts in zip(*windows, strict=True))
        return rows, codes[:, :, None], weight, joint


class _Take:
    """A rendition beside what belongs to its rows."""

    def __init__(self, rows: Tensor, codes: Tensor, weight: Tensor, joint: Tensor) -> None:
        self.rows = rows  # [T,D] normalised
        self.codes = codes  # [T,K]
        self.weight = weight  # [T,M] 1 where a member may learn
        self.joint = joint  # [T-1,M] 1 where it may learn from the step to the next row

    @classmethod
    def of(cls, rendition: Rendition, fit: TcnFit, net: TcnNet) -> _Take:
        nearest = np.rint(rendition.frames).astype(np.int64).clip(0, len(fit.codes) - 1)
        weight = torch.from_numpy((fit.heard & fit.trusted[:, None])[nearest].astype(np.float32))
        same_shot = torch.from_numpy(fit.joined[np.minimum(nearest[:-1], len(fit.joined) - 1)].astype(np.float32))
        return cls(
            net.normalised(torch.from_numpy(rendition.rows)),
            torch.from_numpy(rendition.sampled(fit.codes)),
            weight,
            weight[1:] * weight[:-1] * same_shot[:, None],
        )

    def window(self, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        first = int(torch.randint(len(self.rows) - length + 1, ()))
        span = slice(first, first + length)
        return self.rows[span], self.codes[span], self.weight[span], self.joint[first : first + length - 1]


def part_of_frames(frames: int, members: int) -> np.ndarray:
    """Which of `members` equal parts each frame [T] lies in; a member does not train on the part of its number."""
    return np.arange(frames) * members // max(frames, 1)


def heard_by_members(frames: int, members: int) -> np.ndarray:
    """[T,M] bool: whether a member may train on a frame. A single member hears everything."""
    if members == 1:
        return np.ones((frames, 1), bool)
    part = part_of_frames(frames, members)
    padded = np.pad(part, _GAP, mode="edge")
    near = np.lib.stride_tricks.sliding_window_view(padded, 2 * _GAP + 1)  # [T,2*_GAP+1]
    return np.stack([~(near == member).any(1) for member in range(members)], axis=1)


def _joined(trusted: np.ndarray, cuts: tuple[int, ...]) -> np.ndarray:
    """[T-1] bool: whether a frame and the next one belong together."""
    joined = trusted[1:] & trusted[:-1]
    inside = [cut - 1 for cut in cuts if 1 <= cut <= len(joined)]
    joined[inside] = False
    return joined


def _disturbed(rows: Tensor) -> Tensor:
    """Rows [B,W,D] as another microphone, another room or a gap would give them."""
    batch, _, width = rows.shape
    knots = torch.randn(batch, 1, _TILT_KNOTS)
    tilt = functional.interpolate(knots, size=width, mode="linear", align_corners=True)
    rows = rows + _TILT * tilt + _NOISE * torch.randn_like(rows)
    for _ in range(_MASKS):
        first = torch.randint(max(width - _MASK_WIDTH, 1), ())
        rows[:, :, int(first) : int(first) + int(torch.randint(_MASK_WIDTH, ()))] = 0
    return rows


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1)
