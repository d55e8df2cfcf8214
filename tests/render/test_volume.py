# SPDX-License-Identifier: Apache-2.0
"""The renderer of radiance fields against sums over the whole of every ray."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_draw import one_of_each_shape
from torch import Tensor

from avatar3d.contracts import DrawPixels
from avatar3d.errors import InputError
from avatar3d.geometry import intrinsics, rays
from avatar3d.records import Camera, Radiance
from avatar3d.render.native import Native
from avatar3d.render.volume import Volume

CELLS, SIDE_U, WIDTH, HEIGHT = 20, 2.0, 40, 30
DEPTH_U, WALL_U = 5.0, 7.0


def camera() -> Camera:
    view = torch.eye(4)
    view[:3, 3] = torch.tensor([0.1, -0.05, 0.2])
    return Camera(intrinsics(90.0, WIDTH, HEIGHT), view, WIDTH, HEIGHT)


def density_at(points: Tensor) -> Tensor:
    """A soft ball in the middle of the cube, with a hole."""
    from_middle = (points - 0.5).norm(dim=1)
    return 9 * torch.sigmoid((0.3 - from_middle) * 40) * torch.sigmoid((points[:, 0] - 0.4).abs() * 60 - 2)


def wall(origin: Tensor, ways: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A half transparent blue wall."""
    depth = (WALL_U - origin[2]) / ways[:, 2]
    alpha = torch.full_like(depth, 0.5)
    return alpha[:, None] * torch.tensor([0.1, 0.2, 0.9]), alpha, depth * ways[:, 2]


def ball(step_u: float = 0.01, most: int = 400) -> Radiance:
    middles = (torch.cartesian_prod(*[torch.arange(CELLS)] * 3) + 0.5) / CELLS
    cube_from_world = torch.eye(4) / SIDE_U
    cube_from_world[:3, 3] = -torch.tensor([-1.0, -1.0, DEPTH_U - 1]) / SIDE_U
    cube_from_world[3, 3] = 1
    return Radiance(
        cube_from_world=cube_from_world,
        occupied=((middles - 0.5).norm(dim=1) < 0.45).view(CELLS, CELLS, CELLS),
        step_u=step_u,
        most=most,
        density=lambda points: (density_at(points), points),
        colour=lambda given: given.clamp(0, 1),
        behind=wall,
        points=torch.zeros(0, 3),
    )


def thinned(cube_from_world: Tensor, factor: Tensor) -> Radiance:
    """The ball of factor[0] times its density and factor[1] times its colours, in another cube."""
    return replace(
        ball(0.03),
        cube_from_world=cube_from_world,
        density=lambda points: (density_at(points) * factor[0], points),
        colour=lambda given: given * factor[1],
    )


def summed(radiance: Radiance, view: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """rgb, alpha and depth [N,...] by a thousand points of every ray, none of them skipped."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    origin, ways = rays(torch.stack([x, y], -1).reshape(-1, 2) + 0.5, view.K, view.cam_from_world)
    along = torch.linspace(3.0, 7.0, 1001)[:-1] + 0.002
    turn, shift = radiance.cube_from_world[:3, :3], radiance.cube_from_world[:3, 3]
    points = (origin + along[None, :, None] * ways[:, None]) @ turn.T + shift
    flat = points.reshape(-1, 3)
    inside = ((flat >= 0) & (flat <= 1)).all(1)
    absorbed = (radiance.density(flat)[0] * inside).view(points.shape[:2]) * 0.004
    weight = (-(absorbed.cumsum(1) - absorbed)).exp() * (1 - (-absorbed).exp())
    z = along * (ways @ view.cam_from_world[2, :3])[:, None]
    alpha = weight.sum(1)
    rgb, depth = (weight[..., None] * points.clamp(0, 1)).sum(1), (weight * z).sum(1)
    back, back_alpha, back_depth = radiance.behind(origin, ways)
    light = 1 - alpha
    return rgb + light[:, None] * back, alpha + light * back_alpha, depth + light * back_alpha * back_depth


@pytest.mark.parametrize("graded", [False, True])
def test_a_picture_is_what_the_rays_sum_to(graded: bool) -> None:
    # what is hardly seen is left without colour where no gradient is asked for: fewer samples, each of which says more
    radiance, view = ball() if graded else ball(0.03, 120), camera()
    with torch.set_grad_enabled(graded):
        image = Volume()(radiance, view)
    for made, wanted, much in zip(
        (image.rgb.view(-1, 3), image.alpha.flatten(), image.depth.flatten()),
        summed(radiance, view),
        (1, 1, 5),
        strict=True,
    ):
        assert (made - wanted).abs().max() < (0.012 if graded else 0.03) * much
    assert float(image.alpha[HEIGHT // 2, WIDTH // 2]) > 0.9 and float(image.alpha[0, 0]) == pytest.approx(0.5)


def test_rounds_see_what_whole_rays_see() -> None:
    radiance, view = ball(0.05, 40), camera()
    at = torch.rand(500, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([WIDTH, HEIGHT])
    whole = Volume().pixels(radiance, view, at)
    with torch.no_grad():
        rounds = Volume().pixels(radiance, view, at)
    for name in ("rgb", "alpha", "depth"):
        assert (getattr(whole, name) - getattr(rounds, name)).abs().max() < 0.02


def test_what_is_not_occupied_is_not_looked_at() -> None:
    nothing = replace(ball(), occupied=torch.zeros(CELLS, CELLS, CELLS, dtype=torch.bool))
    image = Volume()(nothing, camera())
    assert torch.allclose(image.alpha, torch.full_like(image.alpha, 0.5))
    assert isinstance(Volume(), DrawPixels)


def test_gradients_reach_density_colour_and_the_cube() -> None:
    factor = torch.tensor([0.4, 0.8], requires_grad=True)
    cube = ball().cube_from_world.clone().requires_grad_()
    radiance = thinned(cube, factor)
    at = torch.tensor([[20.0, 15.0], [14.0, 12.0], [26.0, 20.0]])

    def loss() -> Tensor:
        image = Volume().pixels(radiance, camera(), at)
        return image.rgb.sum() + image.alpha.sum()

    by_factor, by_cube = torch.autograd.grad(loss(), [factor, cube])
    assert by_cube[:3].isfinite().all() and by_cube[:3].abs().sum() > 0
    for which in range(2):
        with torch.no_grad():
            factor[which] += 1e-2
        above = loss().item()
        with torch.no_grad():
            factor[which] -= 2e-2
        below = loss().item()
        with torch.no_grad():
            factor[which] += 1e-2
        assert (above - below) / 2e-2 == pytest.approx(float(by_factor[which]), rel=0.02)


def test_a_field_drawn_small_is_enlarged() -> None:
    """Odd sizes too: nothing of the picture is missing, and nothing lies half a pixel aside."""

    def doubled(picture: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(picture[None], scale_factor=2, mode="bilinear")[0]

    radiance = ball(0.03, 120)
    for width, height in ((WIDTH, HEIGHT), (WIDTH - 1, HEIGHT - 1)):
        view = replace(camera(), width=width, height=height)
        whole, grown = (Volume()(each, view) for each in (radiance, replace(radiance, enlarge=doubled)))
        assert grown.rgb.shape == (height, width, 3) and grown.alpha.shape == grown.depth.shape == (height, width)
        for name in ("rgb", "alpha", "depth"):
            soft = (getattr(whole, name) - getattr(grown, name)).abs()
            assert soft.mean() < 0.02 * (5 if name == "depth" else 1), name
    at = torch.tensor([[20.0, 15.0]])
    plain, enlarging = (
        Volume().pixels(each, camera(), at).rgb for each in (radiance, replace(radiance, enlarge=doubled))
    )
    assert torch.equal(plain, enlarging), "rays are cast as the camera says"


def test_each_renderer_refuses_what_another_draws() -> None:
    with pytest.raises(InputError, match="renderer volume: draws radiance fields, not Gaussians"):
        Volume()(one_of_each_shape(), camera())
    with pytest.raises(InputError, match="renderer native: draws Gaussians"):
        Native()(ball(), camera())
