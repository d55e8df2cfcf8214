# SPDX-License-Identifier: Apache-2.0
"""`avatar3d prior`: what the speech of several prepared captures has in common, for people of whom there is little."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avatar3d.avatars import part_name
from avatar3d.choose import choose
from avatar3d.contracts import Listen
from avatar3d.errors import InputError
from avatar3d.fit import Budget, fit
from avatar3d.motion._prior import STAGES, Person, Prior, PriorFit
from avatar3d.records import Progress, Watch, unwatched
from avatar3d.store import Work, load_capture, load_tensors, load_track, write_tensors
from avatar3d.threads import torch_threads

KIND = "avatar3d prior of speech"
_LEAST_FRAMES = 75


@dataclass(frozen=True)
class PriorSettings:
    """How a prior is trained."""

    steps: int = 600
    audio: str = "mel"  # the audio feature
    seed: int = 0


def train_prior(
    works: Sequence[Work], out: Path, settings: PriorSettings = PriorSettings(), watch: Watch = unwatched
) -> dict[str, Any]:
    """Trains on the training frames of prepared work folders and writes `out`, a safetensors file.

    Returns:
        JSON values: "prior" (the path), "people", "frames", "steps", "seconds", "size_mb", and "unheard_parts": how
        well the mouths follow parts of the captures that were not trained on.

    Raises:
        InputError: a folder is not prepared, or has too little speech; or there are none.
    """
    if not works:
        raise InputError("no work folder to learn from", "name folders that `avatar3d prepare` has written")
    listen: Listen = choose("avatar3d.audio", settings.audio)()
    people = [_person(work) for work in works]
    started, figures = time.perf_counter(), dict[str, float]()
    with torch_threads(1):
        learner = PriorFit(listen, people, settings.seed)
        for report in fit(learner, STAGES, Budget(steps=settings.steps), reviews=2, seed=settings.seed):
            figures = dict(report.figures) or figures
            watch(Progress("prior", report.progress, f"loss {report.loss:.3f}"))
    prior = learner.prior()
    about = {"kind": KIND, "config": prior.config(), "listen": part_name(listen), "figures": figures}
    write_tensors(out, prior.tensors(), about)
    return {
        "prior": str(out),
        "people": len(people),
        "frames": sum(person.track.fitted_frames for person in people),
        "steps": settings.steps,
        "seconds": round(time.perf_counter() - started, 1),
        "size_mb": round(out.stat().st_size / 1e6, 2),
        "unheard_parts": figures,
    }


def load_prior(path: Path, listen: Listen) -> Prior:
    """The prior that a file holds, for voices that hear `listen`.

    Raises:
        InputError: no such file, another kind of file, or a prior that hears something else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file", "train one with `avatar3d prior`")
    try:
        tensors, about = load_tensors(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a prior ({error})", "train one with `avatar3d prior`") from error
    if about.get("kind") != KIND:
        raise InputError(f"{path}: not a prior", "train one with `avatar3d prior`")
    if about["listen"] != part_name(listen):
        raise InputError(
            f"{path}: a prior that hears {about['listen']}, for a voice that hears {part_name(listen)}",
            f"choose --audio {about['listen']}",
        )
    return Prior.restore(about["config"], tensors, listen)


def _person(work: Work) -> Person:
    capture, track = load_capture(work), load_track(work)
    if capture.sound is None:
        raise InputError(f"{work.path}: its video has no sound", "leave it out")
    if (track.confidence[: track.fitted_frames] > 0).sum() < _LEAST_FRAMES:
        raise InputError(f"{work.path}: fewer than {_LEAST_FRAMES} frames with a face", "leave it out")
    return Person(capture.sound, track, capture.cuts)
