# SPDX-License-Identifier: Apache-2.0
"""Another renderer beside ours: the same scene, the same process, in turns."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch

from avatar3d.choose import choose
from avatar3d.contracts import Draw
from avatar3d.ops import _native
from avatar3d.recipes._scene import head
from avatar3d.recipes._timing import times_ms
from avatar3d.records import Camera, Gaussians
from avatar3d.threads import torch_threads

REPETITIONS = 5  # of the other renderer, which may be slow
OURS_PER_TURN = 4
_MOVING = ("means", "quats", "log_scales", "opacity_logits", "colours")


@dataclass(frozen=True)
class Versus:
    """Two renderers from `Gaussians` to the colours, activations included; a step is that and back to all five."""

    name: str  # of the other renderer
    size: int  # px, width and height
    n: int  # Gaussians
    threads: int  # of ours, and of torch
    isa: str  # of ours
    device: str
    repetitions: int  # of the other; ours has OURS_PER_TURN times as many
    ours_forward_ms_min: float
    ours_forward_ms_median: float
    ours_step_ms_min: float
    ours_step_ms_median: float
    forward_ms_min: float  # of the other
    forward_ms_median: float
    step_ms_min: float
    step_ms_median: float
    times_forward: float  # how many times as fast ours is, by the minima
    times_step: float
    load: float  # the machine's load average over the last minute, at the end of the measurement


def versus(name: str, size: int, n: int, threads: int, device: str = "cpu", repetitions: int = REPETITIONS) -> Versus:
    """Times the renderer `name` (as `avatar3d.choose` knows it) and ours on the scene of `recipes/_scene.py`.

    Raises:
        InputError: there is no such renderer, or it does not draw on this device.
    """
    scene = head(size, n).to(device)
    gaussians, camera = scene.gaussians(), scene.camera()
    runs: dict[str, Callable[[], object]] = {}
    for who, part in (("ours", "native"), ("other", name)):
        draw: Draw = choose("avatar3d.render", part)()
        runs |= {f"{who} forward": _forward(draw, gaussians, camera), f"{who} step": _step(draw, gaussians, camera)}
    _native.set_threads(threads)
    with torch_threads(threads):
        turns = {"ours forward": OURS_PER_TURN, "ours step": OURS_PER_TURN}
        ms = times_ms(runs, repetitions, device, turns)
    figures = {
        f"{who}{what}_ms_{kind}": summary(ms[f"{whom} {what}"])
        for who, whom in (("ours_", "ours"), ("", "other"))
        for what in ("forward", "step")
        for kind, summary in (("min", min), ("median", median))
    }
    return Versus(
        name=name,
        size=size,
        n=n,
        threads=threads,
        isa=_native.isa() if device == "cpu" else "cuda",
        device=device,
        repetitions=repetitions,
        times_forward=figures["forward_ms_min"] / figures["ours_forward_ms_min"],
        times_step=figures["step_ms_min"] / figures["ours_step_ms_min"],
        load=os.getloadavg()[0],
        **figures,
    )


def _forward(draw: Draw, gaussians: Gaussians, camera: Camera) -> Callable[[], object]:
    def run() -> object:
        with torch.no_grad():
            return draw(gaussians, camera)

    return run


def _step(draw: Draw, gaussians: Gaussians, camera: Camera) -> Callable[[], object]:
    leaves = {name: getattr(gaussians, name).clone().requires_grad_() for name in _MOVING}
    moving = replace(gaussians, **leaves)
    shape = (camera.height, camera.width, 3)
    upstream = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(gaussians.means.device)

    def run() -> object:
        return torch.autograd.grad(draw(moving, camera).rgb, list(leaves.values()), upstream)

    return run
