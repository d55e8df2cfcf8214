# SPDX-License-Identifier: Apache-2.0
"""The default voice for speech that is still coming: `tcn`, looking ahead by 80 ms and judging silence by the past."""

from __future__ import annotations

from collections.abc import Iterator

from avatar3d.contracts import Listen, ListenLive
from avatar3d.errors import InputError
from avatar3d.motion._live import LiveVoice, joined
from avatar3d.motion._manner import Manner
from avatar3d.motion._tcn_net import TcnNet
from avatar3d.motion.tcn import Tcn
from avatar3d.records import Motion, Sound

__all__ = ["TcnLive"]

_AT_ONCE_S = 10  # of a whole sound


class TcnLive(Tcn):
    """A voice that can follow a sound (contracts.SpeakLive).

    What it says of a whole sound is what it says of the same sound chunk by chunk. The guard rail is the person's own
    range alone. All members are of one school, taught by clean and spoiled sound: whom to believe is known only after
    seconds of a sound, and pages take the plain mean.
    """

    schools = 1
    ahead = 2
    listen: ListenLive

    def __init__(self, listen: Listen, net: TcnNet, manner: Manner) -> None:
        if not isinstance(listen, ListenLive):
            raise InputError(
                f"{type(listen).__name__} cannot follow a sound that is still coming",
                "choose an audio feature that can, such as mel_live",
            )
        super().__init__(listen, net, manner)

    def live(self, rate: int, seed: int = 0) -> LiveVoice:
        """Begins to say a sound of `rate` Hz; the seed decides when the lids close."""
        return LiveVoice(self.listen.live(rate), self.listen.look_ahead_s, self.net, self.manner, seed)

    def __call__(self, sound: Sound, seed: int = 0) -> Motion:
        return joined(list(self._pieces(sound, seed)))

    def _pieces(self, sound: Sound, seed: int) -> Iterator[Motion]:
        voice, size = self.live(sound.rate, seed), _AT_ONCE_S * sound.rate
        for begin in range(0, len(sound.samples), size):
            yield voice.push(sound.samples[begin : begin + size])
        yield voice.close()
