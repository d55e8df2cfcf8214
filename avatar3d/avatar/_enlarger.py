# SPDX-License-Identifier: Apache-2.0
"""Makes a picture twice as large, sharper than interpolation does: a small network that one person's pictures teach.

GeneFace++ (Ye et al. 2023, arXiv 2305.00787) draws its field small and has a network of StyleGAN's blocks make it
larger, of a style that never changes; so plain convolutions say as much. All of them work on the small picture, and
the last one's channels are spread over 2 x 2 pixels (Shi et al. 2016, arXiv 1609.05158): a quarter of the cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad, pixel_shuffle, relu

CHANNELS = 4  # rgb times alpha, and alpha
REACH_PX = 3  # of the small picture, on which a pixel hangs: one for each layer


@dataclass(frozen=True)
class Enlarger:
    """The shape of the network; its weights are a dictionary of tensors (see `start`)."""

    width: int = 32  # channels within

    @property
    def _layers(self) -> tuple[tuple[int, int], ...]:
        return (CHANNELS, self.width), (self.width, self.width), (self.width, 4 * CHANNELS)

    def start(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights before training, of interpolation alone: of layers 0, 1 and 2 [out,in,3,3], and N_bias [out]."""
        found: dict[str, Tensor] = {}
        for number, (inner, outer) in enumerate(self._layers):
            kernel = torch.empty(outer, inner, 3, 3)
            kernel.uniform_(-1, 1, generator=generator).mul_((6 / (9 * inner)) ** 0.5)
            found |= {str(number): kernel, f"{number}_bias": torch.zeros(outer)}
        found["2"].zero_()
        return found

    def __call__(self, picture: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """A picture [4,h,w], rgb times alpha and alpha, as [4,2h,2w], 0..1."""
        seen = picture[None]
        for number in range(len(self._layers)):
            seen = relu(seen) if number else seen
            seen = conv2d(pad(seen, (1, 1, 1, 1), "replicate"), weights[str(number)], weights[f"{number}_bias"])
        smooth = interpolate(picture[None], scale_factor=2, mode="bilinear")
        return (smooth + pixel_shuffle(seen, 2))[0].clamp(0, 1)
