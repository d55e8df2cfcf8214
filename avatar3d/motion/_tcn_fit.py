# SPDX-License-Identifier: Apache-2.0
"""Training of `tcn` on one capture: what is drawn, what is compared, and what each member must not hear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatar3d.contracts import Listen
from avatar3d.motion._lip_space import LipSpace
from avatar3d.motion._net_fit import NetFit
from avatar3d.motion._schools import voted
from avatar3d.motion._tcn_net import TcnNet
from avatar3d.motion._voices import Rendition, renditions
from avatar3d.records import Sound, Stage, Track
from avatar3d.seeds import seeded

STAGES = (Stage("voice", 1.0, {"lips": 1.0, "velocity": 1.0, "aperture": 0.3}),)
RATE = 2e-3

_WINDOW, _BATCH = 64, 8
_FINE, _ROUGH = 3, 12  # renditions; the linear maps ...
_ROUGH_SOLVED = 5  # ... are solved for on so many of the rough ones
_CLEAN_SHARE = 0.4  # of the windows, drawn from the recording as it is
_TINY = 1e-9
_FINE_TO_ROUGH = 0.4  # how much the rough school learns from what is not spoiled: others say that better
_GAP = 8  # frames beside a left-out part that its member does not train on: neighbours look alike
_NOISE, _TILT = 0.15, 0.15  # of normalised features: independent, and smooth over the bands
_TILT_KNOTS = 5
_MASKS, _MASK_WIDTH = 2, 14  # stretches of features set to their mean (SpecAugment, Park et al., 2019)


class TcnFit(NetFit):
    """A `Fittable`: one network on the training frames of one capture.

    The capture's held-out frames are never read. Frames of confidence 0 count nothing, and no difference is taken
    across a cut.
    """

    net: TcnNet

    def __init__(
        self, net: TcnNet, listen: Listen, sound: Sound, track: Track, cuts: tuple[int, ...], seed: int
    ) -> None:
        frames = track.fitted_frames
        self.net, self.space = net, LipSpace.of(track)
        self.codes = track.motion.expression[:frames]
        self.trusted = track.confidence[:frames] > 0
        self.joined = _joined(self.trusted, cuts)
        self.heard = heard_by_members(frames, net.shape.members, net.shape.schools)
        rng = np.random.default_rng(seed)
        self.voiced = Sound(sound.samples[: round(frames * sound.rate / track.motion.fps)], sound.rate)
        made = renditions(self.voiced, listen, frames, _FINE, _ROUGH, rng)
        self.clean_rows = made[0].rows
        net.normalise_as(self.clean_rows)
        self.takes = [_Take.of(rendition, self, net) for rendition in made]
        net.solve_linear(self.for_ridge())
        self.window = min(_WINDOW, *(len(take.rows) for take in self.takes))
        with torch.no_grad():
            self.aperture_scale = float(self.space.aperture(torch.from_numpy(self.codes)).std()) + 1e-6

    def for_ridge(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """What the linear maps are solved for on, as `TcnNet.solve_linear` takes it."""
        return [take.for_ridge() for take in self.takes[: _FINE + _ROUGH_SOLVED]]

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

    def evaluate(self) -> dict[str, float]:
        """How well and how widely members open the mouth on the parts that they have not heard."""
        said, real = self.unheard_aperture()
        return {"aperture_r": _correlation(said, real), "aperture_gain": float(said.std() / (real.std() + _TINY))}

    def foreseen(self) -> float:
        """Correlation of the mouth's opening with the real one, on the parts that members have not heard."""
        return _correlation(*self.unheard_aperture())

    @torch.no_grad()
    def unheard_aperture(self) -> tuple[np.ndarray, np.ndarray]:
        """Opening of the mouth in trusted frames, said by the members that have not heard them; and the real one."""
        rows, by_part = self._said_by_part()
        frames = np.arange(len(rows))
        own = by_part[part_of_frames(len(rows), len(by_part)), frames]
        real = self.codes[: len(own)]
        trusted = self.trusted[: len(own)]
        made, truth = (self.space.aperture(torch.from_numpy(codes)).numpy()[trusted] for codes in (own, real))
        return made, truth

    @torch.no_grad()
    def timidity(self) -> float:
        """How much less than the person's own the mouth would open on new sound: a ratio of standard deviations."""
        made, real = self.unheard_aperture()
        _, by_part = self._said_by_part()
        apertures = self.space.aperture(torch.from_numpy(np.stack([*by_part, by_part.mean(0)]))).std(1)
        # the mean of members that differ moves less than each of them
        calmer = apertures[-1] / apertures[:-1].mean()
        return float(made.std() * calmer / (real.std() + _TINY))

    def _said_by_part(self) -> tuple[Tensor, np.ndarray]:
        """Normalised rows [T,D] of the recording, and what the members that miss each of P parts say to it, [P,T,K]."""
        shape = self.net.shape
        rows = self.net.normalised(torch.from_numpy(self.clean_rows))
        said = self.net.say(self.clean_rows)
        parts = shape.members // shape.schools
        return rows, np.stack([voted(said[:, part::parts], rows.numpy(), shape.schools) for part in range(parts)])

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
        self.weight = weight  # [T,M] how much a member learns, 0 where it must not
        self.joint = joint  # [T-1,M] the same of the step to the next row

    @classmethod
    def of(cls, rendition: Rendition, fit: TcnFit, net: TcnNet) -> _Take:
        nearest = np.rint(rendition.frames).astype(np.int64).clip(0, len(fit.codes) - 1)
        weight = torch.from_numpy((fit.heard & fit.trusted[:, None])[nearest].astype(np.float32))
        if net.shape.schools > 1:
            fine = net.shape.members // net.shape.schools
            weight[:, :fine] *= not rendition.rough
            weight[:, fine:] *= 1 if rendition.rough else _FINE_TO_ROUGH
        same_shot = torch.from_numpy(fit.joined[np.minimum(nearest[:-1], len(fit.joined) - 1)].astype(np.float32))
        return cls(
            net.normalised(torch.from_numpy(rendition.rows)),
            torch.from_numpy(rendition.sampled(fit.codes)),
            weight,
            torch.minimum(weight[1:], weight[:-1]) * same_shot[:, None],
        )

    def for_ridge(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.rows.numpy(), self.codes.numpy(), self.weight.numpy() > 0

    def window(self, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        first = int(torch.randint(len(self.rows) - length + 1, ()))
        span = slice(first, first + length)
        return self.rows[span], self.codes[span], self.weight[span], self.joint[first : first + length - 1]


def part_of_frames(frames: int, members: int) -> np.ndarray:
    """Which of `members` equal parts each frame [T] lies in; a school's member misses the part of its number."""
    return np.arange(frames) * members // max(frames, 1)


def heard_by_members(frames: int, members: int, schools: int = 1) -> np.ndarray:
    """[T,M] bool: whether a member may train on a frame, in each school alike. A single member hears everything."""
    parts = members // schools
    if parts == 1:
        return np.ones((frames, members), bool)
    padded = np.pad(part_of_frames(frames, parts), _GAP, mode="edge")
    near = np.lib.stride_tricks.sliding_window_view(padded, 2 * _GAP + 1)  # [T,2*_GAP+1]
    return np.tile(np.stack([~(near == part).any(1) for part in range(parts)], axis=1), schools)


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


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; 0 where one of the two stands still."""
    return float(np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std() + _TINY))


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1)
