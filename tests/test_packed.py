# SPDX-License-Identifier: Apache-2.0
"""Packed numbers come back within half a step, whatever they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avatar3d.errors import InputError
from avatar3d.store.packed import on_grid, quantised, read_packed, write_packed


@pytest.mark.parametrize("seed", range(6))
def test_every_number_comes_back_within_half_a_step(tmp_path: Path, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    count = int(torch.randint(1, 60, (), generator=g))
    size = 10.0 ** torch.randint(-6, 4, (), generator=g)
    tensors = {
        "tables": size * torch.randn(4, count, 9, generator=g),
        "means": size * torch.randn(count, 3, generator=g),
        "alone": torch.randn(count, generator=g),
        "kind": torch.arange(count).to(torch.uint8),
    }
    steps = {
        "tables": size * 10.0 ** (-4 * torch.rand(1, count, 9, generator=g)),
        "means": size * 10.0 ** (-5 * torch.rand(count, 1, generator=g)),
    }
    write_packed(tmp_path / "x.gz", tensors, steps)
    back = read_packed(tmp_path / "x.gz")
    assert set(back) == set(tensors)
    for name, step in steps.items():
        assert back[name].dtype == torch.float32 and back[name].shape == tensors[name].shape
        assert torch.equal(back[name], quantised(tensors[name], step))
        # half a step, and the rounding of float32
        bound = step.double() / 2 * (1 + 1e-6) + tensors[name].double().abs() * 2e-7
        assert ((back[name].double() - tensors[name].double()).abs() <= bound).all()
    assert torch.equal(back["alone"], tensors["alone"]) and torch.equal(back["kind"], tensors["kind"])


def test_steps_are_written_as_half_powers_of_two_and_never_grow() -> None:
    steps = torch.logspace(-9, 9, 300)
    kept = on_grid(steps)
    assert (kept <= steps.double() * (1 + 1e-8)).all() and (kept >= steps.double() / 2**0.5 * (1 - 1e-6)).all()
    torch.testing.assert_close(on_grid(kept), kept)
    assert torch.equal(on_grid(torch.tensor([1.0, 0.25])), torch.tensor([1.0, 0.25], dtype=torch.float64))


def test_numbers_near_zero_take_less_room(tmp_path: Path) -> None:
    tables = torch.randn(8, 500, 9)
    for step in (0.01, 0.3, 3.0):
        write_packed(tmp_path / f"{step}.gz", {"tables": tables}, {"tables": torch.full((1, 1, 1), step)})
    fine, middle, coarse = (path.stat().st_size for path in map(tmp_path.joinpath, ("0.01.gz", "0.3.gz", "3.0.gz")))
    assert fine > 1.5 * middle > 4 * coarse and middle < tables.numel() * 0.75


@pytest.mark.parametrize(
    ("tensor", "step"), [([torch.nan], 1.0), ([torch.inf], 1.0), ([1.0], 0.0), ([1.0], -1.0), ([1e9], 1e-3)]
)
def test_what_has_no_whole_number_is_refused(tmp_path: Path, tensor: list[float], step: float) -> None:
    with pytest.raises(ValueError, match="steps"):
        write_packed(tmp_path / "x.gz", {"a": torch.tensor(tensor)}, {"a": torch.tensor([step])})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "missing"])
def test_damage_is_told_in_words(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "x.gz"
    write_packed(file, {"a": torch.randn(50, 3)}, {"a": torch.full((50, 1), 0.1)})
    data = file.read_bytes()
    middle = len(data) // 2
    file.write_bytes(
        {"cut": data[:middle], "flipped": data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]}.get(
            damage, b"" if damage == "empty" else b"no archive"
        )
    )
    if damage == "missing":
        file.unlink()
    with pytest.raises(InputError, match=r"x\.gz"):
        read_packed(file)
