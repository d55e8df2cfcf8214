# SPDX-License-Identifier: Apache-2.0
"""`avatar3d bench field`: the kernels of a radiance field, on the CPU, beside plain torch and, where it is, nerfacc.

All in one process, in turns. Of nerfacc only what adds up a ray's samples runs without a GPU.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from avatar3d.errors import InputError
from avatar3d.ops import _native
from avatar3d.ops.composite import composite
from avatar3d.ops.hashgrid import HashGrid, growing, hashgrid
from avatar3d.ops.march import Samples, march
from avatar3d.recipes._text import table
from avatar3d.recipes._timing import as_figures, times_ms
from avatar3d.records import Progress, Watch, unwatched
from avatar3d.threads import torch_threads

REPETITIONS = 12
_PER_TURN = 12  # plain torch, which is slow, is timed once for so many times of the others
_PIECE = 1 << 18  # points that plain torch encodes at a time: for all at once it needs 10 GB
_LIGHT = 1e-4  # at which a ray ends

Run = Callable[[], object]


@dataclass(frozen=True)
class FieldSize:
    """What is measured."""

    points: int = 1_000_000  # encoded
    levels: int = 16  # of the encoding, from 16 to 2048 cells along an axis, two features each
    log2_rows: int = 19
    rays: int = 65_536
    samples: int = 40  # of each ray that is added up, with three values each
    cells: int = 128  # along an axis, of which those of a thick shell are occupied
    step: float = 0.005  # of a ray, of the cube's side


@dataclass(frozen=True)
class FieldRow:
    """An op and another way to the same numbers. A step is forward and backward to all that can be learned."""

    op: str
    n: int  # points or rays
    samples: int  # of all rays; 0 for points
    threads: int  # of ours, and of torch
    isa: str
    name: str  # of the other
    forward_ms_min: float  # of ours
    forward_ms_median: float
    step_ms_min: float | None  # None: nothing there can be learned
    step_ms_median: float | None
    other_forward_ms_min: float
    other_forward_ms_median: float
    other_step_ms_min: float | None
    other_step_ms_median: float | None
    times_forward: float  # how many times as fast ours is, by the minima
    times_step: float | None
    load: float  # the machine's load average over the last minute, at the end of the measurement


@dataclass(frozen=True)
class _Case:
    """Ways to the same numbers by name, "ours" among them; each forward, and a step where there is one."""

    op: str
    n: int
    samples: int
    forward: Mapping[str, Run]
    step: Mapping[str, Run]


def bench_field(
    size: FieldSize | None = None,
    repetitions: int = REPETITIONS,
    threads: int | None = None,
    reference: bool = True,
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Times `hashgrid`, `composite` and `march` on made-up points and rays.

    Args:
        size: what to measure; None: a million points, 65,536 rays.
        repetitions: of each measurement, plain torch's a twelfth of them; the minimum and the median are kept.
        threads: how many; None: as many as this process may use.
        reference: whether to time the slow torch reference too.

    Returns:
        `{"rows": [FieldRow as a dict]}`.

    Raises:
        InputError: there are no kernels to time, or nothing to time beside them.
    """
    if reason := _native.why_not("cpu"):
        raise InputError(f"bench: no native kernels ({reason})", "build them, then run bench again")
    others = (["reference"] if reference else []) + (["nerfacc"] if _nerfacc() else [])
    if not others:
        raise InputError("bench field: nothing to measure beside", "leave out --no-reference, or install nerfacc")
    before = _native.threads()
    count = threads or before
    _native.set_threads(count)
    rows: list[dict[str, Any]] = []
    makers = (_encoding, _compositing, _marching)
    try:
        with torch_threads(count):
            for done, make in enumerate(makers):
                case = make(size or FieldSize(), others)
                watch(Progress("bench", done / len(makers), f"{case.op}, {case.n:,}, {count} threads"))
                rows += [as_figures(row) for row in _measure(case, count, repetitions)]
    finally:
        _native.set_threads(before)
    watch(Progress("bench", 1.0))
    return {"rows": rows}


def _measure(case: _Case, threads: int, repetitions: int) -> list[FieldRow]:
    """A row for each of the others."""
    runs = {f"{name} forward": run for name, run in case.forward.items()}
    runs |= {f"{name} step": run for name, run in case.step.items()}
    each = min(repetitions, _PER_TURN)
    ms = times_ms(runs, -(-repetitions // each), turns={name: each for name in runs if "reference" not in name})
    load = os.getloadavg()[0]

    def summed(name: str, what: str) -> tuple[float | None, float | None]:
        series = ms.get(f"{name} {what}")
        return (min(series), median(series)) if series else (None, None)

    rows = []
    for name in case.forward:
        if name == "ours":
            continue
        ours, other = ms["ours forward"], ms[f"{name} forward"]
        step, other_step = summed("ours", "step"), summed(name, "step")
        rows.append(
            FieldRow(
                case.op, case.n, case.samples, threads, _native.isa(), name,
                min(ours), median(ours), *step, min(other), median(other), *other_step,
                times_forward=min(other) / min(ours),
                times_step=other_step[0] / step[0] if step[0] and other_step[0] else None,
                load=load,
            )
        )  # fmt: skip
    return rows


def _encoding(size: FieldSize, others: list[str]) -> _Case:
    g = torch.Generator().manual_seed(0)
    grid = HashGrid(growing(size.levels, 16, 2048), 2, size.log2_rows)
    points = torch.rand(size.points, 3, generator=g).requires_grad_()
    tables = (2e-4 * torch.rand(grid.rows, grid.features, generator=g) - 1e-4).requires_grad_()
    upstream = torch.randn(size.points, grid.width, generator=g)

    def encoded(path: str, piece: int) -> Run:
        @torch.no_grad()
        def run() -> object:
            return [hashgrid(part, tables, grid, path) for part in points.split(piece)]

        return run

    def stepped(path: str, piece: int) -> Run:
        def run() -> object:
            found = []
            for part, gradient in zip(points.split(piece), upstream.split(piece), strict=True):
                part = part.detach().requires_grad_()
                found.append(torch.autograd.grad(hashgrid(part, tables, grid, path), (part, tables), gradient))
            return found if len(found) == 1 else sum(by_tables for _, by_tables in found)

        return run

    ways = {"ours": ("native", size.points)} | ({"reference": ("reference", _PIECE)} if "reference" in others else {})
    return _Case(
        "hashgrid", size.points, 0,
        {name: encoded(*way) for name, way in ways.items()}, {name: stepped(*way) for name, way in ways.items()},
    )  # fmt: skip


def _compositing(size: FieldSize, others: list[str]) -> _Case:
    g = torch.Generator().manual_seed(0)
    samples = _side_by_side(size.rays, size.samples)
    count = len(samples.ray)
    density, values = 5 * torch.rand(count, generator=g), torch.rand(count, 3, generator=g)
    leaves = density.requires_grad_(), values.requires_grad_()
    upstream = [torch.randn(shape, generator=g) for shape in ((size.rays, 3), (size.rays,), (size.rays,))]
    ways: dict[str, Callable[[], tuple[Tensor, ...]]] = {
        "ours": lambda: composite(*leaves, samples, _LIGHT, "native"),
        "reference": lambda: composite(*leaves, samples, _LIGHT, "reference"),
        "nerfacc": lambda: _by_nerfacc(_nerfacc(), *leaves, samples, size.rays),
    }
    ways = {name: way for name, way in ways.items() if name in ("ours", *others)}

    def stepped(way: Callable[[], tuple[Tensor, ...]]) -> Run:
        return lambda: torch.autograd.grad(way(), leaves, upstream)

    return _Case(
        "composite", size.rays, count,
        {name: torch.no_grad()(way) for name, way in ways.items()}, {name: stepped(way) for name, way in ways.items()},
    )  # fmt: skip


def _side_by_side(rays: int, each: int) -> Samples:
    """As many samples of each ray, .01 apart."""
    ray = torch.arange(rays).repeat_interleave(each)
    begins = 1 + 0.01 * torch.arange(each).repeat(rays)
    return Samples(ray, begins, begins + 0.01, each * torch.arange(rays + 1))


def _nerfacc() -> ModuleType | None:
    """Its sums along rays, where it is installed."""
    try:
        return importlib.import_module("nerfacc.volrend")
    except ImportError:
        return None


def _by_nerfacc(volrend: Any, density: Tensor, values: Tensor, samples: Samples, rays: int) -> tuple[Tensor, ...]:
    """As `composite` gives it. Without a GPU nerfacc takes rays of as many samples each, as these are."""
    begins, ends = samples.begins.view(rays, -1), samples.ends.view(rays, -1)
    weights, _, _ = volrend.render_weight_from_density(begins, ends, density.view(rays, -1))
    middles = ((begins + ends) / 2)[..., None]
    seen, alpha, depth = (
        volrend.accumulate_along_rays(weights, each) for each in (values.view(rays, -1, values.shape[1]), None, middles)
    )
    return seen, alpha[:, 0], depth[:, 0]


def _marching(size: FieldSize, others: list[str]) -> _Case:
    side = int(size.rays**0.5)
    across = 0.42 * ((torch.arange(side) + 0.5) / side - 0.5)
    x, y = torch.meshgrid(across, across, indexing="ij")
    directions = torch.nn.functional.normalize(torch.stack([x, y, torch.ones_like(x)], -1).view(-1, 3), dim=1)
    origins = torch.tensor([0.5, 0.5, -2.0]).repeat(len(directions), 1)
    centres = (torch.arange(size.cells) + 0.5) / size.cells - 0.5
    away = torch.stack(torch.meshgrid(centres, centres, centres, indexing="ij")).norm(dim=0)
    occupied = (away > 0.3) & (away < 0.38)

    def walked(path: str) -> Run:
        return lambda: march(origins, directions, occupied, size.step, 1024, path=path)

    ways = {"ours": "native"} | ({"reference": "reference"} if "reference" in others else {})
    kept = len(march(origins, directions, occupied, size.step, 1024).ray)
    return _Case("march", len(origins), kept, {name: walked(path) for name, path in ways.items()}, {})


HEADS = ("ours beside", "points or rays", "samples", "threads", "isa", "forward", "times", "both", "times", "load")


def report_field(figures: Mapping[str, Any]) -> str:
    """The rows as a table for the terminal."""
    return table([HEADS, *map(cells, figures["rows"])])


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row under HEADS: the minima of ours and of the other, and how many times as fast ours is."""
    name = {"reference": "torch reference"}.get(row["name"], row["name"])
    samples = f"{row['samples']:,}" if row["samples"] else ""
    shown = [f"{row['op']}, {name}", f"{row['n']:,}", samples, str(row["threads"]), row["isa"]]
    for what in ("forward", "step"):
        there = row[f"times_{what}"] is not None
        least = f"{row[f'{what}_ms_min']:.2f} : {row[f'other_{what}_ms_min']:.1f}" if there else ""
        shown += [least, f"{row[f'times_{what}']:.0f}" if there else ""]
    return (*shown, f"{row['load']:.1f}")
