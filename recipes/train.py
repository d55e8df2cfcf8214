# SPDX-License-Identifier: Apache-2.0
"""`avatar3d train`: the head of a prepared work folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from avatar3d import assets
from avatar3d.avatar._linear_fit import LinearFit, LinearFitSettings, Perceptual
from avatar3d.avatar._scatter import Counts
from avatar3d.avatar.linear import LinearHead, LinearSettings
from avatar3d.choose import choose
from avatar3d.errors import InputError
from avatar3d.face.canonical import load_canonical
from avatar3d.fit import Budget, Stage, StepReport, fit
from avatar3d.perceptual import Lpips, gradient_loss
from avatar3d.records import Capture, Motion, Progress, Track, Watch, unwatched
from avatar3d.refine import refine
from avatar3d.store import Work, key_of, load_capture, load_tensors, load_track, write_json, write_tensors
from avatar3d.threads import torch_threads

RUN = "head"
_FILE = "head.safetensors"
_LEAST_FRAMES = 50
_LARGE_PX = 384  # from this size on, training begins on pictures of half the size
_COARSE_UNTIL = 0.4
_WATCH_EVERY = 10  # steps


@dataclass(frozen=True)
class TrainSettings:
    """How a head is trained."""

    budget_s: float | None = 220.0  # seconds of training
    steps: int | None = None  # ends earlier than budget_s where given; alone, the same seed gives the same head
    counts: Counts = field(default_factory=Counts)  # Gaussians
    detail_from: float = 0.4  # fraction of the budget from which the perceptual term counts
    perceptual: float = 0.2  # weight of the perceptual term
    alpha: float = 0.2  # weight of the difference between alpha and the person's mask
    renderer: str = "native"
    retrack_frames: int = 0  # a capture of up to so many frames to train on has its motion refined half-way
    seed: int = 0
    fit: LinearFitSettings = field(default_factory=LinearFitSettings)


# for two cores of a laptop
PRESETS: Mapping[str, TrainSettings] = {
    "quick": TrainSettings(60.0, counts=Counts(6000, 7000, 800, 3000)),
    "standard": TrainSettings(220.0),
    # refining takes some 40 s per 1,500 frames, of which the shorter trainings would make better use
    "quality": TrainSettings(450.0, counts=Counts(8000, 11000, 1000, 4000), retrack_frames=2000),
}


def train(
    work: Work, settings: TrainSettings = PRESETS["standard"], watch: Watch = unwatched
) -> tuple[LinearHead, dict[str, Any]]:
    """Trains the head of a prepared work folder and keeps it in runs/head; a finished one is read back.

    An interrupted training goes on from its last checkpoint.

    Returns:
        The head, and figures: "gaussians", "steps", "training_s", "ms_per_step", "perceptual", "held_out" (PSNR, dB).

    Raises:
        InputError: the folder is not prepared, or too few of its frames can be trained on.
    """
    key = key_of("head", work.key("capture"), work.key("track"), work.key("masks"), asdict(settings))
    stored = work.run(RUN) / _FILE
    if work.key(RUN) == key and stored.exists():
        tensors, entry = load_tensors(stored)
        return LinearHead.restore(entry["config"], tensors), entry["figures"]
    capture, track = load_capture(work), load_track(work)
    _check(work, track)
    with torch_threads(1):
        task, perceptual = _task(capture, track, settings, watch)
        figures = _fitted(task, settings, work, key, watch)
        head = task.trained()
    figures = {"gaussians": len(head), "perceptual": perceptual} | figures
    write_tensors(stored, head.tensors(), {"config": head.config(), "figures": figures})
    write_json(work.run(RUN) / "config.json", asdict(settings))
    work.finish(RUN, key)
    return head, figures


def load_head(work: Work) -> LinearHead:
    """The trained head of a work folder.

    Raises:
        InputError: there is none.
    """
    tensors, entry = load_tensors(work.run(RUN) / _FILE)
    return LinearHead.restore(entry["config"], tensors)


def stages(settings: TrainSettings) -> list[Stage]:
    """What counts when: tables move once sizes and opacities are roughly right, and detail comes last."""
    shape = {"picture": 1.0, "alpha": settings.alpha}
    return [
        Stage("start", 0.02, shape, {"tables": 0.0}),
        Stage("shape", settings.detail_from, shape),
        Stage("detail", 1.0, shape | {"perceptual": settings.perceptual}),
    ]


def _check(work: Work, track: Track) -> None:
    usable = int((track.confidence[: track.fitted_frames] > 0).sum())
    if usable < _LEAST_FRAMES:
        raise InputError(
            f"{work.path}: only {usable} frames with a face to train on, {_LEAST_FRAMES} are needed",
            "film for longer, with the face in view",
        )


def _task(capture: Capture, track: Track, settings: TrainSettings, watch: Watch) -> tuple[LinearFit, str]:
    """What is trained, and the name of its perceptual term."""
    watch(Progress(RUN, 0.0, "first colours"))
    triangles = load_canonical(assets.find("face_landmarker.task", watch)).triangles
    head = LinearHead.from_track(capture, track, triangles, LinearSettings(settings.counts), settings.seed)
    large = track.camera.height >= _LARGE_PX
    how = replace(settings.fit, coarse_until=_COARSE_UNTIL) if large else settings.fit
    perceptual, name = perceptual_term()
    draw = choose("avatar3d.render", settings.renderer)()

    def retrack(trained: LinearHead) -> Motion:
        return refine(trained, capture, track, draw, range(track.fitted_frames), watch=watch).motion

    again = retrack if track.fitted_frames <= settings.retrack_frames else None
    return LinearFit(head, capture, track, draw, how, perceptual, again), name


def perceptual_term() -> tuple[Perceptual, str]:
    """LPIPS where its weights are on this machine; they are never fetched for training."""
    if assets.state(assets.LPIPS_ALEX)["where"] == "absent":
        return gradient_loss, "gradients"
    return Lpips.load(assets.find(assets.LPIPS_ALEX)), "lpips"


def _fitted(task: LinearFit, settings: TrainSettings, work: Work, key: str, watch: Watch) -> dict[str, Any]:
    task.paint()
    last: StepReport | None = None
    held_out: dict[str, float] = {}
    for report in fit(
        task,
        stages(settings),
        Budget(settings.budget_s, settings.steps),
        checkpoint=work.run(RUN) / "checkpoint.safetensors",
        identity=key,
        log_dir=work.run(RUN),
        seed=settings.seed,
    ):
        last = report
        held_out = dict(report.figures) or held_out
        if report.step % _WATCH_EVERY == 0 or report.progress >= 1:
            watch(Progress(RUN, report.progress, f"loss {report.loss:.4f}"))
    if last is None:
        return {"held_out": {name: round(value, 2) for name, value in task.evaluate().items()}}
    return {
        "steps": last.step,
        "training_s": round(last.spent_s, 1),
        "ms_per_step": round(1e3 * last.spent_s / last.step, 2),
        "held_out": {name: round(value, 2) for name, value in held_out.items()},
    }
