# SPDX-License-Identifier: Apache-2.0
"""The field of a tri-plane head: where it reaches, what learns from it, how codes enter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avatar3d.avatar._triplane_field import Branch
from avatar3d.ops.mlp import mlp_reference

FACE, MOUTH = Branch((8, 12), 5, 3, 16, 9), Branch((10,), 5, 0, 16, 3)


def _weights(branch: Branch) -> dict[str, Tensor]:
    """As before training, but with planes that say something."""
    generator = torch.Generator().manual_seed(3)
    started = branch.start(generator)
    return started | {"planes": torch.randn(started["planes"].shape, generator=generator)}


def _points(count: int = 60) -> Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1


def _moved(branch: Branch, points: Tensor, weights: dict[str, Tensor]) -> Tensor:
    codes = torch.linspace(-1, 1, branch.lower + branch.upper)
    return branch.move(branch.look(points, weights), codes, weights)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_outside_the_box_nothing_moves_at_all(axis: int) -> None:
    points = _points()
    points[::2, axis] += 2 * FACE.half_u
    moved = _moved(FACE, points, _weights(FACE))
    assert torch.equal(moved[::2], torch.zeros_like(moved[::2]))
    assert moved[1::2].abs().min(1).values.max() > 0


@pytest.mark.parametrize("branch", [FACE, MOUTH])
def test_only_points_inside_teach_the_field(branch: Branch) -> None:
    points = _points()
    points[::2, 1] += 2 * branch.half_u
    points.requires_grad_()
    weights = {name: part.requires_grad_() for name, part in _weights(branch).items()}
    inside = torch.zeros(60, dtype=torch.bool)
    inside[1::2] = True

    def planes_gradient(rows: Tensor) -> Tensor:
        return torch.autograd.grad(_moved(branch, points, weights)[rows].square().sum(), weights["planes"])[0]

    assert not planes_gradient(~inside).any()
    assert planes_gradient(inside).any()
    (by_points,) = torch.autograd.grad(_moved(branch, points, weights).sum(), points)
    assert not by_points[~inside].any()
    assert by_points[inside].any(1).all()


def test_attention_has_a_factor_per_code_and_the_upper_faces_is_never_negative() -> None:
    looked = FACE.look(_points(), _weights(FACE))
    lower, upper = FACE.attention(looked)
    assert lower.shape == (60, 5)
    assert upper.shape == (60, 3)
    assert lower.min() < 0
    assert upper.min() == 0 < upper.max()


@pytest.mark.parametrize("branch", [FACE, MOUTH])
def test_codes_count_by_their_attention(branch: Branch) -> None:
    """Told as factors of weights, they give what they give as inputs."""
    weights, codes = _weights(branch), torch.linspace(-1, 2, branch.lower + branch.upper)
    looked = branch.look(_points(), weights)
    features, attention = looked.split([branch.grid.width, len(codes)], 1)
    expected = mlp_reference(torch.cat([features, attention * codes], 1), weights["motion"], branch.networks["motion"])
    assert torch.allclose(branch.move(looked, codes, weights), expected, atol=1e-5)


def test_without_attention_a_code_counts_everywhere_the_same() -> None:
    looked = MOUTH.look(_points(), _weights(MOUTH))
    assert torch.equal(looked[:, MOUTH.grid.width :], torch.ones(60, 5))


def test_it_stays_on_the_device_of_its_weights() -> None:
    """A tensor that is made elsewhere on the way cannot meet one that has no memory."""
    weights = {name: part.to("meta") for name, part in _weights(FACE).items()}
    points, codes = _points().to("meta"), torch.zeros(8, device="meta")
    assert FACE.move(FACE.look(points, weights), codes, weights).device.type == "meta"
