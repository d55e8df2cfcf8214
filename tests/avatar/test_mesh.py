# SPDX-License-Identifier: Apache-2.0
"""Triangles that carry what is bound to them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avatar3d.avatar._mesh import carried, frames_of
from avatar3d.geometry import matrix_from_quat, quat_from_rotvec

G = torch.Generator().manual_seed(3)


def _corners(count: int = 20) -> Tensor:
    return torch.randn(count, 3, 3, generator=G, dtype=torch.float64)


def _matrix(carries: Tensor) -> Tensor:
    """The turns of [F,19]."""
    half = torch.cat([torch.ones_like(carries[:, :1]), carries[:, 12:15] / 2], 1)
    return matrix_from_quat(half)


def _moved(carries: Tensor, points: Tensor) -> Tensor:
    """Points [F,P,3], each row by its triangle."""
    return points @ carries[:, :9].unflatten(1, (3, 3)).transpose(1, 2) + carries[:, None, 9:12]


def test_a_frame_stands_square_on_its_triangle() -> None:
    corners = _corners()
    frames = frames_of(corners)
    assert torch.allclose(frames.axes.transpose(1, 2) @ frames.axes, torch.eye(3, dtype=torch.float64).expand(20, 3, 3))
    assert torch.allclose(torch.linalg.det(frames.axes), torch.ones(20, dtype=torch.float64))
    normal = frames.axes[:, :, 2]
    for edge in (corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]):
        assert (normal * edge).sum(1).abs().max() < 1e-9
    assert torch.allclose(frames_of(3 * corners).sizes, 3 * frames.sizes)


def test_what_is_bound_goes_along_with_a_turn_a_shift_and_a_growth() -> None:
    corners, points = _corners(), torch.randn(20, 5, 3, generator=G, dtype=torch.float64)
    R = matrix_from_quat(quat_from_rotvec(torch.tensor([0.3, -0.8, 0.5], dtype=torch.float64)))
    shift = torch.tensor([0.1, 2.0, -0.7], dtype=torch.float64)
    carries = carried(corners, frames_of(corners), 1.3 * corners @ R.T + shift)
    assert torch.allclose(_moved(carries, points), 1.3 * points @ R.T + shift)
    assert torch.allclose(_matrix(carries), R.expand(20, 3, 3))
    assert torch.allclose(carries[:, 18].exp(), torch.full((20,), 1.3, dtype=torch.float64))


def test_points_on_a_triangle_keep_their_place_however_it_is_bent() -> None:
    corners, bent = _corners(), _corners()
    shares = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.2, 0.3, 0.5]], dtype=torch.float64)
    assert torch.allclose(_moved(carried(corners, frames_of(corners), bent), shares @ corners), shares @ bent)


def test_neighbours_carry_their_common_edge_to_one_place() -> None:
    vertices = torch.randn(4, 3, generator=G, dtype=torch.float64)
    bent = vertices + 0.3 * torch.randn(4, 3, generator=G, dtype=torch.float64)
    faces = torch.tensor([[0, 1, 2], [2, 1, 3]])
    edge = (vertices[1] + vertices[2])[None, None] / 2
    both = _moved(carried(vertices[faces], frames_of(vertices[faces]), bent[faces]), edge.expand(2, 1, 3))
    assert torch.allclose(both[0], both[1])


def test_gradients_are_those_of_finite_differences() -> None:
    corners = _corners(3)
    moved = (corners + 0.2 * _corners(3)).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: carried(corners, frames_of(corners), m), (moved,))


@pytest.mark.parametrize("spoilt", [torch.zeros(3, 3), torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])])
def test_a_triangle_that_closes_gives_no_nan(spoilt: Tensor) -> None:
    """As an eye does."""
    moved = spoilt[None].clone().requires_grad_()
    carries = carried(torch.eye(3)[None], frames_of(torch.eye(3)[None]), moved)
    carries.sum().backward()
    assert moved.grad is not None
    assert torch.isfinite(carries).all() and torch.isfinite(moved.grad).all()
