# SPDX-License-Identifier: Apache-2.0
"""The network behind `vae`: what is heard decides the course of the mouth, a latent variable how it is done this time.

After GeneFace++ (Ye et al., 2023) and its predecessors: a conditional variational autoencoder at a quarter of the frame
rate, whose prior is a normalising flow (Dinh et al., 2014: couplings that only shift, so that volume is kept).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avatar3d.motion._tcn_net import TcnNet, TcnShape

STRIDE = 4  # frames per step of the latent variable
_STEPS_AT_ONCE = 375


@dataclass(frozen=True)
class VaeShape:
    """The shape of the network."""

    features: int  # numbers per row that come in
    expressions: int  # numbers per row that go out
    hidden: int = 64
    latent: int = 16
    layers: int = 4  # of the decoder, and of the encoder that trains it
    couplings: int = 4
    coupling_hidden: int = 32
    coupling_layers: int = 2
    dropout: float = 0.3

    @property
    def reach_steps(self) -> int:
        """Latent steps before and after that one prediction sees."""
        frames = max(TcnShape(0, 0).contexts) + self.layers + 8
        return -(-frames // STRIDE) + self.couplings * (self.coupling_layers + 1)


class Wave(nn.Module):
    """Gated convolutions with a skip from every layer, told of a condition (WaveNet, van den Oord et al., 2016)."""

    def __init__(self, hidden: int, condition: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.gates = nn.ModuleList(nn.Conv1d(hidden, 2 * hidden, 3, padding=1) for _ in range(layers))
        self.told = nn.ModuleList(nn.Conv1d(condition, 2 * hidden, 1) for _ in range(layers))
        self.out = nn.ModuleList(nn.Conv1d(hidden, 2 * hidden, 1) for _ in range(layers))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """[B,H,T] from [B,H,T] and a condition [B,C,T]."""
        total = torch.zeros_like(x)
        for gate, told, out in zip(self.gates, self.told, self.out, strict=True):
            value, opened = (gate(x) + told(condition)).chunk(2, 1)
            kept = functional.dropout(torch.tanh(value) * torch.sigmoid(opened), self.dropout, self.training)
            on, skip = out(kept).chunk(2, 1)
            x, total = x + on, total + skip
        return total


class Coupling(nn.Module):
    """Shifts one half of the latent channels by what the other half and the condition say."""

    def __init__(self, shape: VaeShape) -> None:
        super().__init__()
        half = shape.latent // 2
        self.enter = nn.Conv1d(half, shape.coupling_hidden, 1)
        self.wave = Wave(shape.coupling_hidden, shape.hidden, shape.coupling_layers)
        self.leave = nn.Conv1d(shape.coupling_hidden, half, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, z: Tensor, condition: Tensor, sign: float) -> Tensor:
        """z [B,16,S] with its second half shifted; the sign -1 undoes +1."""
        fixed, moved = z.chunk(2, 1)
        shift = self.leave(self.wave(self.enter(fixed), condition))
        return torch.cat([fixed, moved + sign * shift], 1)


class Encoder(nn.Module):
    """Mean and log spread of the latent variable of a motion that is known; needed while training only."""

    def __init__(self, shape: VaeShape) -> None:
        super().__init__()
        self.enter = nn.Conv1d(shape.expressions, shape.hidden, 2 * STRIDE, STRIDE, padding=STRIDE // 2)
        self.wave = Wave(shape.hidden, shape.hidden, shape.layers)
        self.leave = nn.Conv1d(shape.hidden, 2 * shape.latent, 1)

    def forward(self, codes: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """[B,16,S] each, from expressions [B,T,K] and the condition [B,H,S]."""
        hidden = self.wave(functional.gelu(self.enter(codes.transpose(1, 2))), condition)
        mean, log_spread = self.leave(hidden).chunk(2, 1)
        return mean, log_spread.clamp(-6, 2)


class VaeNet(TcnNet):
    """Feature rows [B,T,D] and a latent variable [B,16,T/4] to expressions [B,T,K].

    It begins where `tcn` does, at linear maps, to which the decoder adds.
    """

    def __init__(self, shape: VaeShape) -> None:
        super().__init__(TcnShape(shape.features, shape.expressions, members=1, channels=1, dilations=()))
        self.vae_shape = shape
        self.hear = nn.Conv1d(shape.features, shape.hidden, 3, padding=1)
        self.hear_more = nn.Conv1d(shape.hidden, shape.hidden, 3, padding=1)
        self.flow = nn.ModuleList(Coupling(shape) for _ in range(shape.couplings))
        self.spread = nn.ConvTranspose1d(shape.latent, shape.hidden, 2 * STRIDE, STRIDE, padding=STRIDE // 2)
        self.decode = Wave(shape.hidden, shape.hidden, shape.layers, shape.dropout)
        self.leave_decode = nn.Conv1d(shape.hidden, shape.expressions, 1)
        nn.init.zeros_(self.leave_decode.weight)

    def condition(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What is heard, [B,H,T] frame by frame and [B,H,T/4] for the latent variable."""
        heard = self.hear_more(functional.gelu(self.hear(rows.transpose(1, 2))))
        heard = functional.dropout(functional.gelu(heard), self.vae_shape.dropout, self.training)
        return heard, functional.avg_pool1d(heard, STRIDE)

    def to_prior(self, z: Tensor, condition: Tensor) -> Tensor:
        """The latent variable [B,16,S] where the prior is a standard normal distribution."""
        for coupling in self.flow:
            z = coupling(z, condition, 1.0).flip(1)
        return z

    def from_prior(self, z: Tensor, condition: Tensor) -> Tensor:
        """Undoes `to_prior`."""
        for coupling in reversed(self.flow):
            z = coupling(z.flip(1), condition, -1.0)
        return z

    def decoded(self, rows: Tensor, heard: Tensor, z: Tensor) -> Tensor:
        """Expressions [B,T,K]."""
        base = super().forward(rows)[:, :, 0].detach()
        return base + self.leave_decode(self.decode(self.spread(z), heard)).transpose(1, 2)

    def forward(self, rows: Tensor, noise: Tensor | None = None) -> Tensor:
        """Expressions [B,T,1,K] of rows [B,T,D], T a multiple of 4, for noise [B,16,T/4] of the prior (None: 0)."""
        heard, slow = self.condition(rows)
        if noise is None:
            noise = rows.new_zeros(len(rows), self.vae_shape.latent, slow.shape[-1])
        return self.decoded(rows, heard, self.from_prior(noise, slow))[:, :, None]

    @torch.no_grad()
    def say(self, rows: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
        """Expressions [T,1,K] for feature rows [T,D] of any length, worked through in pieces.

        Args:
            noise: [S,16] of the prior, S = ceil(T / 4); None: zeros.
        """
        training = self.training
        self.eval()
        steps, reach = -(-len(rows) // STRIDE), self.vae_shape.reach_steps
        # what lies beyond the end must not depend on how the pieces fall
        scaled = self.normalised(torch.from_numpy(rows))
        scaled = functional.pad(scaled, (0, 0, 0, steps * STRIDE - len(rows)))
        drawn = torch.zeros(steps, self.vae_shape.latent) if noise is None else torch.from_numpy(noise)
        said = np.empty((steps * STRIDE, 1, self.vae_shape.expressions), np.float32)
        for begin in range(0, steps, _STEPS_AT_ONCE):
            end = min(begin + _STEPS_AT_ONCE, steps)
            first, last = max(begin - reach, 0), min(end + reach, steps)
            piece = self(scaled[None, first * STRIDE : last * STRIDE], drawn[first:last].T[None])[0].numpy()
            said[begin * STRIDE : end * STRIDE] = piece[(begin - first) * STRIDE : (end - first) * STRIDE]
        self.train(training)
        return said[: len(rows)]
