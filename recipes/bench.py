# SPDX-License-Identifier: Apache-2.0
"""`avatar3d bench splat`: how fast the renderer is on this machine, forward and forward with backward."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avatar3d.choose import choose
from avatar3d.errors import InputError
from avatar3d.ops import _native
from avatar3d.ops.splat import TileRoom
from avatar3d.recipes import doctor
from avatar3d.recipes._scene import TRAINED, Scene, head
from avatar3d.recipes._text import table
from avatar3d.recipes._timing import as_figures, times_ms
from avatar3d.recipes._versus import versus
from avatar3d.records import Progress, Watch, unwatched

CASES = ((256, 10_000), (256, 30_000), (512, 10_000), (512, 30_000), (512, 50_000))  # size px, Gaussians
AGAINST_CASES = ((256, 30_000), (512, 30_000))
REPETITIONS = 60
BATCHES = (1, 8)  # images drawn in one call, on a GPU
_PAIRS = 1 << 18  # room for (tile, Gaussian) pairs of one image: three times what the largest case has

_ROWS = """import json, sys
from avatar3d.recipes.bench import rows_here
json.dump(rows_here(*json.load(sys.stdin)), sys.stdout)"""


@dataclass(frozen=True)
class Row:
    """One measurement of the op. A step is forward and backward to all five tensors of the Gaussians."""

    size: int  # px, width and height
    n: int  # Gaussians
    images: int  # in one call; the times are of the call
    threads: int
    isa: str  # instruction set of the kernels; "cuda", or "gsplat" on a GPU
    device: str  # "cpu", or the GPU's name
    forward_ms_min: float
    forward_ms_median: float
    step_ms_min: float
    step_ms_median: float
    load: float  # the machine's load average over the last minute, at the end of the measurement


def bench_splat(
    cases: tuple[tuple[int, int], ...] = CASES,
    repetitions: int = REPETITIONS,
    threads: tuple[int, ...] | None = None,
    isas: tuple[str, ...] | None = None,
    against: tuple[str, ...] = ("reference",),
    against_cases: tuple[tuple[int, int], ...] = AGAINST_CASES,
    device: str = "cpu",
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Times the kernels, and other renderers beside them, on the scene of `recipes/_scene.py`.

    Args:
        cases: (size px, Gaussians) pairs.
        repetitions: of each measurement; the minimum and the median are kept.
        threads: thread counts to try; None: one, and all this process may use.
        isas: instruction sets to time, each in a process of its own, since it is chosen at load; None: the one in use
            and, where that is the best, AVX2.
        against: renderers to time beside ours, in turns, by the names of `avatar3d.choose`.
        against_cases: as `cases`, for these.
        device: "cpu", or a CUDA device.

    Returns:
        `{"machine": {...}, "rows": [Row as a dict], "against": [Versus as a dict]}`.

    Raises:
        InputError: there are no kernels to time, or no such renderer.
    """
    _refuse_what_is_not_here(device)
    for name in against:
        choose("avatar3d.render", name)  # a slip of the pen is told at once, not after the rows
    before = _native.threads()
    counts = (threads or tuple(sorted({1, before}))) if device == "cpu" else (1,)
    kinds = (isas or _usual_isas()) if device == "cpu" else ("cuda",)
    rows: list[dict[str, Any]] = []
    beside: list[dict[str, Any]] = []
    try:
        for done, kind in enumerate(kinds):
            watch(Progress("bench", done / (len(kinds) + len(against)), kind))
            if kind in ("cuda", _native.isa()):
                rows += rows_here(cases, repetitions, counts, device)
            else:
                rows += _rows_in_a_process(kind, cases, repetitions, counts)
        for done, name in enumerate(against):
            watch(Progress("bench", (len(kinds) + done) / (len(kinds) + len(against)), f"beside {name}"))
            beside += [as_figures(versus(name, *case, count, device)) for case in against_cases for count in counts]
    finally:
        _native.set_threads(before)
    watch(Progress("bench", 1.0))
    return {"machine": machine(), "rows": rows, "against": beside}


def rows_here(
    cases: Sequence[Sequence[int]], repetitions: int, counts: Sequence[int], device: str = "cpu"
) -> list[dict[str, Any]]:
    """The rows of the instruction set in use; on a GPU batches too, and gsplat's where it is installed."""
    rows = []
    for size, n in cases:
        scene = head(size, n).to(device)
        for count in counts:
            _native.set_threads(count)
            if device == "cpu":
                rows.append(_measure(scene, "native", 1, device, repetitions))
                continue
            paths = ("native", "gsplat") if importlib.util.find_spec("gsplat") else ("native",)
            rows += [_measure(scene, path, images, device, repetitions) for images in BATCHES for path in paths]
    return [as_figures(row) for row in rows]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    told = doctor.machine()
    return {name: told[name] for name in ("processor", "cores", "memory_gb", "cuda")}


def report(figures: Mapping[str, Any]) -> str:
    """The rows as tables for people."""
    heads = (
        "size",
        "Gaussians",
        "images",
        "threads",
        "isa",
        "forward ms min",
        "median",
        "step ms min",
        "median",
        "load",
    )
    rows = [
        (
            f"{row['size']}x{row['size']}", f"{row['n']:,}", row["images"], row["threads"], row["isa"],
            *(f"{row[f'{what}_ms_{kind}']:.2f}" for what in ("forward", "step") for kind in ("min", "median")),
            f"{row['load']:.1f}",
        )
        for row in figures["rows"]
    ]  # fmt: skip
    text = table((heads, *rows))
    if figures["against"]:
        heads = (
            "beside",
            "size",
            "Gaussians",
            "threads",
            "isa",
            "forward ms min",
            "times",
            "step ms min",
            "times",
            "load",
        )
        rows = [
            (
                row["name"], f"{row['size']}x{row['size']}", f"{row['n']:,}", row["threads"], row["isa"],
                f"{row['ours_forward_ms_min']:.2f} : {row['forward_ms_min']:.1f}", f"{row['times_forward']:.0f}",
                f"{row['ours_step_ms_min']:.2f} : {row['step_ms_min']:.1f}", f"{row['times_step']:.0f}",
                f"{row['load']:.1f}",
            )
            for row in figures["against"]
        ]  # fmt: skip
        text += "\n\n" + table((heads, *rows))
    return text


def _refuse_what_is_not_here(device: str) -> None:
    kind = device.partition(":")[0]
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError("bench: torch sees no CUDA device", "run it where there is one, or without --device")
    if _native.why_not(kind):
        raise InputError(f"bench: no native kernels ({_native.why_not(kind)})", "build them, then run bench again")


def _usual_isas() -> tuple[str, ...]:
    """The one in use, and AVX2 beside the best: most processors have no more."""
    ours = _native.isa()
    also = "AVATAR3D_ISA" not in os.environ and ours == "avx512" and "avx2" in _native.available()
    return (ours, "avx2") if also else (ours,)


def _rows_in_a_process(
    isa: str, cases: Sequence[Sequence[int]], repetitions: int, counts: Sequence[int]
) -> list[dict[str, Any]]:
    """Rows of another instruction set, which is chosen when the kernels are loaded."""
    if isa not in _native.available():
        raise InputError(f"bench: no {isa} kernels here", f"choose one of: {', '.join(_native.available())}")
    done = subprocess.run(
        [sys.executable, "-c", _ROWS],
        input=json.dumps((cases, repetitions, counts)),
        env=os.environ | {"AVATAR3D_ISA": isa},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def _measure(scene: Scene, path: str, images: int, device: str, repetitions: int) -> Row:
    if images > 1:
        scene = scene.batch(images)
    moving = scene.trainable()
    leaves = [getattr(moving, name) for name in TRAINED]
    room = TileRoom(_PAIRS * images) if device != "cpu" else None

    def draw(of: Scene) -> Tensor:
        return _drawn_by_gsplat(of) if path == "gsplat" else of.draw(path, room)

    def forward() -> None:
        with torch.no_grad():
            draw(scene)

    with torch.no_grad():
        upstream = torch.randn_like(draw(scene))

    def step() -> None:
        torch.autograd.grad(draw(moving), leaves, upstream)

    ms = {
        name: series
        for run in ({"forward": forward}, {"step": step})
        for name, series in times_ms(run, repetitions, device).items()
    }
    here = device == "cpu"
    return Row(
        size=scene.size,
        n=scene.means.shape[-2],
        images=images,
        threads=_native.threads() if here else 1,
        isa=_native.isa() if here else "cuda" if path == "native" else path,
        device="cpu" if here else torch.cuda.get_device_name(device),
        forward_ms_min=min(ms["forward"]),
        forward_ms_median=statistics.median(ms["forward"]),
        step_ms_min=min(ms["step"]),
        step_ms_median=statistics.median(ms["step"]),
        load=os.getloadavg()[0],
    )


def _drawn_by_gsplat(scene: Scene) -> Tensor:
    from avatar3d.render.gsplat import rasterized

    shape = (scene.means, scene.quats, scene.scales, scene.opacities, scene.colours)
    picture, _ = rasterized(*shape, scene.cam_from_world[..., None, :, :], scene.K[..., None, :, :], *2 * (scene.size,))
    return picture[..., :3]
