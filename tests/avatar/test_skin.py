# SPDX-License-Identifier: Apache-2.0
"""The face's Gaussians stay at the surface they started on, however far the rest goes."""

from __future__ import annotations

import pytest
import torch

from avatar3d.avatar._scatter import HEAD, SHELL
from avatar3d.avatar._skin import Skin
from avatar3d.geometry import normalise

REACH = 0.012


@pytest.fixture
def ball() -> torch.Tensor:
    """Points on a ball of 1 u."""
    return normalise(torch.randn(3000, 3, generator=torch.Generator().manual_seed(0)))


def test_what_strays_comes_back_to_the_surface(ball: torch.Tensor) -> None:
    face = torch.full((len(ball),), HEAD)
    means = ball * torch.linspace(0.9, 1.1, len(ball))[:, None]
    Skin(ball, face).hold(means, face, REACH)
    off = (means.norm(dim=1) - 1).abs()
    assert off.median() == pytest.approx(REACH, abs=1e-3)
    assert off.max() < 2 * REACH  # a ball is not quite a plane


def test_what_is_near_stays_to_the_bit(ball: torch.Tensor) -> None:
    face = torch.full((len(ball),), HEAD)
    means = ball * 1.004
    before = means.clone()
    Skin(ball, face).hold(means, face, REACH)
    assert torch.equal(means, before)


def test_along_the_surface_and_beside_the_face_all_are_free(ball: torch.Tensor) -> None:
    group = torch.where(torch.arange(len(ball)) % 2 == 0, HEAD, SHELL)
    means = 1.2 * ball
    Skin(ball, group).hold(means, group, REACH)
    assert torch.equal(means[group == SHELL], 1.2 * ball[group == SHELL])
    assert (means[group == HEAD] - 1.2 * ball[group == HEAD]).norm(dim=1).min() > 0.15


def test_a_head_without_a_face_is_left_alone(ball: torch.Tensor) -> None:
    shell = torch.full((len(ball),), SHELL)
    means = 1.2 * ball
    Skin(ball, shell).hold(means, shell, REACH)
    assert torch.equal(means, 1.2 * ball)
