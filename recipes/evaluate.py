# SPDX-License-Identifier: Apache-2.0
"""`avatar3d eval`: how good an avatar is, on the last 1/11 of its video, which training never saw.

Judged are drawn frames as they leave the renderer: nothing encoded, nothing of the real frame pasted in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from avatar3d import assets
from avatar3d.avatars import Avatar, open_avatar
from avatar3d.choose import choose
from avatar3d.contracts import Speak
from avatar3d.data_prep.landmarks import Face, Landmarker, gathered
from avatar3d.errors import InputError
from avatar3d.metrics import Figures, Judge, Look, shots_of
from avatar3d.metrics.baselines import mean_image, nearest_frame, warp
from avatar3d.perceptual import Lpips
from avatar3d.recipes._clock import Clock
from avatar3d.recipes._drawn import Player
from avatar3d.recipes._sheets import contact_sheet, orbit_sheet
from avatar3d.recipes._text import shown, size_mb
from avatar3d.records import Capture, Landmarks, Motion, Progress, Sound, Track, Watch, held_out_start, unwatched
from avatar3d.refine import refine
from avatar3d.store import AVATAR_SUFFIX, Work, load_capture, load_track, save_picture, write_json
from avatar3d.threads import torch_threads

_LEAD_IN_S = 5.0  # sound before the held-out part that the voice hears too
_IN_FLIGHT = 8  # frames drawn ahead of the judging
_LOOKING = 2  # frames looked at at the same time
_DIGITS = 4
TrackedBy = Literal["photometric", "landmarks"]
_SAYS = {
    "photometric": "self_tracked: landmarks' motion, refined until the drawn head lies on the held-out pictures; "
    "the head is frozen. self_landmarks: without that",
    "landmarks": "self_tracked: landmarks' motion",
}
PRODUCTIONS = ("self_tracked", "self_landmarks", "self_audio")
BASELINES = ("nearest_frame", "mean_image", "warp")


@dataclass(frozen=True)
class EvalSettings:
    """What is judged, and what is kept of it."""

    avatar: Path | None = None  # an avatar folder; None: the newest one in the work folder
    frames: Path | None = None  # a folder for PNG pairs of every held-out frame
    renderer: str = "native"
    baselines: bool = True  # judge the trivial methods too
    motion: TrackedBy = "photometric"  # how the held-out frames' motion is measured
    seed: int = 0  # of the voice


@dataclass(frozen=True)
class _HeldOut:
    """The part of a capture that judges."""

    capture: Capture
    track: Track
    start: int  # its first frame
    judge: Judge

    @property
    def count(self) -> int:
        return len(self.capture.frames) - self.start


@dataclass(frozen=True)
class _Verdict:
    figures: Figures
    looks: list[Look]


def evaluate(work: Work, settings: EvalSettings = EvalSettings(), watch: Watch = unwatched) -> dict[str, Any]:
    """Judges an avatar on the held-out frames of its work folder.

    Writes metrics.json, contact.png and orbit.png into runs/NAME, and PNG pairs where `settings.frames` says.

    Returns:
        JSON values: "capture", "frames", "first_frame", "preset", "device", "seconds", "peak_rss_mb", "avatar_mb",
        "motion", "render_fps", "self_tracked", "self_landmarks", "self_audio", "baselines", "notes". A production's
        measures are those of `avatar3d.metrics.Figures`; None is what could not be measured. "motion" says how the
        motion of self_tracked was measured ("photometric": `avatar3d.refine` with the trained head, which learns
        nothing from it); self_landmarks is the tracker's own where that is another. self_audio keeps nothing of the
        held-out frames but the head's pose, as in self_tracked.

    Raises:
        InputError: the work folder is not finished, or there is no avatar.
    """
    clock = Clock(work)
    with clock.timed("eval"), torch_threads(1):
        path = settings.avatar or newest_avatar(work)
        avatar = open_avatar(path)
        held_out, notes = _held_out(work)
        player = Player(avatar.head, choose("avatar3d.render", settings.renderer)())
        with Landmarker(assets.find(assets.FACE_LANDMARKER, watch)) as landmarker:
            figures = _productions(work.run(path.stem), avatar, player, held_out, landmarker, settings, watch)
    if held_out.capture.sound is None or avatar.voice is None:
        notes.append("no self_audio: the video has no sound, or the avatar no voice")
    about = {
        "capture": work.path.resolve().name,
        "frames": held_out.count,
        "first_frame": held_out.start,
        "preset": avatar.about.get("preset"),
        "device": avatar.head.background.device.type,
        "motion": settings.motion,
        **clock.costs,
        "avatar_mb": size_mb(path),
    }
    report = about | figures | {"notes": notes}
    write_json(work.run(path.stem) / "metrics.json", report)
    return report


def newest_avatar(work: Work) -> Path:
    """The avatar folder in a work folder that was written last.

    Raises:
        InputError: there is none.
    """
    found = [path for path in work.path.glob(f"*{AVATAR_SUFFIX}") if (path / "avatar.json").is_file()]
    if not found:
        raise InputError(f"{work.path}: no avatar in this folder", "make one with `avatar3d create`, or name one")
    return max(found, key=lambda path: (path / "avatar.json").stat().st_mtime)


def table(report: Mapping[str, Any]) -> str:
    """The measures of every production side by side."""
    productions = {name: report[name] for name in PRODUCTIONS} | dict(report["baselines"])
    shown_ones = {name: measures for name, measures in productions.items() if measures}
    rows = [["", *shown_ones]]
    rows += [[name, *(shown(measures[name]) for measures in shown_ones.values())] for name in Figures.names()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    head = f"{report['capture']}: {report['frames']} held-out frames from {report['first_frame']} on"
    tail = f"{shown(report['render_fps'])} frames/s drawn, avatar {shown(report['avatar_mb'])} MB"
    return "\n".join([head, "", *lines, "", _SAYS[report["motion"]], tail, *report["notes"]])


def spoken(voice: Speak, sound: Sound, track: Track, start: int, seed: int = 0) -> Motion:
    """The track's motion whose face, from frame `start` on, is what the voice makes of the sound; the head stays.

    The voice hears five seconds of lead-in, as it would in the middle of a longer speech.
    """
    motion, frames = track.motion, len(track.motion)
    first = max(start - round(_LEAD_IN_S * motion.fps), 0)
    samples = slice(round(first / motion.fps * sound.rate), round(frames / motion.fps * sound.rate))
    said = voice(Sound(sound.samples[samples], sound.rate), seed)
    # sound may end a little before the picture does: the last row then stays
    rows = np.minimum(np.arange(start, frames) - first, len(said) - 1)
    return replace(
        motion,
        expression=np.pad(said.expression[rows], ((start, 0), (0, 0))),
        blink=np.concatenate([motion.blink[:start], said.blink[rows]]),
        gaze=np.concatenate([motion.gaze[:start], said.gaze[rows]]),
        basis=said.basis,
    )


def _held_out(work: Work) -> tuple[_HeldOut, list[str]]:
    capture, track = load_capture(work), load_track(work)
    frames, notes, lpips = len(capture.frames), [], None
    start = held_out_start(frames)
    if assets.state(assets.LPIPS_ALEX)["where"] == "absent":
        notes.append(f"no LPIPS: its weights are not on this machine (avatar3d assets {assets.LPIPS_ALEX})")
    else:
        lpips = Lpips.load(assets.find(assets.LPIPS_ALEX))
    seen = _rows(track.landmarks, start, frames)
    if not seen.found.any():
        notes.append("no face in the held-out frames: only figures of the whole picture")
    judge = Judge(capture.frames[start:], seen, shots_of(capture.cuts, start, frames), lpips)
    return _HeldOut(capture, track, start, judge), notes


def _productions(
    run: Path,
    avatar: Avatar,
    player: Player,
    held_out: _HeldOut,
    landmarker: Landmarker,
    settings: EvalSettings,
    watch: Watch,
) -> dict[str, Any]:
    """render_fps, self_tracked, self_landmarks, self_audio, baselines; the sheets are written on the way."""
    start, cuts, track = held_out.start, held_out.capture.cuts, held_out.track
    codes = player.head.encode(track.motion, cuts)[start:]
    fps = player.frames_per_second(codes)
    shown_frames = {}
    if settings.motion == "photometric":
        shown_frames["self_landmarks"] = player.frames(codes)
        unseen = range(start, len(track.motion))
        track = refine(player.head, held_out.capture, track, player.draw, unseen, watch=watch)
        codes = player.head.encode(track.motion, cuts)[start:]
    shown_frames["self_tracked"] = player.frames(codes)
    if avatar.voice is not None and held_out.capture.sound is not None:
        motion = spoken(avatar.voice, held_out.capture.sound, track, start, settings.seed)
        shown_frames["self_audio"] = player.frames(player.head.encode(motion, cuts)[start:])
    if settings.frames is not None:
        shown_frames = {name: _saved(it, held_out, settings.frames / name) for name, it in shown_frames.items()}
    trivial = _baselines(held_out) if settings.baselines else {}
    verdicts = _judged(held_out.judge, shown_frames | trivial, landmarker, watch)
    _write_sheets(run, player, codes, held_out, verdicts["self_tracked"].looks)
    measures = {name: _json(verdict) for name, verdict in verdicts.items()}
    return {
        "render_fps": round(fps, 1),
        **{name: measures.get(name) for name in PRODUCTIONS},
        "baselines": {name: measures.get(name) for name in BASELINES} if settings.baselines else {},
    }


def _baselines(held_out: _HeldOut) -> dict[str, Iterator[np.ndarray]]:
    start, wanted = held_out.start, held_out.judge.points
    frames, landmarks = held_out.capture.frames[:start], _rows(held_out.track.landmarks, 0, held_out.start)
    still = mean_image(frames, held_out.count)
    if wanted is None or not landmarks.found.any():
        return {"mean_image": still}
    driven = frames, landmarks.points, landmarks.found, wanted
    return {"nearest_frame": nearest_frame(*driven), "mean_image": still, "warp": warp(*driven)}


def _judged(
    judge: Judge, productions: Mapping[str, Iterator[np.ndarray]], landmarker: Landmarker, watch: Watch
) -> dict[str, _Verdict]:
    """Goes through all productions frame by frame; drawing, looking and finding faces overlap by a few frames."""
    looks: dict[str, list[Look]] = {name: [] for name in productions}
    faces: dict[str, list[Face | None]] = {name: [] for name in productions}
    waiting: deque[tuple[str, Future[Look], Future[Face | None]]] = deque()
    finders = {name: _Finder(landmarker) for name in productions}

    def settle(most: int) -> None:
        while len(waiting) > most:
            name, look, face = waiting.popleft()
            looks[name].append(look.result())
            faces[name].append(face.result())

    with ThreadPoolExecutor(_LOOKING) as looking, ThreadPoolExecutor(1) as finding:
        for index in range(len(judge)):
            for name, frames in productions.items():
                made = next(frames)
                waiting.append((name, looking.submit(judge.look, index, made), finding.submit(finders[name], made)))
                settle(_IN_FLIGHT)
            watch(Progress("eval", (index + 1) / len(judge), f"{index + 1} of {len(judge)} frames"))
        settle(0)
    return {name: _Verdict(judge.figures(looks[name], gathered(faces[name])), looks[name]) for name in productions}


class _Finder:
    """The largest face of a picture; a picture shown twice in a row is looked at once."""

    def __init__(self, landmarker: Landmarker) -> None:
        self._landmarker = landmarker
        self._last: tuple[np.ndarray, Face | None] | None = None

    def __call__(self, picture: np.ndarray) -> Face | None:
        if self._last is None or self._last[0] is not picture:
            self._last = picture, self._landmarker.largest(picture)
        return self._last[1]


def _rows(landmarks: Landmarks, start: int, stop: int) -> Landmarks:
    return Landmarks(landmarks.points[start:stop], landmarks.scores[start:stop], landmarks.found[start:stop])


def _saved(frames: Iterator[np.ndarray], held_out: _HeldOut, folder: Path) -> Iterator[np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    for row, made in enumerate(frames, held_out.start):
        save_picture(folder / f"{row:06d}_pred.png", made)
        save_picture(folder / f"{row:06d}_true.png", np.asarray(held_out.capture.frames[row]))
        yield made


def _write_sheets(run: Path, player: Player, codes: Tensor, held_out: _HeldOut, looks: list[Look]) -> None:
    """contact.png: worst, quartiles and best by psnr_head; orbit.png: the median frame from other sides."""
    judged_by = np.array([look.psnr_full if np.isnan(look.psnr_head) else look.psnr_head for look in looks])
    order = judged_by.argsort(kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, 5).round().astype(int)]
    rows = [
        (
            np.asarray(held_out.capture.frames[held_out.start + index]),
            player.frame(codes[index]),
            f"frame {held_out.start + index}, head {judged_by[index]:.1f} dB",
        )
        for index in chosen
    ]
    middle = int(chosen[len(chosen) // 2])
    centre = held_out.track.motion.head[held_out.start + middle, 4:]
    save_picture(run / "contact.png", contact_sheet(rows))
    save_picture(run / "orbit.png", orbit_sheet(player, codes[middle], centre))


def _json(verdict: _Verdict) -> dict[str, float | None]:
    return {name: None if v is None else round(v, _DIGITS) for name, v in asdict(verdict.figures).items()}
