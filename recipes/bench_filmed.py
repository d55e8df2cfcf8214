# SPDX-License-Identifier: Apache-2.0
"""`avatar3d bench filmed`: finished frames, from a head's codes to bytes over the background, by one kernel on the CPU.

Beside it in turns: the kernels one after another, put together by torch, and the whole in plain torch. No other
renderer that we know of goes from codes to bytes on a CPU.
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from avatar3d.errors import InputError
from avatar3d.ops import _native
from avatar3d.ops.filmed import filmed_posed
from avatar3d.ops.posed import posed
from avatar3d.player import eight_bit
from avatar3d.recipes._scene import Scene, head
from avatar3d.recipes._text import table
from avatar3d.recipes._timing import as_figures, times_ms
from avatar3d.recipes.bench_posed import CASES, CODES, at_rest
from avatar3d.records import Progress, Watch, unwatched
from avatar3d.threads import torch_threads

REPETITIONS = 60
_PER_TURN = 12  # plain torch, which is slow, is timed once for so many times of the others
_SHARED = ("means", "quats", "scales", "opacities", "colours", "skin_logits", "tables", "cam_from_world", "K")


@dataclass(frozen=True)
class FilmedRow:
    """One measurement of a frame from codes to bytes."""

    size: int  # px, width and height
    n: int  # Gaussians
    codes: int  # tables
    threads: int
    isa: str
    ms_min: float  # of the one kernel
    ms_median: float
    ops_ms_min: float  # of kernels one after another
    ops_ms_median: float
    torch_ms_min: float  # of plain torch
    torch_ms_median: float
    load: float  # the machine's load average over the last minute, at the end of the measurement


def bench_filmed(
    cases: tuple[tuple[int, int], ...] = CASES,
    repetitions: int = REPETITIONS,
    threads: tuple[int, ...] | None = None,
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Times `avatar3d.ops.filmed.filmed_posed` on the scene of `recipes/_scene.py` with tables that move it a little.

    Args:
        cases: (size px, Gaussians) pairs.
        repetitions: of each measurement, plain torch's a twelfth of them; the minimum and the median are kept.
        threads: thread counts to try; None: one, and all this process may use.

    Returns:
        `{"rows": [FilmedRow as a dict]}`.

    Raises:
        InputError: there are no kernels to time.
    """
    if reason := _native.why_not("cpu"):
        raise InputError(f"bench: no native kernels ({reason})", "build them, then run bench again")
    before = _native.threads()
    plan = [(size, n, count) for size, n in cases for count in threads or sorted({1, before})]
    rows = []
    try:
        for done, (size, n, count) in enumerate(plan):
            watch(Progress("bench", done / len(plan), f"filmed, {size}x{size}, {n} Gaussians, {count} threads"))
            rows.append(as_figures(_measure(head(size, n), count, repetitions)))
    finally:
        _native.set_threads(before)
    watch(Progress("bench", 1.0))
    return {"rows": rows}


def _measure(scene: Scene, threads: int, repetitions: int) -> FilmedRow:
    given = at_rest(scene, 1)
    room = torch.rand(3, scene.size, scene.size, generator=torch.Generator().manual_seed(3))
    code = torch.cat([given[name][0] for name in ("codes", "world_from_head", "world_from_body")])
    asked: dict[str, Any] = {name: given[name] for name in _SHARED} | {"code": code, "background": room}

    def one_after_another() -> object:
        rgb, alpha, _ = posed(**given, width=scene.size, height=scene.size, path="native")
        return eight_bit((rgb[0] + (1 - alpha[0]) * room).permute(1, 2, 0))

    runs = {
        "": lambda: filmed_posed(**asked, path="native"),
        "ops_": one_after_another,
        "torch_": lambda: filmed_posed(**asked, path="reference"),
    }
    each = min(repetitions, _PER_TURN)
    _native.set_threads(threads)
    with torch_threads(threads), torch.no_grad():
        ms = times_ms(runs, math.ceil(repetitions / each), turns={"": each, "ops_": each})
    summed = {f"{name}ms_min": min(series) for name, series in ms.items()}
    summed |= {f"{name}ms_median": statistics.median(series) for name, series in ms.items()}
    return FilmedRow(
        size=scene.size,
        n=len(scene.means),
        codes=CODES,
        threads=threads,
        isa=_native.isa(),
        load=os.getloadavg()[0],
        **summed,
    )


def report_filmed(figures: Mapping[str, Any]) -> str:
    """The rows as a table for people."""
    heads = ("filmed", "Gaussians", "codes", "threads", "isa", "ms min", "median", "by ops", "by torch", "load")
    rows = [
        (
            f"{row['size']}x{row['size']}", f"{row['n']:,}", row["codes"], row["threads"], row["isa"],
            *(f"{row[name]:.2f}" for name in ("ms_min", "ms_median", "ops_ms_min", "torch_ms_min")),
            f"{row['load']:.1f}",
        )
        for row in figures["rows"]
    ]  # fmt: skip
    return table((heads, *rows))
