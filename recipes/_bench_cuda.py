# SPDX-License-Identifier: Apache-2.0
"""How fast heads are drawn and taught on a GPU: single pictures and batches, ours and gsplat's, on the bench's scene.

Times are the device's own, between events on its stream; nothing waits for it between repetitions.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from avatar3d.errors import InputError
from avatar3d.ops import _native
from avatar3d.ops.posed import posed
from avatar3d.ops.splat import TileRoom, splat
from avatar3d.recipes._scene import TRAINED, Scene, head
from avatar3d.records import Progress, Watch, unwatched

CASES = ((256, 10_000), (512, 30_000), (512, 50_000))  # size px, Gaussians
BATCHES = (1, 8)
REPETITIONS = 60
TERMS = 24  # codes of the posed head
SIDEWAYS_U = 0.02  # between the cameras of a batch

Inputs = dict[str, Any]  # tensors by the name of the argument


@dataclass(frozen=True)
class CudaRow:
    """One measurement of a batch: times are of the whole batch."""

    size: int  # px, width and height
    n: int  # Gaussians
    images: int
    renderer: str  # avatar3d or gsplat
    device: str
    forward_ms_min: float
    forward_ms_median: float
    step_ms_min: float  # forward and backward to all five tensors of the Gaussians
    step_ms_median: float
    posed_ms_min: float | None  # from codes and poses to pictures; gsplat has no such thing
    posed_ms_median: float | None


def bench_cuda(
    cases: tuple[tuple[int, int], ...] = CASES,
    batches: tuple[int, ...] = BATCHES,
    repetitions: int = REPETITIONS,
    device: torch.device | None = None,
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Times the CUDA kernels, and gsplat beside them where it is installed.

    Args:
        cases: (size px, Gaussians) pairs.
        batches: images at a time.
        repetitions: of each measurement; the minimum and the median are kept.
        device: None: torch's current CUDA device.

    Returns:
        `{"rows": [CudaRow as a dict]}`.

    Raises:
        InputError: there are no CUDA kernels to time.
    """
    reason = _native.why_not("cuda")
    if reason:
        raise InputError(
            f"bench: no CUDA kernels ({reason})", "build them on a machine with an NVIDIA device, or use the CPU"
        )
    device = device or torch.device("cuda", torch.cuda.current_device())
    rows: list[CudaRow] = []
    plan = [(size, n, images) for size, n in cases for images in batches]
    for done, (size, n, images) in enumerate(plan):
        watch(Progress("bench", done / len(plan), f"{size}x{size}, {n} Gaussians, {images} images"))
        rows.append(_ours(head(size, n), images, repetitions, device))
        if device.type == "cuda" and importlib.util.find_spec("gsplat"):
            rows.append(_gsplats(head(size, n), images, repetitions, device))
    watch(Progress("bench", 1.0))
    return {"rows": [asdict(row) for row in rows]}


def _ours(scene: Scene, images: int, repetitions: int, device: torch.device) -> CudaRow:
    inputs = _batch(scene, images, device)
    size: dict[str, Any] = {"width": scene.size, "height": scene.size}
    room = TileRoom()

    def draw(inputs: Inputs) -> Tensor:
        return splat(**inputs, **size, path="native", room=room)[0]

    _make_room(lambda: draw(inputs), room)
    extra = _at_rest(len(scene.means), images, device)
    drawn = {name: tensor for name, tensor in inputs.items() if name not in extra}
    posed_ms = _times_ms(lambda: posed(**drawn, **extra, **size, path="native", room=room), repetitions, device)
    row = _row(scene, images, "avatar3d", draw, inputs, posed_ms, repetitions, device)
    room.check()
    return row


def _make_room(draw: Callable[[], Tensor], room: TileRoom) -> None:
    """Draws until the room is large enough."""
    draw()
    try:
        room.check()
    except RuntimeError:
        draw()
        room.check()


def _gsplats(scene: Scene, images: int, repetitions: int, device: torch.device) -> CudaRow:
    from avatar3d.render.gsplat import rasterized

    inputs = _batch(scene, images, device)

    def draw(inputs: Inputs) -> Tensor:
        given = inputs | {"K": inputs["K"].expand(images, 3, 3)}
        return rasterized(**given, width=scene.size, height=scene.size)[0]

    return _row(scene, images, "gsplat", draw, inputs, None, repetitions, device)


def _row(
    scene: Scene, images: int, renderer: str, draw: Callable[[Inputs], Tensor], inputs: Inputs,
    posed_ms: list[float] | None, repetitions: int, device: torch.device,
) -> CudaRow:  # fmt: skip
    moving = inputs | {name: inputs[name].clone().requires_grad_() for name in TRAINED}
    leaves = [moving[name] for name in TRAINED]
    with torch.no_grad():
        upstream = torch.randn_like(draw(inputs))
        forward_ms = _times_ms(lambda: draw(inputs), repetitions, device)
    step_ms = _times_ms(lambda: torch.autograd.grad(draw(moving), leaves, upstream), repetitions, device)
    return CudaRow(
        size=scene.size,
        n=len(scene.means),
        images=images,
        renderer=renderer,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        forward_ms_min=min(forward_ms),
        forward_ms_median=statistics.median(forward_ms),
        step_ms_min=min(step_ms),
        step_ms_median=statistics.median(step_ms),
        posed_ms_min=min(posed_ms) if posed_ms else None,
        posed_ms_median=statistics.median(posed_ms) if posed_ms else None,
    )


def _batch(scene: Scene, images: int, device: torch.device) -> Inputs:
    """One cloud, seen by cameras side by side."""
    poses = scene.cam_from_world.repeat(images, 1, 1)
    poses[:, 0, 3] += SIDEWAYS_U * torch.arange(images)
    given = {name: getattr(scene, name) for name in TRAINED} | {"cam_from_world": poses, "K": scene.K}
    return {name: tensor.to(device) for name, tensor in given.items()}


def _at_rest(count: int, images: int, device: torch.device) -> Inputs:
    """What `posed` needs besides: tables, codes, and poses that leave the head where it is."""
    g = torch.Generator().manual_seed(2)
    still = torch.tensor([1.0, 0, 0, 0, 0, 0, 0]).repeat(images, 1)
    given = {
        "tables": 1e-3 * torch.randn(TERMS, count, 9, generator=g), "codes": torch.randn(images, TERMS, generator=g),
        "skin_logits": torch.zeros(count), "world_from_head": still, "world_from_body": still,
    }  # fmt: skip
    return {name: tensor.to(device) for name, tensor in given.items()}


def _times_ms(run: Callable[[], Any], repetitions: int, device: torch.device) -> list[float]:
    for _ in range(3):
        run()
    if device.type != "cuda":
        return [_time_ms(run) for _ in range(repetitions)]
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repetitions + 1)]
    events[0].record()
    for event in events[1:]:
        run()
        event.record()
    torch.cuda.synchronize(device)
    return [before.elapsed_time(after) for before, after in pairwise(events)]


def _time_ms(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def report_cuda(figures: dict[str, Any]) -> str:
    """The rows as a table for people, with pictures per second at the median."""
    heads: tuple[str, ...] = ("size", "Gaussians", "images", "renderer", "forward ms min", "median", "step ms min")
    heads += ("median", "posed ms min", "forward images/s", "step images/s")
    rows = [heads, *(_cells(row) for row in figures["rows"])]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    rates = [1e3 * row["images"] / row[f"{kind}_ms_median"] for kind in ("forward", "step")]
    times = [row[name] for name in ("forward_ms_min", "forward_ms_median", "step_ms_min", "step_ms_median")]
    posed_ms = row["posed_ms_min"]
    return (
        f"{row['size']}x{row['size']}", f"{row['n']:,}", str(row["images"]), row["renderer"],
        *(f"{time_ms:.3f}" for time_ms in times), "-" if posed_ms is None else f"{posed_ms:.3f}",
        *(f"{rate:.0f}" for rate in rates),
    )  # fmt: skip
