# SPDX-License-Identifier: Apache-2.0
"""Random numbers that depend on nothing but their seed."""

from __future__ import annotations

import torch

from avatar3d.seeds import mixed, seeded


def test_what_is_drawn_depends_on_the_seed_alone_and_the_callers_numbers_go_on() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    drawn = []
    for seed in (5, 5, 6):
        with seeded(seed):
            drawn.append(torch.rand(3))
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_neighbouring_numbers_share_no_seed() -> None:
    seeds = {mixed(seed, step, part) for seed in range(10) for step in range(-10, 100) for part in range(3)}
    assert len(seeds) == 10 * 110 * 3
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert mixed(3, 4) == mixed(3, 4, 0) != mixed(4, 3)
