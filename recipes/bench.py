# SPDX-License-Identifier: Apache-2.0
"""`avatar3d bench splat`: how fast the renderer is on this machine, forward and forward with backward."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from avatar3d.errors import InputError
from avatar3d.ops import _native
from avatar3d.recipes._scene import TRAINED, Scene, head
from avatar3d.records import Progress, Watch, unwatched
from avatar3d.threads import usable_cores

CASES = ((256, 10_000), (256, 30_000), (512, 10_000), (512, 30_000), (512, 50_000))  # size px, Gaussians
REPETITIONS = 60
PEER_CASE = (256, 3_000)  # the torch reference in the same run: few Gaussians, since it is slow
PEER_REPETITIONS = 5


@dataclass(frozen=True)
class Row:
    """One measurement. A step is forward and backward to all five tensors of the Gaussians."""

    size: int  # px, width and height
    n: int  # Gaussians
    threads: int
    isa: str  # instruction set of the kernels, or "torch" for the reference
    device: str
    forward_ms_min: float
    forward_ms_median: float
    step_ms_min: float
    step_ms_median: float
    load: float  # the machine's load average over the last minute, at the end of the measurement


def bench_splat(
    cases: tuple[tuple[int, int], ...] = CASES,
    repetitions: int = REPETITIONS,
    threads: tuple[int, ...] | None = None,
    with_reference: bool = True,
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Times the kernels, and the torch reference beside them, on the scene of `recipes/_scene.py`.

    Args:
        cases: (size px, Gaussians) pairs.
        repetitions: of each measurement; the minimum and the median are kept.
        threads: thread counts to try; None: one, and all this process may use.
        with_reference: also time the reference on a small case, with the kernels in the same run.

    Returns:
        `{"rows": [Row as a dict], "times_faster_than_torch": {"forward", "step"} or None}`.

    Raises:
        InputError: there are no kernels to time.
    """
    if _native.why_not():
        raise InputError(f"bench: no native kernels ({_native.why_not()})", "build them, then run bench again")
    before = _native.threads()
    counts = threads or tuple(sorted({1, before}))
    plan = [(size, n, count) for size, n in cases for count in counts]
    rows: list[Row] = []
    try:
        for done, (size, n, count) in enumerate(plan):
            watch(Progress("bench", done / len(plan), f"{size}x{size}, {n} Gaussians, {count} threads"))
            _native.set_threads(count)
            rows.append(_measure(head(size, n), "native", repetitions))
        peers = _against_torch() if with_reference else []
    finally:
        _native.set_threads(before)
    watch(Progress("bench", 1.0))
    return {"rows": [asdict(row) for row in rows + peers], "times_faster_than_torch": _ratio(peers)}


def _against_torch() -> list[Row]:
    """The same small case by kernel and by reference, all threads each."""
    scene = head(*PEER_CASE)
    _native.set_threads(usable_cores())
    return [
        _measure(scene, "native", PEER_REPETITIONS * 4),
        _measure(scene, "reference", PEER_REPETITIONS),
    ]


def _ratio(peers: list[Row]) -> dict[str, float] | None:
    if not peers:
        return None
    ours, theirs = peers
    return {
        "forward": theirs.forward_ms_min / ours.forward_ms_min,
        "step": theirs.step_ms_min / ours.step_ms_min,
    }


def _measure(scene: Scene, path: str, repetitions: int) -> Row:
    moving = scene.trainable()
    leaves = [getattr(moving, name) for name in TRAINED]
    upstream = torch.randn(3, scene.size, scene.size, generator=torch.Generator().manual_seed(1))

    def forward() -> None:
        with torch.no_grad():
            scene.draw(path)

    def step() -> None:
        torch.autograd.grad(moving.draw(path), leaves, upstream)

    forward_ms, step_ms = _times_ms(forward, repetitions), _times_ms(step, repetitions)
    native = path == "native"
    return Row(
        size=scene.size,
        n=len(scene.means),
        threads=_native.threads() if native else torch.get_num_threads(),
        isa=_native.isa() if native else "torch",
        device="cpu",
        forward_ms_min=min(forward_ms),
        forward_ms_median=statistics.median(forward_ms),
        step_ms_min=min(step_ms),
        step_ms_median=statistics.median(step_ms),
        load=os.getloadavg()[0],
    )


def _times_ms(run: Callable[[], None], repetitions: int) -> list[float]:
    run()  # the first call allocates
    series = []
    for _ in range(repetitions):
        start = time.perf_counter()
        run()
        series.append((time.perf_counter() - start) * 1e3)
    return series


def report(figures: dict[str, Any]) -> str:
    """The rows as a table for people."""
    rows = [
        (
            f"{row['size']}x{row['size']}", f"{row['n']:,}", row["threads"], row["isa"],
            f"{row['forward_ms_min']:.2f}", f"{row['forward_ms_median']:.2f}",
            f"{row['step_ms_min']:.2f}", f"{row['step_ms_median']:.2f}", f"{row['load']:.1f}",
        )
        for row in figures["rows"]
    ]  # fmt: skip
    heads = ("size", "Gaussians", "threads", "isa", "forward ms min", "median", "step ms min", "median", "load")
    widths = [max(len(str(line[i])) for line in (heads, *rows)) for i in range(len(heads))]
    lines = [
        "  ".join(str(cell).rjust(width) for cell, width in zip(line, widths, strict=True)) for line in (heads, *rows)
    ]
    ratio = figures["times_faster_than_torch"]
    if ratio:
        lines.append(f"last two rows: {ratio['forward']:.0f}x forward, {ratio['step']:.0f}x forward and backward")
    return "\n".join(lines)
