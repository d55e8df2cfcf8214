# SPDX-License-Identifier: Apache-2.0
"""`avatar3d bench turns`: a head trained on the frames that look ahead, judged on those of its video that do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from avatar3d import assets
from avatar3d.choose import choose
from avatar3d.contracts import Head, Tools
from avatar3d.errors import InputError
from avatar3d.face.canonical import load_canonical
from avatar3d.fit import Budget, fit
from avatar3d.geometry import matrix_from_quat
from avatar3d.metrics import Judge, mean_looks
from avatar3d.metrics.baselines import warp
from avatar3d.player import Player
from avatar3d.recipes._lpips import lpips_at_hand
from avatar3d.recipes._text import shown, table
from avatar3d.recipes.train import STANDARD, perceptual_term, trainable
from avatar3d.records import Capture, Landmarks, Progress, Track, Watch, unwatched
from avatar3d.store import Work, load_capture, load_track
from avatar3d.threads import torch_threads

_MOST_FRAMES = 60  # that are judged
_FEWEST_NEAR, _FEWEST_FAR = 50, 5
_FIGURES = ("psnr_head", "psnr_face", "psnr_lips", "lpips_head")


@dataclass(frozen=True)
class TurnsSettings:
    """Where the line is drawn, and how long is trained."""

    near_deg: float = 10.0  # of yaw about the usual one
    steps: int = 1500
    head: str = STANDARD
    seed: int = 0


def bench_turns(work: Work, settings: TurnsSettings = TurnsSettings(), watch: Watch = unwatched) -> dict[str, Any]:
    """Trains a head on the frames of a prepared work folder within some degrees of its usual yaw, judges it on others.

    The rig is the folder's own: its landmarks, though not a pixel, of turned frames have shaped it. A head's motion
    comes from landmarks alone. The warp of the nearest trained frame (`metrics.baselines.warp`) stands beside it.

    Returns:
        "near_frames", "far_frames", "furthest_deg", and "rows": "made" and "warp" with psnr_head, psnr_face, psnr_lips
        and lpips_head (None without weights), means over the far frames.

    Raises:
        InputError: the head hardly turns in this video, or hardly ever looks ahead.
    """
    capture, track = load_capture(work), load_track(work)
    turn, sure = np.abs(yaws_deg(track)), track.confidence > 0
    near, far = (np.flatnonzero(rows & sure) for rows in (turn <= settings.near_deg, turn > settings.near_deg))
    if len(near) < _FEWEST_NEAR or len(far) < _FEWEST_FAR:
        raise InputError(
            f"{work.path}: {len(near)} frames within {settings.near_deg:g} deg of yaw, {len(far)} beyond",
            f"take a video whose head turns, or another angle: {_FEWEST_NEAR} and {_FEWEST_FAR} frames are needed",
        )
    far = far[np.linspace(0, len(far) - 1, min(len(far), _MOST_FRAMES)).astype(int)]
    with torch_threads(1):
        head = _trained(*only(capture, track, near), settings, watch)
        rows = [{"of": name, **figures} for name, figures in _judged(head, capture, track, near, far).items()]
    furthest = float(turn[far].max())
    return {"near_frames": len(near), "far_frames": len(far), "furthest_deg": furthest, "rows": rows}


def report_turns(figures: Mapping[str, Any]) -> str:
    """The rows as a table for the terminal."""
    title = (
        f"trained on {figures['near_frames']} frames that look ahead, "
        f"judged on {figures['far_frames']} that turn up to {figures['furthest_deg']:.0f} deg"
    )
    rows = [(row["of"], *(shown(row[name]) for name in _FIGURES)) for row in figures["rows"]]
    return f"{title}\n{table([('', *_FIGURES), *rows])}"


def yaws_deg(track: Track) -> np.ndarray:
    """[T] deg: how far each frame's head is turned to a side, about the median of the trusted ones."""
    ahead = matrix_from_quat(torch.from_numpy(track.motion.head[:, :4])).numpy()[:, :, 2]  # out of the face
    yaw = np.degrees(np.arctan2(ahead[:, 0], -ahead[:, 2]))
    return yaw - np.median(yaw[track.confidence > 0])


def only(capture: Capture, track: Track, rows: np.ndarray) -> tuple[Capture, Track]:
    """A capture and its track of nothing but some frames, every gap a cut, all of them for training."""
    gaps = np.flatnonzero(np.diff(rows) > 1) + 1
    cuts = np.searchsorted(rows, [cut for cut in capture.cuts if rows[0] < cut <= rows[-1]])
    masks = None if capture.masks is None else capture.masks[rows]
    motion = track.motion
    per_frame = {name: getattr(motion, name)[rows] for name in ("expression", "blink", "gaze", "head")}
    if motion.body is not None:
        per_frame["body"] = motion.body[rows]
    return (
        replace(
            capture, frames=capture.frames[rows], masks=masks, cuts=tuple(sorted({*gaps.tolist(), *cuts.tolist()}))
        ),
        replace(
            track,
            motion=replace(motion, **per_frame),
            landmarks=_of(track.landmarks, rows),
            confidence=track.confidence[rows],
            fitted_frames=len(rows),
            fault=None if track.fault is None else track.fault[rows],
        ),
    )


def _trained(capture: Capture, track: Track, settings: TurnsSettings, watch: Watch) -> Head:
    part = trainable(settings.head)
    tools = Tools(choose("avatar3d.render", "native")(), perceptual_term()[0])
    triangles = load_canonical(assets.find(assets.FACE_LANDMARKER, watch)).triangles
    task = part.learner(capture, track, triangles, tools, None, settings.seed)
    for report in fit(task, part.stages, Budget(steps=settings.steps), reviews=0, seed=settings.seed):
        watch(Progress("train", report.progress, f"loss {report.loss:.4f}"))
    return task.trained()


def _judged(
    head: Head, capture: Capture, track: Track, near: np.ndarray, far: np.ndarray
) -> dict[str, dict[str, float | None]]:
    player = Player(head, choose("avatar3d.render", "native")())
    seen = _of(track.landmarks, far)
    judge = Judge(capture.frames[far], seen, np.zeros(len(far), int), lpips_at_hand())
    known = np.isin(np.arange(len(track.landmarks.found)), near)
    codes = head.encode(track.motion, capture.cuts)[torch.from_numpy(far)]
    made = {
        "made": map(player.frame, codes),
        "warp": warp(capture.frames, track.landmarks.points, known, seen.points),
    }
    looks = {name: [judge.look(index, next(frames)) for index in range(len(judge))] for name, frames in made.items()}
    return {name: mean_looks(seen_of_it, _FIGURES) for name, seen_of_it in looks.items()}


def _of(landmarks: Landmarks, rows: np.ndarray) -> Landmarks:
    return Landmarks(landmarks.points[rows], landmarks.scores[rows], landmarks.found[rows])
