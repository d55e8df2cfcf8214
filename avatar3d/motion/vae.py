# SPDX-License-Identifier: Apache-2.0
"""A voice that can say the same in several ways: GeneFace++'s variational model, small enough for minutes of data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from avatar3d.contracts import Listen
from avatar3d.motion._at_rest import at_rest
from avatar3d.motion._manner import Manner
from avatar3d.motion._polish import blinks, speech_gate
from avatar3d.motion._saved import above, heard_by, under
from avatar3d.motion._sync import Judge
from avatar3d.motion._vae_fit import STAGES, TEMPERATURE, VaeFit
from avatar3d.motion._vae_net import STRIDE, VaeNet, VaeShape
from avatar3d.records import Motion, Sound, Track

__all__ = ["Vae"]

_GAIN_RANGE = (1.0, 1.7)  # more would turn what is only noise into a mouth that flaps


class Vae:
    """Sound to motion of one person's face (contracts.Speak).

    What is not decided by the sound is drawn from the prior, whose noise is scaled by the temperature: at 0 every seed
    says the same. Gain, range, silence and lids are the person's `Manner`, as those of `tcn`.
    """

    stages = STAGES

    def __init__(self, listen: Listen, net: VaeNet, manner: Manner, temperature: float = TEMPERATURE) -> None:
        self.listen, self.net, self.manner, self.temperature = listen, net, manner, temperature

    @classmethod
    def learner(
        cls,
        listen: Listen,
        sound: Sound,
        track: Track,
        cuts: tuple[int, ...],
        seed: int = 0,
        judge: Judge | None = None,
    ) -> VaeFit:
        """What `avatar3d.fit.fit` trains; `learned` makes a voice of it.

        Args:
            judge: of lip sync, whom stages ask whose weights name "sync".
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = VaeNet(VaeShape(listen.width, track.basis.shape[2]))
            return VaeFit(net, listen, sound, track, cuts, seed, judge)

    @classmethod
    def learned(cls, fit: VaeFit, listen: Listen, track: Track) -> Vae:
        """The voice that a finished training gives."""
        gain = float(np.clip(1 / max(fit.timidity(), 1e-3), *_GAIN_RANGE))
        return cls(listen, fit.vae.eval(), Manner.of(track, gain, fit.voiced))

    def __call__(self, sound: Sound, seed: int = 0) -> Motion:
        """Motion with T = round(sound.seconds * FPS) rows; the seed decides how it is said and when the lids close."""
        rows = self.listen(sound)
        rng = np.random.default_rng(seed)
        steps = -(-len(rows) // STRIDE)
        noise = self.temperature * rng.standard_normal((steps, self.net.vae_shape.latent), dtype=np.float32)
        gate = speech_gate(sound, self.manner.pause_frames)
        expression = self.manner.kept_to(self.net.say(rows, noise)[:, 0], gate)
        blink = blinks(len(rows), self.manner.habit, rng)
        return at_rest(self.manner.with_lids(expression, blink), blink)

    def config(self) -> dict[str, Any]:
        """The network's shape and the temperature as JSON values."""
        return asdict(self.net.vae_shape) | {"temperature": self.temperature}

    def tensors(self) -> dict[str, Tensor]:
        """Network and manner, by name."""
        return above("net.", self.net.state_dict()) | above("manner.", self.manner.tensors())

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], listen: Listen | None = None) -> Self:
        """The voice that `config()` and `tensors()` came from.

        Raises:
            InputError: `listen` is not the feature that it was trained on.
        """
        shape = VaeShape(**{name: value for name, value in config.items() if name != "temperature"})
        net = VaeNet(shape)
        net.load_state_dict(under("net.", tensors))
        manner = Manner.restore(under("manner.", tensors))
        return cls(heard_by(shape.features, listen), net.eval(), manner, config["temperature"])
