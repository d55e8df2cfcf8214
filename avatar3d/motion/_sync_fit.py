# SPDX-License-Identifier: Apache-2.0
"""Training of the judge of lip sync on one capture."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatar3d.contracts import Listen
from avatar3d.motion._lip_space import LipSpace
from avatar3d.motion._net_fit import NetFit
from avatar3d.motion._sync import LONGEST_SHIFT, WINDOW, Judge, SyncNet
from avatar3d.motion._tcn_fit import _disturbed, _joined
from avatar3d.motion._voices import renditions
from avatar3d.records import Sound, Stage, Track
from avatar3d.seeds import seeded

STAGES = (Stage("judge", 1.0, {"contrast": 1.0}),)
_RATE, _RENDITIONS = 2e-3, 4
_ANCHORS, _STRANGERS = 96, 24
_NEAR_SHARE, _NEAREST = 0.6, 3  # of strangers: so many lie this many frames or more away, the others anywhere
_SHARPNESS = 6.0  # of the softmax over cosines
_UNHEARD = 10  # the last of so many parts of the training frames is kept for review


class SyncFit(NetFit):
    """A `Fittable`: two networks on the training frames of one capture, whose held-out frames are never read."""

    net: SyncNet

    def __init__(self, listen: Listen, sound: Sound, track: Track, cuts: tuple[int, ...], seed: int = 0) -> None:
        frames = track.fitted_frames
        known = frames * (_UNHEARD - 1) // _UNHEARD
        codes = track.motion.expression[:frames]
        voiced = Sound(sound.samples[: round(frames * sound.rate / track.motion.fps)], sound.rate)
        self.listen, self.codes = listen, codes
        self.rows = listen(voiced)
        trusted = track.confidence[:frames] > 0
        whole = _whole_windows(trusted, cuts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = SyncNet(listen.width, codes.shape[1])
        taught = Sound(sound.samples[: round(known * sound.rate / track.motion.fps)], sound.rate)
        made = renditions(taught, listen, known, _RENDITIONS, 0, np.random.default_rng(seed))
        self.net.mean.copy_(torch.from_numpy(made[0].rows.mean(0)))
        self.net.scale.copy_(torch.from_numpy(made[0].rows.std(0) + 0.1))
        self.net.get_buffer("to_lips").copy_(LipSpace.of(track).to_lips)
        self.takes = [
            (torch.from_numpy(one.rows), torch.from_numpy(one.sampled(codes)), _centres(whole, one.frames))
            for one in made
        ]
        self.review = slice(known + WINDOW, min(frames, len(self.rows)))

    def param_groups(self) -> list[dict[str, Any]]:
        return [{"name": "net", "params": list(self.net.parameters()), "lr": _RATE, "weight_decay": 1e-3}]

    def losses(
        self,
        stage: Stage,  # noqa: ARG002 - Fittable's
        progress: float,  # noqa: ARG002
        step: int,  # noqa: ARG002
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        with seeded(seeds[0]):
            rows, codes, centres = self.takes[int(torch.randint(len(self.takes), ()))]
            spread = self.net.scale
            disturbed = self.net.mean + spread * _disturbed(((rows - self.net.mean) / spread)[None])
            heard, seen = self.net.heard(disturbed)[0], self.net.seen(codes[None])[0]
            anchors = centres[torch.randint(len(centres), (_ANCHORS,))]
            strangers = _strangers(anchors, centres)
        by_ear = torch.einsum("ad,asd->as", heard[anchors], seen[strangers])
        by_eye = torch.einsum("ad,asd->as", seen[anchors], heard[strangers])
        together = (heard[anchors] * seen[anchors]).sum(-1, keepdim=True)
        first = torch.zeros(_ANCHORS, dtype=torch.long)
        both = [functional.cross_entropy(_SHARPNESS * torch.cat([together, others], 1), first)
                for others in (by_ear, by_eye)]  # fmt: skip
        return {"contrast": sum(both[1:], start=both[0]) / 2}

    def evaluate(self) -> dict[str, float]:
        """How well true lips are told from lips five frames off, on the part kept for review; and what is found there
        of a shift of three.
        """
        figures = sync_figures(self.judge(), self.rows[self.review], self.codes[self.review])
        return {name: value for name, value in figures.items() if value is not None}

    def judge(self) -> Judge:
        """The judge as it stands."""
        return Judge(deepcopy(self.net), self.listen)


def sync_figures(judge: Judge, rows: np.ndarray, codes: np.ndarray) -> dict[str, float | None]:
    """What a judge says of rows [T,D] and expressions [T,K] that belong together, and of the same 3 frames apart.

    Returns:
        margin: agreement less that with lips five frames off, the mean of earlier and later; offset_frames and
        offset_of_3_frames, as it finds them; confidence. None for too short a piece.
    """
    agreed = [judge.agreement(rows, codes, shift) for shift in (0, -5, 5)]
    found, moved = judge.offset(rows, codes), judge.offset(rows[3:], codes[:-3])
    if found is None or moved is None or None in agreed:
        return dict.fromkeys(("margin", "offset_frames", "offset_of_3_frames", "confidence"))
    together, early, late = (value for value in agreed if value is not None)
    return {
        "margin": together - (early + late) / 2,
        "offset_frames": float(found.frames),
        "offset_of_3_frames": float(moved.frames),
        "confidence": found.confidence,
    }


def _whole_windows(trusted: np.ndarray, cuts: tuple[int, ...]) -> np.ndarray:
    """[T] bool: whether all frames about a frame are trusted and of its shot."""
    joined = np.concatenate([[False], _joined(trusted, cuts), [False]])  # whether frame t follows t-1
    steps = np.asarray(np.lib.stride_tricks.sliding_window_view(joined, WINDOW - 1).all(1))
    whole = np.zeros(len(trusted), bool)
    edge = WINDOW // 2
    whole[edge : len(trusted) - edge] = steps[edge - 1 : edge - 1 + len(trusted) - 2 * edge]
    return whole


def _centres(whole: np.ndarray, frames: np.ndarray) -> Tensor:
    """Rows of a rendition about which windows can be taken."""
    nearest = np.rint(frames).astype(np.int64).clip(0, len(whole) - 1)
    usable = whole[nearest]
    usable[: WINDOW // 2] = usable[-(WINDOW // 2) :] = False
    return torch.from_numpy(np.flatnonzero(usable))


def _strangers(anchors: Tensor, centres: Tensor) -> Tensor:
    """Rows [A,S] that do not belong to the anchors [A]: most a little earlier or later, the others of other times."""
    shape = (len(anchors), _STRANGERS)
    far = centres[torch.randint(len(centres), shape)]
    shift = torch.randint(_NEAREST, LONGEST_SHIFT + 1, shape) * (2 * torch.randint(2, shape) - 1)
    near = (anchors[:, None] + shift).clamp(int(centres[0]), int(centres[-1]))
    chosen = torch.where(torch.rand(shape) < _NEAR_SHARE, near, far)
    # what lies too near for a difference is turned away to the far side
    close = (chosen - anchors[:, None]).abs() < _NEAREST
    away = torch.where(anchors > centres[len(centres) // 2], centres[0], centres[-1])
    return torch.where(close, away[:, None].expand(shape), chosen)
