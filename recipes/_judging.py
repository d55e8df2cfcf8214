# SPDX-License-Identifier: Apache-2.0
"""The held-out part of a capture, and what is made of it held against it, frame by frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np

from avatar3d import assets
from avatar3d.data_prep.landmarks import Face, Landmarker, gathered
from avatar3d.metrics import Figures, Judge, Look, shots_of
from avatar3d.metrics.baselines import mean_image, nearest_frame, warp
from avatar3d.recipes._lpips import lpips_at_hand
from avatar3d.records import Capture, Landmarks, Progress, Track, Watch, held_out_start
from avatar3d.store import Work, load_capture, load_track

BASELINES = ("nearest_frame", "mean_image", "warp")
_IN_FLIGHT = 8  # frames drawn ahead of the judging
_LOOKING = 2  # frames looked at at the same time
_DIGITS = 4
# who watches the frames of one moment: its index, and the made frames by production
Spectator = Callable[[int, Mapping[str, np.ndarray]], None]


@dataclass(frozen=True)
class HeldOut:
    """The part of a capture that judges."""

    capture: Capture
    track: Track
    start: int  # its first frame
    judge: Judge

    @property
    def count(self) -> int:
        return len(self.capture.frames) - self.start

    def real(self, index: int) -> np.ndarray:
        """Its frame `index` [H,W,3] uint8, as it was filmed."""
        return np.asarray(self.capture.frames[self.start + index])


@dataclass(frozen=True)
class Verdict:
    """What was found of one production."""

    figures: Figures
    looks: list[Look]

    def as_json(self) -> dict[str, float | None]:
        """The measures by name."""
        return {name: None if v is None else round(v, _DIGITS) for name, v in asdict(self.figures).items()}


def held_out(work: Work) -> tuple[HeldOut, list[str]]:
    """The last 1/11 of a prepared capture, and notes on what cannot be measured."""
    capture, track = load_capture(work), load_track(work)
    frames, notes, lpips = len(capture.frames), [], lpips_at_hand()
    start = held_out_start(frames)
    if lpips is None:
        notes.append(f"no LPIPS: its weights are not on this machine (avatar3d assets {assets.LPIPS_ALEX})")
    seen = _rows(track.landmarks, start, frames)
    if not seen.found.any():
        notes.append("no face in the held-out frames: only figures of the whole picture")
    judge = Judge(capture.frames[start:], seen, shots_of(capture.cuts, start, frames), lpips)
    return HeldOut(capture, track, start, judge), notes


def trivial(unseen: HeldOut) -> dict[str, Iterator[np.ndarray]]:
    """The frames of the methods that every head has to beat; some need a face."""
    start, wanted = unseen.start, unseen.judge.points
    frames, landmarks = unseen.capture.frames[:start], _rows(unseen.track.landmarks, 0, start)
    still = mean_image(frames, unseen.count)
    if wanted is None or not landmarks.found.any():
        return {"mean_image": still}
    driven = frames, landmarks.points, landmarks.found, wanted
    return {"nearest_frame": nearest_frame(*driven), "mean_image": still, "warp": warp(*driven)}


def judged(
    judge: Judge,
    productions: Mapping[str, Iterator[np.ndarray]],
    landmarker: Landmarker,
    watch: Watch,
    spectator: Spectator | None = None,
) -> dict[str, Verdict]:
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
            moment: dict[str, np.ndarray] = {}
            for name, frames in productions.items():
                made = moment[name] = next(frames)
                waiting.append((name, looking.submit(judge.look, index, made), finding.submit(finders[name], made)))
                settle(_IN_FLIGHT)
            if spectator is not None:
                spectator(index, moment)
            watch(Progress("eval", (index + 1) / len(judge), f"{index + 1} of {len(judge)} frames"))
        settle(0)
    return {name: Verdict(judge.figures(looks[name], gathered(faces[name])), looks[name]) for name in productions}


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
