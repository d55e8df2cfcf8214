# SPDX-License-Identifier: Apache-2.0
"""The default voice: a few small temporal convolution networks, trained on minutes of one person, that vote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from avatar3d.contracts import Described, Listen
from avatar3d.motion._at_rest import at_rest
from avatar3d.motion._manner import Manner
from avatar3d.motion._polish import blinks, speech_gate
from avatar3d.motion._saved import above, heard_by, under, with_tuples
from avatar3d.motion._schools import voted
from avatar3d.motion._tcn_fit import STAGES, TcnFit
from avatar3d.motion._tcn_net import TcnNet, TcnShape
from avatar3d.motion._tcn_onnx import written
from avatar3d.records import Motion, Sound, Track

__all__ = ["Tcn"]

_GAIN_RANGE = (0.25, 1.7)
# nearly as widely as the person's own from a correlation of .4 on: lips that are drawn shut make up for the rest
_LEAST_LIVELY, _LIVELY_PER_R, _MOST_LIVELY = 0.4, 1.2, 0.9


class Tcn:
    """Sound to motion of one person's face (contracts.Speak).

    The members vote (`_schools`). Each member has not heard one part of the capture, and that part tells how timid
    or bold it is on new sound: least squares shrinks what it cannot predict, and a few seconds are learned by heart.
    The gain of the person's `Manner` makes up for either, so that the mouth opens nearly as widely as the person's own;
    and less widely where the unheard parts were hardly foreseen, for there a wide mouth would only be wrong more often.

    Gaze and head stay at rest: whoever shows the motion lays them over.
    """

    stages = STAGES
    parts: ClassVar[int] = 5  # of the capture; a school has a member for each, who has not heard it
    schools: ClassVar[int] = 2
    ahead: ClassVar[int | None] = None  # rows after a frame that its prediction sees; None: as many as before it

    def __init__(self, listen: Listen, net: TcnNet, manner: Manner) -> None:
        self.listen, self.net, self.manner = listen, net, manner

    @classmethod
    def learner(cls, listen: Listen, sound: Sound, track: Track, cuts: tuple[int, ...], seed: int = 0) -> TcnFit:
        """What `avatar3d.fit.fit` trains; `learned` makes a voice of it."""
        shape = TcnShape(
            listen.width, track.basis.shape[2], cls.parts * cls.schools, schools=cls.schools, ahead=cls.ahead
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = TcnNet(shape)
        return TcnFit(net, listen, sound, track, cuts, seed)

    @classmethod
    def learned(cls, fit: TcnFit, listen: Listen, track: Track) -> Self:
        """The voice that a finished training gives."""
        lively = np.clip(_LEAST_LIVELY + _LIVELY_PER_R * fit.foreseen(), _LEAST_LIVELY, _MOST_LIVELY)
        gain = float(np.clip(lively / max(fit.timidity(), 1e-3), *_GAIN_RANGE))
        return cls(listen, fit.net.eval(), Manner.of(track, gain, fit.voiced))

    def __call__(self, sound: Sound, seed: int = 0) -> Motion:
        """Motion with T = round(sound.seconds * FPS) rows; the seed decides when the lids close."""
        rows = self.listen(sound)
        normalised = self.net.normalised(torch.from_numpy(rows)).numpy()
        said = voted(self.net.say(rows), normalised, self.net.shape.schools)
        expression = self.manner.kept_to(said, speech_gate(sound, self.manner.pause_frames))
        blink = blinks(len(rows), self.manner.habit, np.random.default_rng(seed))
        return at_rest(self.manner.with_lids(expression, blink), blink)

    def onnx(self) -> bytes | None:
        """The voice for programs without torch (contracts.Portable); what is in it, `_tcn_onnx.written` says."""
        if not isinstance(self.listen, Described):
            return None
        return written(self.net, self.manner, self.listen.described())

    def config(self) -> dict[str, Any]:
        """The network's shape as JSON values."""
        return asdict(self.net.shape)

    def tensors(self) -> dict[str, Tensor]:
        """Network and manner, by name."""
        return above("net.", self.net.state_dict()) | above("manner.", self.manner.tensors())

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], listen: Listen | None = None) -> Self:
        """The voice that `config()` and `tensors()` came from.

        Raises:
            InputError: `listen` is not the feature that it was trained on.
        """
        shape = TcnShape(**with_tuples(config))
        net = TcnNet(shape)
        net.load_state_dict(under("net.", tensors))
        return cls(heard_by(shape.features, listen), net.eval(), Manner.restore(under("manner.", tensors)))
