# SPDX-License-Identifier: Apache-2.0
"""`voice`: the person's own way of speaking, learned from the sound and the track of a work folder."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatars import restore_voice, voice_entry
from avatar3d.choose import choose
from avatar3d.contracts import Listen, Speak
from avatar3d.errors import InputError
from avatar3d.face.arkit import expression_of
from avatar3d.fit import Budget, fit
from avatar3d.metrics.motion import follow, shots_of
from avatar3d.motion._lip_space import LipSpace
from avatar3d.motion._ridge import linear_baseline
from avatar3d.motion._sync import Judge
from avatar3d.recipes._judge import opinion, trained_judge
from avatar3d.recipes.train import STANDARD, measured_anew
from avatar3d.recipes.train_prior import load_prior
from avatar3d.records import Capture, Motion, Progress, Sound, Stage, Track, Watch, unwatched
from avatar3d.store import Work, file_hash, key_of, load_capture, load_tensors, load_track, write_json, write_tensors
from avatar3d.threads import torch_threads

RUN, LIVE_RUN = "voice", "live_voice"
PRIMED = "primed"  # the motion model that begins with a prior
_VERSION = 4  # of what a voice holds: one of another version is trained again
_FILE = "voice.safetensors"
_SILENT = 1e-3  # peak; -60 dB
_LEAST_FRAMES = 75
_EYE_CORNERS = [33, 263]  # outer


@dataclass(frozen=True)
class VoiceSettings:
    """How a voice is trained."""

    budget_s: float = 90.0  # training ends here on a slow or busy machine
    steps: int | None = 600  # and here on others
    audio: str = "mel"  # the audio feature
    motion: str = "tcn"  # the motion model
    head: str = STANDARD  # the kind of head to speak with: see `measured_anew`
    audio_weights: Path | None = None  # of the audio feature, where it has any; None: where it finds them itself
    prior: Path | None = None  # of `avatar3d prior`, to begin with: for seconds of video
    sync: float = 0.0  # weight of a judge of lip sync, which is trained first, in the training of voices that ask one
    seed: int = 0
    run: str = RUN  # the name of the stage, and of its folder


def live(usual: VoiceSettings) -> VoiceSettings:
    """Settings of the voice beside it for speech that is still coming, which has no prior."""
    return replace(usual, audio="mel_live", audio_weights=None, motion="tcn_live", prior=None, run=LIVE_RUN)


def train_voice(
    work: Work, settings: VoiceSettings = VoiceSettings(), watch: Watch = unwatched
) -> tuple[Any, dict[str, Any]]:
    """Trains the voice of a prepared work folder and keeps it in runs/voice; a finished one is read back.

    Returns:
        The voice, or None for a capture without (audible) sound; and the figures: how it was trained and how it does
        on the held-out part (`held_out`), beside a linear model (`linear`). The figures say why there is no voice.

    Raises:
        InputError: the folder is not prepared, or too little of it can be trained on.
    """
    motion = measured_anew(work, settings.head)
    learned_from = work.key("track") if motion is None else file_hash(work.motion(settings.head))
    apart = ("head", "run", "prior", "audio_weights")
    chosen = {name: value for name, value in asdict(settings).items() if name not in apart}
    if settings.prior is not None:
        chosen["prior"] = file_hash(settings.prior)
    key = key_of("voice", _VERSION, work.key("capture"), learned_from, work.key("sync"), chosen)
    run = work.run(settings.run)
    if work.key(settings.run) == key and (stored := load_voice(work, settings.run)) is not None:
        return stored, load_tensors(run / _FILE)[1]["figures"]
    capture, track = load_capture(work), load_track(work)
    sound = capture.sound
    if sound is None or np.abs(sound.samples).max(initial=0.0) < _SILENT:
        why = "the video has no sound" if sound is None else "the video's sound is silent"
        return None, {"voice": None, "why": why}
    if (track.confidence[: track.fitted_frames] > 0).sum() < _LEAST_FRAMES:
        raise InputError(
            f"{work.path}: fewer than {_LEAST_FRAMES} frames with a face to learn a voice from",
            "film for longer, with the face in view",
        )
    if motion is not None:
        track = replace(track, motion=motion)
    listen = speakable(settings)
    with torch_threads(1):
        judge = trained_judge(capture, sound, track, listen, settings.seed, watch) if settings.sync else None
        voice, figures = _trained(work, capture, sound, track, listen, settings, key, watch, judge)
        figures |= judged(voice, capture, sound, track, listen)
        if judge is not None:
            figures["sync"] = opinion(judge, sound, track, personal(voice(sound), track))
    entry = voice_entry(voice) | {"figures": figures}
    write_tensors(run / _FILE, voice.tensors(), entry)
    write_json(run / "metrics.json", figures)
    work.finish(settings.run, key)
    return voice, figures


def speakable(settings: VoiceSettings) -> Listen:
    """The audio feature of a voice that can be trained; for what would be refused in the end to be refused at once.

    Raises:
        InputError: no such motion model or audio feature, or one without the weights, the prior or the judge named.
    """
    part = choose("avatar3d.motion", settings.motion)
    listen = listening(settings.audio, settings.audio_weights)
    takes = inspect.signature(part.learner).parameters if hasattr(part, "learner") else {}
    if settings.prior is not None:
        load_prior(settings.prior, listen)
    elif settings.motion == PRIMED:
        raise InputError("--voice primed: begins with a prior", "name one with --prior, see `avatar3d prior --help`")
    if settings.sync and "judge" not in takes:
        raise InputError(f"--sync: the voice {settings.motion} asks no judge of lip sync", "choose --voice vae")
    return listen


def listening(audio: str, weights: Path | None = None) -> Listen:
    """The audio feature of a name, with weights of the user's.

    Raises:
        InputError: there is no such feature, or it has no weights.
    """
    part = choose("avatar3d.audio", audio)
    if weights is None:
        listen: Listen = part()
    elif "weights" in inspect.signature(part).parameters:
        listen = part(weights=weights)
    else:
        raise InputError(f"--audio-weights {weights}: {audio} has no weights", "leave it out")
    return listen


def usual_audio(motion: str) -> str:
    """The audio feature that a motion model hears where none is named."""
    return getattr(choose("avatar3d.motion", motion), "usual_audio", VoiceSettings.audio)


def load_voice(work: Work, run: str = RUN) -> Speak | None:
    """The trained voice of a work folder, or None where there is none."""
    path = work.run(run) / _FILE
    if not path.exists():
        return None
    tensors, entry = load_tensors(path)
    return restore_voice(entry, tensors)


def judged(voice: Speak, capture: Capture, sound: Sound, track: Track, listen: Listen) -> dict[str, Any]:
    """Opening of the mouth on the held-out part, against the track's: correlation, gain and lag, beside a ridge's."""
    start, frames = track.fitted_frames, len(track.motion)
    valid = track.confidence[:start] > 0
    codes = track.motion.expression
    linear = linear_baseline(listen(sound)[:frames], codes[:start], valid)
    space, shots = LipSpace.of(track), shots_of(capture.cuts, start, frames)
    eyes_u = np.linalg.norm(np.subtract(*track.neutral[_EYE_CORNERS]))

    def compared(said: np.ndarray) -> dict[str, Any]:
        made = _fitted(said, frames)[start:]
        # per cent of the distance between the outer corners of the eyes
        real, opened = (100 / eyes_u * space.aperture(torch.from_numpy(part)).numpy() for part in (codes[start:], made))
        return asdict(follow(real, opened, shots))

    return {"held_out": compared(personal(voice(sound), track)), "linear": compared(linear)}


def personal(said: Motion, track: Track) -> np.ndarray:
    """Expressions [T,K] of a motion in a person's own basis."""
    if said.basis == "personal":
        return said.expression
    return expression_of(said.expression, track.arkit_map)


def _trained(
    work: Work,
    capture: Capture,
    sound: Sound,
    track: Track,
    listen: Listen,
    settings: VoiceSettings,
    key: str,
    watch: Watch,
    judge: Judge | None = None,
) -> tuple[Speak, dict[str, Any]]:
    part = choose("avatar3d.motion", settings.motion)
    started = time.perf_counter()
    if not hasattr(part, "learner"):  # it speaks by rule
        return part.of(listen, track), {"voice": settings.motion, "steps": 0, "training_s": 0.0}
    start: dict[str, Any] = {} if settings.prior is None else {"prior": load_prior(settings.prior, listen)}
    stages: Sequence[Stage] = part.stages
    if judge is not None:
        start["judge"] = judge
        stages = [replace(stage, weights={**stage.weights, "sync": settings.sync}) for stage in stages]
    learner = part.learner(listen, sound, track, capture.cuts, settings.seed, **start)
    steps, spent_s = 0, 0.0
    unheard: dict[str, float] = {}
    for report in fit(
        learner,
        stages,
        Budget(settings.budget_s, settings.steps),
        checkpoint=work.run(settings.run) / "checkpoint.safetensors",
        identity=key,
        log_dir=work.run(settings.run),
        seed=settings.seed,
    ):
        steps, spent_s = report.step, report.spent_s
        unheard = dict(report.figures) or unheard
        watch(Progress(settings.run, report.progress, f"loss {report.loss:.3f}"))
    voice: Speak = part.learned(learner, listen, track)
    figures = {"voice": settings.motion, "steps": steps, "training_s": round(spent_s, 1), "unheard_parts": unheard}
    return voice, figures | {"seconds": round(time.perf_counter() - started, 1), "size_mb": _size_mb(voice.tensors())}


def _fitted(codes: np.ndarray, frames: int) -> np.ndarray:
    """Rows cut, or the last one repeated, to `frames`: sound and pictures of a video end a little apart."""
    return np.pad(codes[:frames], ((0, max(frames - len(codes), 0)), (0, 0)), mode="edge")


def _size_mb(tensors: dict[str, Tensor]) -> float:
    return round(sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) / 1e6, 2)
