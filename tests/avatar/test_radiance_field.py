# SPDX-License-Identifier: Apache-2.0
"""The fields of NeRF heads: what the papers write as one concatenation is computed as one row."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from avatar3d.avatar._radiance_field import Field, Told, attended, attention_start
from avatar3d.avatar._told_mlp import ToldMlp
from avatar3d.avatar._torso_field import Torso

SMALL = {"cells": (4, 8), "hidden": 16, "hidden_ambient": 8, "hidden_colour": 8, "given": 5, "hull_cells": 4}
FIELDS = {
    "rad-nerf": Field(3, 2, 4, **SMALL),
    "er-nerf": Field(3, 2, 4, planes=True, ambient=0, **SMALL),
    "geneface++": Field(3, 2, 4, ambient=3, **SMALL),
    "rad-nerf, ngp": Field(3, 2, 4, layout="ngp", **SMALL),
    "er-nerf, ngp": Field(3, 2, 4, planes=True, ambient=0, layout="ngp", **SMALL),
}


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def _weights(field: Field | Torso) -> dict[str, Tensor]:
    """As if trained: tables that are not next to nothing."""
    weights = field.start(_generator())
    g = _generator()
    return {k: torch.randn(v.shape, generator=g) * 0.3 if k.endswith("planes") else v for k, v in weights.items()}


def _told(scale: float = 1.0) -> Told:
    g = _generator()
    return Told(*(scale * torch.randn(count, generator=g) for count in (3, 2, 4)))


def test_told_numbers_are_as_good_as_inputs() -> None:
    network, g = ToldMlp((5, 8, 3), 4), _generator()
    weights = network.start("it", g)
    inputs, told = torch.randn(6, 5, generator=g), torch.randn(4, generator=g)
    factors = torch.randn(5, generator=g)
    first, last = weights["it"][:40].view(5, 8), weights["it"][40:].view(8, 3)
    together = torch.cat([inputs, told.expand(6, 4)], 1)
    wanted = (together @ torch.cat([first, weights["it_told"]])).relu() @ last
    assert torch.allclose(network("it", [inputs[:, :2], inputs[:, 2:]], told, weights), wanted, atol=1e-5)
    by_factor = torch.cat([inputs * factors, told.expand(6, 4)], 1)
    wanted = (by_factor @ torch.cat([first, weights["it_told"]])).relu() @ last
    assert torch.allclose(network("it", [inputs], told, weights, factors), wanted, atol=1e-5)


@pytest.mark.parametrize("name", FIELDS)
def test_every_code_is_heard_and_every_weight_learns(name: str) -> None:
    field, weights = FIELDS[name], _weights(FIELDS[name])
    weights = {key: tensor.requires_grad_() for key, tensor in weights.items()}
    points = torch.rand(40, 3, generator=_generator())
    told = _told()
    given = Told(*(part.requires_grad_() for part in (told.lower, told.upper, told.shade)))
    density, features, reached = field.density(points, given, weights)
    colour = field.colour(features, given, weights)
    assert density.shape == (40,) and (density > 0).all() and ((colour > 0) & (colour < 1)).all()
    assert reached.shape[1] == (field.ambient or 5)
    (density.log().sum() + colour.square().sum()).backward()
    for key, tensor in weights.items():
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0, key
    for part in (given.lower, given.upper, given.shade):
        assert part.grad is not None and (part.grad.abs() > 0).all()


def test_a_field_of_half_precision_is_one_of_rounded_grids() -> None:
    field, weights, told = FIELDS["rad-nerf"], _weights(FIELDS["rad-nerf"]), _told()
    rounded = {k: v.half().float() if k in ("planes", "ambient_planes") else v for k, v in weights.items()}
    points = torch.rand(40, 3, generator=_generator())
    seen = replace(field, half=True).density(points, told, weights)
    assert all(torch.equal(a, b) for a, b in zip(seen, field.density(points, told, rounded), strict=True))
    assert not torch.equal(seen[0], field.density(points, told, weights)[0])


def test_the_other_layout_has_levels_from_the_same_coarsest_to_about_the_same_finest() -> None:
    field = Field(3, 2, 4, layout="ngp")
    assert len(field.grid.resolutions) == len(field.cells)
    assert field.grid.resolutions[0] == field.cells[0]
    assert field.cells[-1] - 3 < field.grid.resolutions[-1] < field.cells[-1]
    assert field.ambient_grid.scales == (7, 15, 31, 63)
    assert field.hull_grid.layout == "lines"


def test_an_untrained_shape_does_not_pulse_with_the_expression() -> None:
    field = FIELDS["er-nerf"]
    weights, told, points = field.start(_generator()), _told(), torch.rand(20, 3, generator=_generator())
    other = Told(-told.lower, told.upper, told.shade)
    first, second = (field.density(points, one, weights)[0] for one in (told, other))
    assert torch.allclose(first, second, rtol=1e-3)


def test_the_density_has_a_limit() -> None:
    field, weights = FIELDS["rad-nerf"], _weights(FIELDS["rad-nerf"])
    weights["hull_planes"] = weights["hull_planes"] + 1e4
    density, _, _ = field.density(torch.rand(9, 3, generator=_generator()), _told(), weights)
    assert density.isfinite().all()


def test_attention_begins_at_the_middle_and_weighs_by_what_is_said() -> None:
    window, weights = torch.randn(5, 4, generator=_generator()), attention_start(5, 4)
    begun = attended(window, weights)
    shares = torch.tensor([0.0, 0, 2, 0, 0]).softmax(0)
    assert torch.allclose(begun, shares @ window)
    weights["attend"] = torch.randn(20, 5, generator=_generator())
    assert not torch.allclose(attended(window, weights), begun)


def test_a_torso_ends_beyond_the_picture_and_bends_by_what_it_is_told() -> None:
    torso, weights = Torso(told=3), _weights(Torso(told=3))
    at, told = torch.rand(30, 2, generator=_generator()), torch.randn(3, generator=_generator())
    rgb, alpha = torso.look(at, told, weights)
    assert rgb.shape == (30, 3) and ((alpha > 0) & (alpha < 1)).all() and (rgb <= alpha[:, None]).all()
    assert not torch.equal(torso.look(at, -told, weights)[1], alpha)
    assert not torso.look(at - 3, told, weights)[1].any()
