# SPDX-License-Identifier: Apache-2.0
"""Rays through occupied cells: the kernels against every step of every ray, looked at one by one in float64."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rays import rays_and_cells
from torch import Tensor

from avatar3d.ops import _native
from avatar3d.ops.march import MOST_STEPS, Samples, march, march_reference

PLENTY = 10_000
DOUBT = 2e-5  # cells, or steps: float32 may see a middle on the other side of a wall that near


def every_step(origins: Tensor, directions: Tensor, occupied: Tensor, step: float, jitter: Tensor) -> list[Tensor]:
    """Ray and number of the steps whose middle surely lies in an occupied cell, and of those that may."""
    origins, directions, cells = origins.double(), directions.double(), len(occupied)
    walls = torch.stack([-origins / directions, (1 - origins) / directions])
    still = (directions == 0) & (origins >= 0) & (origins <= 1)
    near = walls.amin(0).masked_fill(still, -torch.inf).amax(1).clamp_min(0)
    far = walls.amax(0).masked_fill(still, torch.inf).amin(1)
    most = int(((far - near) / step).clamp(0, PLENTY).max()) + 2
    middle = (near + jitter * step)[:, None] + (torch.arange(most) + 0.5) * step
    at = (origins[:, None] + middle[..., None] * directions[:, None]) * cells
    room = DOUBT * cells * torch.tensor([-1.0, 1.0])
    seen = [
        occupied[tuple(((at + torch.tensor(moved)).floor().long().clamp(0, cells - 1)).unbind(-1))]
        for moved in torch.cartesian_prod(room, room, room).tolist()
    ]
    sure, perhaps = torch.stack(seen).all(0), torch.stack(seen).any(0)
    sure &= middle < (far - DOUBT * step)[:, None]
    perhaps &= middle < (far + DOUBT * step)[:, None]
    return [sure, perhaps]


def compare(count: int, cells: int, share: float, step: float, device: torch.device, jittered: bool = False) -> None:
    origins, directions, occupied = rays_and_cells(count, cells, share)
    jitter = torch.rand(count, generator=torch.Generator().manual_seed(3)) if jittered else None
    given = [tensor.to(device) for tensor in (origins, directions, occupied)]
    found = march(*given, step, PLENTY, None if jitter is None else jitter.to(device), "native")
    late = torch.zeros(count) if jitter is None else jitter
    check_order(found, count)
    sure, perhaps = every_step(origins, directions, occupied, step, late)
    ray, begins = found.ray.cpu(), found.begins.cpu()
    marked, number = torch.zeros_like(sure), ((begins - entry(origins, directions, late, step)[ray]) / step).round()
    marked[ray, number.long()] = True
    assert int(marked.sum()) == len(ray)
    assert not (sure & ~marked).any() and not (marked & ~perhaps).any()
    assert sure.any() and int((perhaps & ~sure).sum()) < 0.02 * int(sure.sum()) + 20
    assert torch.allclose(found.ends - found.begins, torch.tensor(step, device=device), atol=1e-5)


def entry(origins: Tensor, directions: Tensor, late: Tensor, step: float) -> Tensor:
    """Where the steps of each ray begin."""
    full = torch.ones(1, 1, 1, dtype=torch.bool)
    first = march_reference(origins.double(), directions.double(), full, 1e-4, 1)
    start = torch.zeros(len(origins), dtype=torch.float64)
    start[first.ray] = first.begins
    return start + late * step


def check_order(samples: Samples, rays: int) -> None:
    """Rows by ray, front to back, as `first` says."""
    counts = samples.first.diff()
    assert len(samples.first) == rays + 1 and int(samples.first[0]) == 0 and int(samples.first[-1]) == len(samples.ray)
    assert torch.equal(torch.repeat_interleave(torch.arange(rays, device=counts.device), counts), samples.ray)
    assert ((samples.begins.diff() > 0) | (samples.ray.diff() > 0)).all()


CASES = [(300, 16, 0.2, 0.013), (40, 1, 1.0, 0.3), (150, 37, 0.02, 0.004), (60, 6, 0.9, 0.002), (60, 70, 0.001, 0.02)]


@pytest.mark.parametrize("case", CASES)
def test_kernels_keep_the_steps_in_occupied_cells(isa: str, case: tuple[int, int, float, float]) -> None:
    compare(*case, torch.device("cpu"))


def test_a_late_first_step(isa: str) -> None:
    compare(200, 16, 0.2, 0.02, torch.device("cpu"), jittered=True)


@pytest.mark.parametrize("case", CASES[:3])
def test_cuda_keeps_the_steps_in_occupied_cells(cuda: torch.device, case: tuple[int, int, float, float]) -> None:
    compare(*case, cuda)


def test_cuda_takes_a_late_first_step(cuda: torch.device) -> None:
    compare(100, 16, 0.2, 0.02, cuda, jittered=True)


@pytest.mark.parametrize("case", CASES)
def test_the_reference_keeps_the_steps_in_occupied_cells(case: tuple[int, int, float, float]) -> None:
    origins, directions, occupied = rays_and_cells(*case[:3])
    found = march_reference(origins, directions, occupied, case[3], PLENTY)
    check_order(found, case[0])
    sure, perhaps = every_step(origins, directions, occupied, case[3], torch.zeros(case[0]))
    assert int(sure.sum()) <= len(found.ray) <= int(perhaps.sum())


@pytest.mark.parametrize("path", ["auto", "reference"])
@pytest.mark.parametrize("most", [1, 7, 16, 40])
def test_no_more_than_most_are_kept(path: str, most: int) -> None:
    scene = (*rays_and_cells(200, 16, 0.3), 0.005)
    everything, found = march(*scene, PLENTY, path=path), march(*scene, most, path=path)
    check_order(found, 200)
    place = torch.arange(len(everything.ray)) - everything.first[everything.ray]
    assert torch.equal(found.begins, everything.begins[place < most])
    assert int(found.first.diff().max()) == most


def test_cuda_keeps_no_more_than_most(cuda: torch.device) -> None:
    scene = [tensor.to(cuda) for tensor in rays_and_cells(100, 16, 0.3)]
    found = march(*scene, 0.005, 7, path="native")
    check_order(found, 100)
    assert int(found.first.diff().max()) == 7


def test_known_steps() -> None:
    occupied = torch.zeros(4, 4, 4, dtype=torch.bool)
    occupied[2, 1, 3] = True
    origins = torch.tensor([[-1.0, 0.3, 0.8], [0.58, 0.3, 0.8], [-1.0, 0.3, 0.2], [2.0, 0.3, 0.8], [0.58, 0.3, -9.0]])
    directions = torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 2]])
    for path in ("auto", "reference"):
        found = march(origins, directions, occupied, 0.1, 100, path=path)
        # into the cell from afar (its x is .5 .. .75), from within it, past it, away from it, and twice as fast
        assert found.first.tolist() == [0, 2, 4, 4, 4, 5]
        begins = torch.tensor([1.5, 1.6, 0, 0.1, 4.9])
        assert torch.allclose(found.begins, begins, atol=1e-5)
        assert torch.allclose(found.ends, begins + 0.1, atol=1e-5)


def test_one_number_of_threads_is_as_good_as_another(kernels: None) -> None:
    scene = (*rays_and_cells(1000, 32, 0.1), 0.01, 100)
    runs, before = [], _native.threads()
    for threads in (1, 2, 3):
        _native.set_threads(threads)
        found = march(*scene)
        runs.append((found.ray, found.begins, found.ends, found.first))
    _native.set_threads(before)
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3e38, 1e-42])
@pytest.mark.parametrize("which", [0, 1])
def test_wild_rays_harm_only_themselves(isa: str, bad: float, which: int) -> None:
    given = list(rays_and_cells(40, 8, 0.5))
    usual = march(*given, 0.05, 50, path="native")
    given[which][7, 1] = bad
    found = march(*given, 0.05, 50, path="native")
    check_order(found, 40)
    for name in ("begins", "ends"):
        assert torch.equal(getattr(found, name)[found.ray != 7], getattr(usual, name)[usual.ray != 7])
    if not abs(bad) < float("inf"):
        assert not (found.ray == 7).any()


@pytest.mark.parametrize("path", ["auto", "reference"])
def test_rays_without_a_way(path: str) -> None:
    """No direction, a jitter that is no number, and one beyond 0..1, which is held."""
    occupied = torch.ones(2, 2, 2, dtype=torch.bool)
    origins, directions = torch.full((4, 3), 0.5), torch.zeros(4, 3)
    directions[1:, 0] = 1
    jitter = torch.tensor([0.5, float("nan"), 7.0, -3.0])
    found = march(origins, directions, occupied, 0.1, 100, jitter, path)
    assert found.first.tolist() == [0, 0, 0, 4, 9]
    assert torch.allclose(found.begins[[0, 4]], torch.tensor([0.1, 0]))


def test_steps_that_are_lost_in_float32_come_to_an_end(isa: str) -> None:
    occupied = torch.zeros(4, 4, 4, dtype=torch.bool)
    occupied[3, 3, 3] = True
    origins = torch.tensor([[0.1, 0.1, 0.1], [0.9, 0.9, 0.9]])
    found = march(origins, torch.tensor([[1.0, 0, 0], [1, 0, 0]]), occupied, 1e-12, 50, path="native")
    assert found.first.tolist() == [0, 0, 50]
    assert MOST_STEPS * 1e-12 < 1


def test_no_rays(isa: str) -> None:
    found = march(torch.empty(0, 3), torch.empty(0, 3), torch.ones(2, 2, 2, dtype=torch.bool), 0.1, 5, path="native")
    assert found.first.tolist() == [0] and found.ray.shape == found.begins.shape == found.ends.shape == (0,)


def test_cuda_takes_no_rays(cuda: torch.device) -> None:
    nothing = torch.empty(0, 3, device=cuda)
    found = march(nothing, nothing, torch.ones(2, 2, 2, dtype=torch.bool, device=cuda), 0.1, 5, path="native")
    assert found.first.tolist() == [0] and not len(found.ray)


def test_nothing_is_touched_past_its_end_or_left_unwritten(isa: str) -> None:
    """Of this op and of `composite`; those of CUDA are tried with the renderer's."""
    command = [sys.executable, str(Path(__file__).with_name("guarded.py")), _native.library()._name, "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert not done.returncode, done.stderr or f"ended by signal {-done.returncode}"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"origins": torch.zeros(5, 2)}, "origins"),
        ({"directions": torch.zeros(4, 3)}, "directions"),
        ({"occupied": torch.zeros(2, 2, 3, dtype=torch.bool)}, "occupied"),
        ({"occupied": torch.zeros(2, 2, 2)}, "occupied"),
        ({"occupied": torch.zeros(0, 0, 0, dtype=torch.bool)}, "occupied"),
        ({"step": 0.0}, "step"),
        ({"step": float("nan")}, "step"),
        ({"most": 0}, "most"),
        ({"jitter": torch.zeros(4)}, "jitter"),
        ({"jitter": torch.zeros(5, dtype=torch.float64), "path": "native"}, "jitter"),
    ],
)
def test_what_does_not_fit_is_named(kernels: None, wrong: dict[str, object], named: str) -> None:
    rays = {"origins": torch.zeros(5, 3), "directions": torch.ones(5, 3)}
    fitting = {"occupied": torch.ones(2, 2, 2, dtype=torch.bool), "step": 0.1, "most": 5}
    with pytest.raises(ValueError, match=named):
        march(**(rays | fitting | wrong))  # type: ignore[arg-type]
