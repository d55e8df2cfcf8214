# SPDX-License-Identifier: Apache-2.0
"""A voice for whom there are only seconds of video: its own few words and what others' speech has taught."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from avatar3d.contracts import Listen
from avatar3d.errors import InputError
from avatar3d.motion._at_rest import at_rest
from avatar3d.motion._manner import Manner
from avatar3d.motion._net_fit import NetFit
from avatar3d.motion._polish import blinks, speech_gate
from avatar3d.motion._prior import Prior
from avatar3d.motion._saved import under, with_tuples
from avatar3d.motion._tcn_fit import STAGES, TcnFit
from avatar3d.motion._tcn_net import TcnNet, TcnShape
from avatar3d.records import Motion, Sound, Stage, Track

__all__ = ["Primed"]

_CONTEXTS = (1, 2)  # rows: what is heard about them, the prior has seen
_CHANNELS = 16
_PARTS = ("own", "primed")
_GAIN_RANGE = (1.0, 1.7)  # more would turn what is only noise into a mouth that flaps


class PrimedEar:
    """What the prior says of a sound, as an audio feature (contracts.Listen).

    Attributes:
        mean, scale: [D] of the person's features.
    """

    def __init__(self, prior: Prior, mean: np.ndarray, scale: np.ndarray) -> None:
        self.prior, self.mean, self.scale = prior, mean, scale
        self.width, self.look_ahead_s = prior.width, prior.listen.look_ahead_s

    @classmethod
    def of(cls, prior: Prior, rows: np.ndarray) -> PrimedEar:
        """The ear of a speaker whose feature rows are [T,D]."""
        return cls(prior, rows.mean(0), rows.std(0) + 0.1)

    def __call__(self, sound: Sound) -> np.ndarray:
        return self.said(self.prior.listen(sound))

    def said(self, rows: np.ndarray) -> np.ndarray:
        """[T,C] for the person's feature rows [T,D]."""
        return self.prior.said(rows, self.mean, self.scale)


class PrimedFit(NetFit):
    """A `Fittable`: two trainings of `tcn` at once, one on the person's own features, one on what the prior says."""

    def __init__(self, own: TcnFit, primed: TcnFit, ear: PrimedEar) -> None:
        self.parts, self.ear = (own, primed), ear

    def param_groups(self) -> list[dict[str, Any]]:
        learned = [parameter for part in self.parts for parameter in part.net.parameters()]
        return [self.parts[0].param_groups()[0] | {"params": learned}]

    def losses(self, stage: Stage, progress: float, step: int, seeds: Sequence[int]) -> dict[str, Tensor]:
        own, primed = (part.losses(stage, progress, step, seeds) for part in self.parts)
        return {name: own[name] + primed[name] for name in own}

    def snapshot(self) -> dict[str, Tensor]:
        return {f"{name}.{key}": tensor for name, part in self._named() for key, tensor in part.snapshot().items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        for name, part in self._named():
            part.restore(under(f"{name}.", tensors))

    def evaluate(self) -> dict[str, float]:
        """How well and how widely both together open the mouth on the parts that their members have not heard."""
        said, real = self.unheard_aperture()
        return {"aperture_r": float(np.corrcoef(said, real)[0, 1]), "aperture_gain": float(said.std() / real.std())}

    def unheard_aperture(self) -> tuple[np.ndarray, np.ndarray]:
        """Opening of the mouth in trusted frames, the mean of both; and the real one."""
        (own, real), (primed, _) = (part.unheard_aperture() for part in self.parts)
        return (own + primed) / 2, real

    def timidity(self) -> float:
        """How much less than the person's own the mouth would open on new sound: a ratio of standard deviations."""
        said, real = self.unheard_aperture()
        # each part's members move less together than alone; what both share is in `said` already
        alone = [part.unheard_aperture()[0].std() / real.std() for part in self.parts]
        calmer = np.mean([part.timidity() / one for part, one in zip(self.parts, alone, strict=True)])
        return float(said.std() / real.std() * calmer)

    def _named(self) -> Iterator[tuple[str, TcnFit]]:
        yield from zip(_PARTS, self.parts, strict=True)


class Primed:
    """Sound to motion of one person's face (contracts.Speak).

    The mean of two: `tcn` on the person's own features, and a smaller one from the prior's lips to theirs. They err in
    different ways, so that their mean is better than either, also where there are minutes to learn from.
    """

    stages = STAGES

    def __init__(self, ear: PrimedEar, nets: tuple[TcnNet, TcnNet], manner: Manner) -> None:
        self.listen, self.ear, self.nets, self.manner = ear.prior.listen, ear, nets, manner

    @classmethod
    def learner(
        cls,
        listen: Listen,
        sound: Sound,
        track: Track,
        cuts: tuple[int, ...],
        seed: int = 0,
        prior: Prior | None = None,
    ) -> PrimedFit:
        """What `avatar3d.fit.fit` trains; `learned` makes a voice of it.

        Raises:
            InputError: there is no prior.
        """
        if prior is None:
            raise InputError("the voice primed begins with a prior", "name one with --prior FILE, see avatar3d prior")
        until = round(track.fitted_frames * sound.rate / track.motion.fps)
        ear = PrimedEar.of(prior, listen(Sound(sound.samples[:until], sound.rate)))
        codes = track.basis.shape[2]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            own = TcnNet(TcnShape(listen.width, codes))
            primed = TcnNet(TcnShape(ear.width, codes, channels=_CHANNELS, contexts=_CONTEXTS))
        parts = ((own, listen), (primed, ear))
        first, second = (TcnFit(net, heard, sound, track, cuts, seed) for net, heard in parts)
        return PrimedFit(first, second, ear)

    @classmethod
    def learned(cls, fit: PrimedFit, listen: Listen, track: Track) -> Primed:  # noqa: ARG003 - as other voices
        """The voice that a finished training gives."""
        gain = float(np.clip(1 / max(fit.timidity(), 1e-3), *_GAIN_RANGE))
        own, primed = (part.net.eval() for part in fit.parts)
        return cls(fit.ear, (own, primed), Manner.of(track, gain, fit.parts[0].voiced))

    def __call__(self, sound: Sound, seed: int = 0) -> Motion:
        """Motion with T = round(sound.seconds * FPS) rows; the seed decides when the lids close."""
        rows = self.listen(sound)
        said = [net.say(heard).mean(1) for net, heard in zip(self.nets, (rows, self.ear.said(rows)), strict=True)]
        expression = self.manner.kept_to(np.mean(said, axis=0), speech_gate(sound, self.manner.pause_frames))
        blink = blinks(len(rows), self.manner.habit, np.random.default_rng(seed))
        return at_rest(self.manner.with_lids(expression, blink), blink)

    def config(self) -> dict[str, Any]:
        """The shapes of the networks as JSON values."""
        shapes = {name: asdict(net.shape) for name, net in zip(_PARTS, self.nets, strict=True)}
        return shapes | {"prior": self.ear.prior.config()}

    def tensors(self) -> dict[str, Tensor]:
        """The networks, the person's features and manner, by name."""
        parts = {"prior": self.ear.prior.tensors(), "manner": self.manner.tensors()}
        parts |= {name: net.state_dict() for name, net in zip(_PARTS, self.nets, strict=True)}
        named = {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
        return named | {"ear.mean": torch.from_numpy(self.ear.mean), "ear.scale": torch.from_numpy(self.ear.scale)}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], listen: Listen | None = None) -> Self:
        """The voice that `config()` and `tensors()` came from.

        Raises:
            InputError: `listen` is not the feature that its prior was trained on.
        """
        prior = Prior.restore(config["prior"], under("prior.", tensors), listen)
        heard = under("ear.", tensors)
        nets = []
        for name in _PARTS:
            net = TcnNet(TcnShape(**with_tuples(config[name])))
            net.load_state_dict(under(f"{name}.", tensors))
            nets.append(net.eval())
        ear = PrimedEar(prior, heard["mean"].numpy(), heard["scale"].numpy())
        return cls(ear, (nets[0], nets[1]), Manner.restore(under("manner.", tensors)))
