# SPDX-License-Identifier: Apache-2.0
"""The network that makes pictures larger."""

from __future__ import annotations

import torch
from torch.nn.functional import avg_pool2d, interpolate

from avatar3d.avatar._enlarger import REACH_PX, Enlarger


def _weights(seed: int = 0) -> dict[str, torch.Tensor]:
    return Enlarger().start(torch.Generator().manual_seed(seed))


def test_untrained_it_interpolates() -> None:
    picture = torch.rand(4, 9, 12)
    assert torch.equal(Enlarger()(picture, _weights()), interpolate(picture[None], scale_factor=2, mode="bilinear")[0])


def test_a_pixel_hangs_on_no_more_than_it_says() -> None:
    weights = _weights()
    weights["2"] = torch.randn(weights["2"].shape) * 0.01
    picture = torch.rand(4, 20, 20) * 0.2 + 0.4
    other = picture.clone()
    other[:, 10, 10] = 0.6
    changed = (Enlarger()(picture, weights) != Enlarger()(other, weights)).any(0).nonzero()
    low, high = 2 * (10 - REACH_PX), 2 * (10 + REACH_PX) + 1
    assert changed.amin(0).tolist() == [low, low] and changed.amax(0).tolist() == [high, high]


def test_it_learns_to_be_sharper_than_interpolation() -> None:
    g = torch.Generator().manual_seed(1)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")

    def stripes() -> torch.Tensor:
        turn, shift = torch.rand(2, generator=g) * 6
        wave = (0.9 * (x * turn.cos() + y * turn.sin()) + shift).sin()
        return (0.5 + 0.4 * (4 * wave).tanh()).expand(4, 64, 64)

    weights = {name: tensor.requires_grad_() for name, tensor in _weights().items()}
    optimiser = torch.optim.Adam(weights.values(), 3e-3)

    def error(sharp: torch.Tensor) -> torch.Tensor:
        return (Enlarger()(avg_pool2d(sharp, 2), weights) - sharp).square().mean()

    unseen = [stripes() for _ in range(4)]
    with torch.no_grad():
        before = sum(float(error(sharp)) for sharp in unseen)
    for _ in range(150):
        optimiser.zero_grad()
        error(stripes()).backward()
        optimiser.step()
    with torch.no_grad():
        assert sum(float(error(sharp)) for sharp in unseen) < 0.6 * before
