# SPDX-License-Identifier: Apache-2.0
"""`avatar3d bench posed`: how fast a head is drawn straight from its codes and poses, single pictures and batches."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from avatar3d.errors import InputError
from avatar3d.ops import _native
from avatar3d.ops.posed import posed
from avatar3d.ops.splat import TileRoom
from avatar3d.recipes._scene import Scene, head
from avatar3d.recipes._text import table
from avatar3d.recipes._timing import as_figures, times_ms
from avatar3d.records import Progress, Watch, unwatched
from avatar3d.threads import torch_threads

CASES = ((256, 10_000), (512, 30_000), (512, 50_000))  # size px, Gaussians
BATCHES = (1, 8)  # images in one call
REPETITIONS = 60
CODES = 24
_PAIRS = 1 << 18  # room for (tile, Gaussian) pairs of one image: three times what the largest case has


@dataclass(frozen=True)
class PosedRow:
    """One measurement: tables blended, Gaussians carried, projected and drawn."""

    size: int  # px, width and height
    n: int  # Gaussians
    codes: int  # tables
    images: int  # in one call; the times are of the call
    threads: int
    isa: str  # of the kernels; "cuda" on a GPU
    device: str  # "cpu", or the GPU's name
    ms_min: float
    ms_median: float
    load: float  # the machine's load average over the last minute, at the end of the measurement


def bench_posed(
    cases: tuple[tuple[int, int], ...] = CASES,
    batches: tuple[int, ...] = BATCHES,
    repetitions: int = REPETITIONS,
    device: str = "cpu",
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Times `avatar3d.ops.posed.posed` on the scene of `recipes/_scene.py` with tables that move it a little.

    Args:
        cases: (size px, Gaussians) pairs.
        batches: images at a time.
        repetitions: of each measurement; the minimum and the median are kept.
        device: "cpu", or a CUDA device.

    Returns:
        `{"rows": [PosedRow as a dict]}`.

    Raises:
        InputError: there are no kernels to time.
    """
    reason = _native.why_not(_native.body(torch.device(device)))
    if reason:
        raise InputError(f"bench: no native kernels ({reason})", "build them, then run bench again")
    plan = [(size, n, images) for size, n in cases for images in batches]
    rows = []
    for done, (size, n, images) in enumerate(plan):
        watch(Progress("bench", done / len(plan), f"posed, {size}x{size}, {n} Gaussians, {images} images"))
        rows.append(as_figures(_measure(head(size, n), images, repetitions, device)))
    watch(Progress("bench", 1.0))
    return {"rows": rows}


def _measure(scene: Scene, images: int, repetitions: int, device: str) -> PosedRow:
    given = {name: tensor.to(device) for name, tensor in at_rest(scene, images).items()}
    size: dict[str, Any] = {"width": scene.size, "height": scene.size}
    room = TileRoom(_PAIRS * images)
    with torch_threads(1):  # torch only puts the pictures together: its threads would wait for one another
        ms = times_ms({"posed": lambda: posed(**given, **size, path="native", room=room)}, repetitions, device)["posed"]
    room.check()
    cuda = _native.body(torch.device(device)) == "cuda"
    return PosedRow(
        size=scene.size,
        n=len(scene.means),
        codes=CODES,
        images=images,
        threads=1 if cuda else _native.threads(),
        isa="cuda" if cuda else _native.isa(),
        device=torch.cuda.get_device_name(device) if device != "cpu" else device,
        ms_min=min(ms),
        ms_median=statistics.median(ms),
        load=os.getloadavg()[0],
    )


def at_rest(scene: Scene, images: int) -> dict[str, Any]:
    """Arguments of `posed` by name: a head that stays where it is while its codes move it a little."""
    g = torch.Generator().manual_seed(2)
    count = len(scene.means)
    still = torch.tensor([1.0, 0, 0, 0, 0, 0, 0]).repeat(images, 1)
    return {
        **{name: getattr(scene, name) for name in ("means", "quats", "scales", "opacities", "colours")},
        **{name: getattr(scene, name) for name in ("cam_from_world", "K")},
        "tables": 1e-3 * torch.randn(CODES, count, 9, generator=g), "codes": torch.randn(images, CODES, generator=g),
        "skin_logits": torch.zeros(count), "world_from_head": still, "world_from_body": still,
    }  # fmt: skip


def report_posed(figures: Mapping[str, Any]) -> str:
    """The rows as a table for people."""
    heads = ("posed", "Gaussians", "codes", "images", "threads", "isa", "ms min", "median", "images/s", "load")
    rows = [
        (
            f"{row['size']}x{row['size']}", f"{row['n']:,}", row["codes"], row["images"], row["threads"], row["isa"],
            f"{row['ms_min']:.2f}", f"{row['ms_median']:.2f}", f"{1e3 * row['images'] / row['ms_median']:.0f}",
            f"{row['load']:.1f}",
        )
        for row in figures["rows"]
    ]  # fmt: skip
    return table((heads, *rows))
