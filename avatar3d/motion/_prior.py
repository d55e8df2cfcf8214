# SPDX-License-Identifier: Apache-2.0
"""What several people's speech has in common: one network from sound to `CommonLips`, trained on all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from avatar3d.contracts import Listen
from avatar3d.motion._common_lips import CommonLips
from avatar3d.motion._net_fit import NetFit
from avatar3d.motion._saved import heard_by, with_tuples
from avatar3d.motion._tcn_fit import RATE, TcnFit
from avatar3d.motion._tcn_net import TcnNet, TcnShape
from avatar3d.records import Sound, Stage, Track
from avatar3d.seeds import seeded

STAGES = (Stage("prior", 1.0, {"lips": 1.0, "velocity": 1.0, "aperture": 0.3}),)


@dataclass(frozen=True)
class Person:
    """One capture to learn from."""

    sound: Sound
    track: Track
    cuts: tuple[int, ...]


class Prior:
    """A trained prior (contracts.Saved); it hears each speaker about the mean and spread of that speaker's features."""

    def __init__(self, net: TcnNet, listen: Listen) -> None:
        self.net, self.listen = net.eval().requires_grad_(False), listen

    @property
    def width(self) -> int:
        """Components that it says."""
        return self.net.shape.expressions

    def said(self, rows: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Components [T,C] float32 of feature rows [T,D] of a speaker whose features are about `mean` by `scale`."""
        return self.net.say((rows - mean) / scale).mean(1)

    def config(self) -> dict[str, Any]:
        """The network's shape as JSON values."""
        return asdict(self.net.shape)

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.net.state_dict())

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], listen: Listen | None = None) -> Self:
        """The prior that `config()` and `tensors()` came from.

        Raises:
            InputError: `listen` is not the feature that it was trained on.
        """
        net = TcnNet(TcnShape(**with_tuples(config)))
        net.load_state_dict(dict(tensors))
        return cls(net, heard_by(net.shape.features, listen))


class PriorFit(NetFit):
    """A `Fittable`: each step is one of `tcn`'s, on one of the people, in the space that all share."""

    net: TcnNet

    def __init__(self, listen: Listen, people: Sequence[Person], seed: int = 0) -> None:
        self.listen, self.lips = listen, CommonLips.of([person.track for person in people])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = TcnNet(TcnShape(listen.width, self.lips.axes.shape[-1], members=3))
        self.fits = [
            TcnFit(self.net, listen, person.sound, self.lips.track(person.track), person.cuts, seed)
            for person in people
        ]
        # each fit has scaled its own rows, so that the network takes rows as they are
        self.net.feature_mean.zero_()
        self.net.feature_scale.fill_(1.0)
        for fit in self.fits:
            fit.clean_rows = (fit.clean_rows - fit.clean_rows.mean(0)) / (fit.clean_rows.std(0) + 0.1)
        self.net.solve_linear([take for fit in self.fits for take in fit.for_ridge()])
        frames = np.sqrt([len(fit.clean_rows) for fit in self.fits])
        self.shares = torch.from_numpy(frames / frames.sum())

    def param_groups(self) -> list[dict[str, Any]]:
        return [{"name": "net", "params": list(self.net.parameters()), "lr": RATE, "weight_decay": 1e-4}]

    def losses(self, stage: Stage, progress: float, step: int, seeds: Sequence[int]) -> dict[str, Tensor]:
        with seeded(seeds[0]):
            chosen = int(torch.multinomial(self.shares, 1))
        return self.fits[chosen].losses(stage, progress, step, seeds)

    def evaluate(self) -> dict[str, float]:
        """How well members open the mouths of all people on the parts that they have not heard: the mean."""
        each = [fit.evaluate() for fit in self.fits]
        return {name: float(np.mean([figures[name] for figures in each])) for name in each[0]}

    def prior(self) -> Prior:
        """The prior as it stands."""
        return Prior(self.net, self.listen)
