# SPDX-License-Identifier: Apache-2.0
"""Training the head of a prepared work folder, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avatar3d import assets, ranks
from avatar3d.avatar._fit_settings import FitSettings
from avatar3d.avatar._scatter import Counts
from avatar3d.avatar.linear import LinearSettings
from avatar3d.avatar.radiance import VARIANTS, RadianceSettings
from avatar3d.choose import choose
from avatar3d.contracts import Head, HeadLearner, Perceptual, Tools, TrainableHead
from avatar3d.errors import InputError
from avatar3d.face.canonical import load_canonical
from avatar3d.fit import Budget, Stage, StepReport, fit
from avatar3d.ops import _tinycudann
from avatar3d.perceptual import gradient_loss
from avatar3d.preview import Preview
from avatar3d.recipes._device import device_named
from avatar3d.recipes._lpips import lpips_at_hand
from avatar3d.recipes._renderer import renderer_of
from avatar3d.records import BLUR_PX2, Capture, Motion, Progress, Track, Watch, unwatched
from avatar3d.refine import RefineSettings, refine
from avatar3d.store import (
    Work,
    key_of,
    load_capture,
    load_motion_made_from,
    load_tensors,
    load_track,
    save_motion,
    write_json,
    write_tensors,
)
from avatar3d.threads import torch_threads

STANDARD = "linear"
_STAGE = "head"
_FILE = "head.safetensors"
_LEAST_FRAMES = 50
_WATCH_EVERY = 10  # steps


@dataclass(frozen=True)
class TrainSettings:
    """How a head is trained."""

    budget_s: float | None = 220.0  # seconds of training
    steps: int | None = None  # ends earlier than budget_s where given; alone, the same seed gives the same head
    head: Any = None  # settings of the kind of head, its own dataclass; None: its defaults
    stages: tuple[Stage, ...] | None = None  # what counts when; None: as the kind of head says
    renderer: str | None = None  # None: the head's own
    device: str = "cpu"  # or "cuda", "cuda:N"
    batch: int = 1  # pictures per step; of several processes together at least one each
    retrack_frames: int = 0  # a capture of up to so many frames to train on has its motion refined on the way
    seed: int = 0


# TalkingGaussian's schedule (Li et al., ECCV 2024), its 50,000 steps of face and mouth, here at once, and its 10,000 of
# fusion as fractions: nothing moves at first, then motion is learned, on the face first; in the end colours alone
_TG = {"picture": 1.0, "alpha": 0.2, "solid": 0.6}
_TG_MOTION = _TG | {"motion": 1e-5, "attention": 1e-4}
_TG_FUSED = dict.fromkeys(("means", "quats", "log_scales", "skin_logits", "body_map", "planes", "networks"), 0.0)
TALKING_GAUSSIAN = (
    Stage("warm-up", 0.05, _TG, own={"still": 1, "opening_every": 15}),
    Stage("face first", 0.667, _TG_MOTION, own={"hair_every": 7, "blink_every": 15, "since": 0.05}),
    Stage("any frame", 0.783, _TG_MOTION, own={"hair_every": 7}),
    Stage("detail", 0.833, _TG_MOTION | {"perceptual": 0.2}),
    Stage("fusion", 0.917, _TG, _TG_FUSED | {"opacity_logits": 0.02}),
    Stage("fusion in detail", 1.0, _TG | {"perceptual": 0.5}, _TG_FUSED | {"opacity_logits": 0.02}),
)

# For two cores of a laptop; of a kind of head that is not named here, its own defaults. More Gaussians cost time in
# each step, so a shorter training has fewer. All 16 components of the tracker drive a head: with 8, 12 and 16 of them
# 1,500 steps on a minute of video end with 32.8, 33.0 and 33.3 dB about the face, for at most a quarter more time.
_USUAL = {"quick": TrainSettings(60.0), "standard": TrainSettings(220.0), "quality": TrainSettings(450.0)}
PRESETS: Mapping[str, Mapping[str, TrainSettings]] = {
    "linear": {
        "quick": TrainSettings(60.0, head=LinearSettings(Counts(6000, 7000, 800, 3000))),
        "standard": TrainSettings(220.0),
        # refining takes some 40 s per 1,500 frames, of which the shorter trainings would make better use
        "quality": TrainSettings(450.0, head=LinearSettings(Counts(8000, 11000, 1000, 4000)), retrack_frames=2000),
    },
    # a ray costs more than a splat: what Gaussians learn in seconds takes a field minutes
    "radiance": {"quick": TrainSettings(180.0), "standard": TrainSettings(600.0)}
    | {
        name: TrainSettings(1200.0, head=variant(), retrack_frames=2000)
        for name, variant in {"quality": RadianceSettings, **VARIANTS}.items()
    },
    "triplane": _USUAL | {"talking-gaussian": TrainSettings(450.0, stages=TALKING_GAUSSIAN)},
}

# For one GPU: the pictures of a batch are drawn in one call. The number of Gaussians stays as it is here too: to let it
# grow (FitSettings.renew_every) cost .9 dB of the whole picture in the one training that was tried, of 800 steps.
_SHARP_SOON = FitSettings(coarse_until=0.2)
_USUAL_CUDA = {
    "fast": TrainSettings(30.0, device="cuda", batch=4),
    "standard": TrainSettings(90.0, device="cuda", batch=4),
    "quality": TrainSettings(300.0, device="cuda", batch=8),
}


_RETRACKED = RefineSettings(rays=1000)  # of frames that are many, and each of which a training looks at often anyway


def _many_rays(settings: RadianceSettings) -> RadianceSettings:
    shape = {**settings.shape, "half": True}  # for a GPU waits for its memory; a CPU draws such a head the same
    return replace(settings, shape=shape, fit=replace(settings.fit, samples=1 << 16))


CUDA_PRESETS: Mapping[str, Mapping[str, TrainSettings]] = {
    "linear": {
        name: replace(_USUAL_CUDA[name], head=settings)
        for name, settings in {
            "fast": LinearSettings(fit=_SHARP_SOON),
            "standard": LinearSettings(Counts(12000, 12000, 1200, 5000), fit=_SHARP_SOON),
            "quality": LinearSettings(Counts(16000, 16000, 1800, 8000), fit=_SHARP_SOON),
        }.items()
    },
    "radiance": {
        name: TrainSettings(seconds, device="cuda", batch=4, head=_many_rays(settings))
        for name, (seconds, settings) in {
            "fast": (60.0, RadianceSettings()),
            "standard": (300.0, RadianceSettings()),
            "quality": (600.0, RadianceSettings()),
            **{name: (600.0, variant()) for name, variant in VARIANTS.items()},
        }.items()
    },
}


# by name on the command line: the layout of a radiance head's grids, and what reads them while it is trained
GRIDS = {"lines": ("lines", "auto"), "ngp": ("ngp", "auto"), "tinycudann": ("ngp", "tinycudann")}


def preset(head: str, name: str, device: str = "cpu") -> TrainSettings:
    """The settings under which a kind of head is trained by the preset `name` on a device (cpu, cuda, cuda:N).

    Raises:
        InputError: it has no such preset there.
    """
    on_gpu = device.startswith("cuda")
    offered = CUDA_PRESETS.get(head, _USUAL_CUDA) if on_gpu else PRESETS.get(head, _USUAL)
    if name not in offered:
        raise InputError(
            f"the {head} head has no preset named {name!r} on {device}", f"choose one of: {', '.join(offered)}"
        )
    return replace(offered[name], device=device)


def with_grid(settings: TrainSettings, head: str, grid: str | None) -> TrainSettings:
    """The settings of a kind of head whose grids lie in memory as `grid` (one of GRIDS) says; None: as they are.

    Raises:
        InputError: the head has no such choice, or the package that is to read them cannot be used.
    """
    if grid is None:
        return settings
    if head != "radiance":
        raise InputError(f"--grid {grid}: the {head} head has no such choice", "leave it out, or give --head radiance")
    if grid not in GRIDS:
        raise InputError(f"no grid named {grid!r}", f"choose one of: {', '.join(GRIDS)}")
    layout, path = GRIDS[grid]
    if path == "tinycudann" and (reason := _tinycudann.why_not(torch.device(settings.device))):
        raise InputError(f"--grid {grid}: {reason}", "give --grid ngp, the same read by our own kernels")
    usual = settings.head or RadianceSettings()
    return replace(settings, head=replace(usual, shape={**usual.shape, "layout": layout}, path=path))


def trainable(head: str) -> type[TrainableHead]:
    """The class of a kind of head.

    Raises:
        InputError: there is no such head, or it cannot be trained.
    """
    part: type[TrainableHead] = choose("avatar3d.avatar", head)
    if not hasattr(part, "learner"):
        raise InputError(f"the {head} head cannot be trained", "name one whose class has a `learner`")
    return part


def train(
    work: Work,
    head: str = STANDARD,
    settings: TrainSettings | None = None,
    watch: Watch = unwatched,
    preview: Preview | None = None,
) -> tuple[Head, dict[str, Any]]:
    """Trains a head of a prepared work folder and keeps it in runs/HEAD; a finished one is read back.

    An interrupted training goes on from its last checkpoint.

    Args:
        head: a part of avatar3d.avatar, or the dotted name of a part elsewhere.
        settings: None: the preset "standard".
        preview: shows the head while it is trained to whoever asks for it in another thread.

    Returns:
        The head, and figures: "gaussians" (of heads that have some), "steps", "training_s", "ms_per_step",
        "perceptual", "held_out" (PSNR, dB).

    Raises:
        InputError: there is no such head, the folder is not prepared, or too few of its frames can be trained on.
    """
    settings = settings or preset(head, "standard")
    device = device_named(settings.device)
    try:
        with ranks.joined(device), torch_threads(1):
            return _train(work, head, settings, device, watch, preview)
    finally:
        if preview is not None:
            preview.close()


def _train(
    work: Work, head: str, settings: TrainSettings, device: str, watch: Watch, preview: Preview | None
) -> tuple[Head, dict[str, Any]]:
    part = trainable(head)
    key = key_of("head", BLUR_PX2, head, work.key("capture"), work.key("track"), work.key("masks"), asdict(settings))
    stored = work.run(head) / _FILE
    if work.key(head) == key and stored.exists():
        tensors, entry = load_tensors(stored)
        return part.restore(entry["config"], tensors), entry["figures"]
    capture, track = load_capture(work), load_track(work)
    _check(work, track)
    tools, perceptual = _tools(part, capture, track, settings, device, partial(_keep, work.motion(head), key), watch)
    watch(Progress(_STAGE, 0.0, "first colours"))
    triangles = load_canonical(assets.find(assets.FACE_LANDMARKER, watch)).triangles
    task = part.learner(capture, track, triangles, tools, settings.head, settings.seed)
    stages = part.stages if settings.stages is None else settings.stages
    figures = _fitted(task, stages, settings, work.run(head), key, watch, preview)
    config, tensors = (trained := task.trained()).config(), trained.tensors()
    trained = part.restore(config, tensors)  # on the CPU, wherever it was trained
    figures = _size(tensors) | {"perceptual": perceptual} | figures
    if ranks.rank():
        return trained, figures
    write_tensors(stored, tensors, {"config": config, "figures": figures})
    write_json(work.run(head) / "config.json", asdict(settings))
    work.finish(head, key)
    return trained, figures


def _size(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    return {"gaussians": len(tensors["means"])} if "means" in tensors else {}


def load_head(work: Work, head: str = STANDARD) -> Head:
    """A trained head of a work folder.

    Raises:
        InputError: there is none.
    """
    tensors, entry = load_tensors(work.run(head) / _FILE)
    restored: Head = choose("avatar3d.avatar", head).restore(entry["config"], tensors)
    return restored


def measured_anew(work: Work, head: str) -> Motion | None:
    """The motion that a finished head measured while it was trained, if it did.

    Such a head moves by the new numbers: a voice for it is learned from them too.
    """
    return load_motion_made_from(work.motion(head), work.key(head))


def as_trained(work: Work, head: str, track: Track) -> tuple[Track, tuple[int, ...]]:
    """The track with the motion that a finished head was trained on, and the frames where that motion jumps."""
    motion = measured_anew(work, head)
    return (track, ()) if motion is None else (replace(track, motion=motion), (track.fitted_frames,))


def perceptual_term(device: str = "cpu") -> tuple[Perceptual, str]:
    """LPIPS where its weights are on this machine, which are never fetched for training; and the term's name."""
    lpips = lpips_at_hand()
    return (gradient_loss, "gradients") if lpips is None else (lpips.to(device), "lpips")


def _check(work: Work, track: Track) -> None:
    usable = int((track.confidence[: track.fitted_frames] > 0).sum())
    if usable < _LEAST_FRAMES:
        raise InputError(
            f"{work.path}: only {usable} frames with a face to train on, {_LEAST_FRAMES} are needed",
            "film for longer, with the face in view",
        )


def _keep(path: Path, key: str, motion: Motion) -> None:
    if not ranks.rank():
        save_motion(path, motion, key)


def _tools(
    part: type[TrainableHead],
    capture: Capture,
    track: Track,
    settings: TrainSettings,
    device: str,
    keep: Callable[[Motion], None],
    watch: Watch,
) -> tuple[Tools, str]:
    """What the head is trained with, and the name of its perceptual term."""
    draw = renderer_of(part, settings.renderer)
    perceptual, name = perceptual_term(device)

    def retrack(trained: Head) -> Motion:
        motion = refine(trained, capture, track, draw, range(track.fitted_frames), _RETRACKED, watch).motion
        keep(motion)
        return motion

    again = retrack if track.fitted_frames <= settings.retrack_frames else None
    return Tools(draw, perceptual, again, device), name


def _fitted(
    task: HeadLearner,
    stages: Sequence[Stage],
    settings: TrainSettings,
    run: Path,
    key: str,
    watch: Watch,
    preview: Preview | None,
) -> dict[str, Any]:
    last: StepReport | None = None
    held_out: dict[str, float] = {}
    for report in fit(
        task,
        stages,
        Budget(settings.budget_s, settings.steps),
        checkpoint=run / "checkpoint.safetensors",
        identity=key,
        log_dir=run,
        batch=-(-settings.batch // ranks.count()) * ranks.count(),
        seed=settings.seed,
    ):
        last = report
        held_out = dict(report.figures) or held_out
        if preview is not None:
            preview.offer(task.trained, report)
        if report.step % _WATCH_EVERY == 0 or report.progress >= 1:
            watch(Progress(_STAGE, report.progress, f"loss {report.loss:.4f}"))
    if last is None:
        return {"held_out": {name: round(value, 2) for name, value in task.evaluate().items()}}
    return {
        "steps": last.step,
        "training_s": round(last.spent_s, 1),
        "ms_per_step": round(1e3 * last.spent_s / last.step, 2),
        "held_out": {name: round(value, 2) for name, value in held_out.items()},
    }
