# SPDX-License-Identifier: Apache-2.0
"""Training of `vae` on one capture: an encoder that sees the true motion teaches a decoder that hears the sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatar3d.contracts import Listen
from avatar3d.motion._sync import Judge
from avatar3d.motion._tcn_fit import RATE, TcnFit, _disturbed, _mean
from avatar3d.motion._vae_net import Encoder, VaeNet
from avatar3d.records import Sound, Stage, Track
from avatar3d.seeds import seeded

# the encoder's knowledge is worth little beside what is heard: on a minute of video a larger weight of "unled" than of
# "lips" is what keeps the decoder listening
STAGES = (Stage("voice", 1.0, {"lips": 0.5, "velocity": 3.0, "unled": 1.0, "kl": 0.05}),)
TEMPERATURE = 0.2  # spread of the prior's noise when speaking

_UNHEARD = 10  # the last of so many parts of the training frames is kept for review
_GAP = 8  # frames before it that are not reviewed: their neighbours were trained on


class VaeFit(TcnFit):
    """A `Fittable`, on the data and with the disturbances of `tcn`. The capture's held-out frames are never read."""

    def __init__(
        self,
        net: VaeNet,
        listen: Listen,
        sound: Sound,
        track: Track,
        cuts: tuple[int, ...],
        seed: int,
        judge: Judge | None = None,
    ) -> None:
        kept = track.fitted_frames * (_UNHEARD - 1) // _UNHEARD
        super().__init__(net, listen, sound, replace(track, fitted_frames=kept), cuts, seed)
        self.judge = judge
        self.vae, self.encoder = net, Encoder(net.vae_shape)
        self.window -= self.window % 4
        until = round(track.fitted_frames * sound.rate / track.motion.fps)
        self.all_rows = listen(Sound(sound.samples[:until], sound.rate))
        self.review = slice(kept + _GAP, min(track.fitted_frames, len(self.all_rows)))
        self.review_codes = track.motion.expression[self.review]
        self.review_trusted = track.confidence[self.review] > 0

    def param_groups(self) -> list[dict[str, Any]]:
        learned = [*self.vae.parameters(), *self.encoder.parameters()]
        return [{"name": "net", "params": learned, "lr": RATE, "weight_decay": 1e-4}]

    def losses(
        self,
        stage: Stage,
        progress: float,  # noqa: ARG002 - Fittable's
        step: int,  # noqa: ARG002
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        with seeded(seeds[0]):
            rows, codes, weight, joint = self._batch()
            rows, codes, weight, joint = _disturbed(rows), codes[:, :, 0], weight[..., 0], joint[..., 0]
            heard, slow = self.vae.condition(rows)
            mean, log_spread = self.encoder(codes, slow)
            drawn = torch.randn_like(mean)
            z = mean + log_spread.exp() * drawn
            prior = self.vae.to_prior(z, slow)
            guessed = self.vae.from_prior(TEMPERATURE * torch.randn_like(mean), slow)
            led, unled = (self.vae.decoded(rows, heard, latent) for latent in (z, guessed))
        wrong, astray = ((said - codes) @ self.space.to_lips for said in (led, unled))
        jerk = wrong[:, 1:] - wrong[:, :-1]
        # log q(z) - log p(z) of the z that was drawn
        divergence = prior.square() / 2 - drawn.square() / 2 - log_spread
        terms = {
            "lips": _mean(wrong.square().sum(-1), weight),
            "velocity": _mean(jerk.square().sum(-1), joint),
            "unled": _mean(astray.square().sum(-1), weight),
            "kl": divergence.mean(),
        }
        if self.judge is not None and "sync" in stage.weights:
            raw = rows * self.vae.feature_scale + self.vae.feature_mean
            terms["sync"] = self.judge.disagreement(raw, unled)
        return terms

    def snapshot(self) -> dict[str, Tensor]:
        learned = {f"encoder.{name}": tensor for name, tensor in self.encoder.state_dict().items()}
        return super().snapshot() | learned

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        of_encoder = {name: tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
        self.encoder.load_state_dict({name.removeprefix("encoder."): t for name, t in of_encoder.items()})
        super().restore({name: tensor for name, tensor in tensors.items() if name not in of_encoder})

    @torch.no_grad()
    def unheard_aperture(self) -> tuple[np.ndarray, np.ndarray]:
        """Opening of the mouth in the trusted frames kept for review, as it would be said; and the real one."""
        codes = self.vae.say(self.all_rows)[self.review, 0], self.review_codes
        made, real = (self.space.aperture(torch.from_numpy(part)).numpy() for part in codes)
        return made[self.review_trusted], real[self.review_trusted]

    def timidity(self) -> float:
        """How much less than the person's own the mouth would open on new sound: a ratio of standard deviations."""
        made, real = self.unheard_aperture()
        return float(made.std() / max(real.std(), 1e-6))
