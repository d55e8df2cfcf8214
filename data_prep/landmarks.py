# SPDX-License-Identifier: Apache-2.0
"""Points and expression scores of faces, by MediaPipe's FaceLandmarker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from avatar3d.data_prep._quiet import quiet
from avatar3d.errors import InputError
from avatar3d.records import Landmarks, Progress, Watch, unwatched
from avatar3d.store import let_go
from avatar3d.threads import usable_cores

POINTS = 478
SCORES = 52
_MOST_FACES = 2  # a second person is to be noticed, not measured
_BATCH = 64  # frames between two reports, and between two times that mapped ones are let go


@dataclass(frozen=True)
class Face:
    """One face in one picture."""

    points: np.ndarray  # [478,3] float32 px; z grows away from the camera, 0 at the head's centre
    scores: np.ndarray  # [52] float32 0..1, `_neutral` first

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom px of the points."""
        low, high = self.points[:, :2].min(0), self.points[:, :2].max(0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @property
    def height(self) -> float:
        """Height of the box, px."""
        return self.box[3] - self.box[1]


class Landmarker:
    """Finds up to two faces in single pictures, largest first.

    Every picture is looked at afresh (IMAGE mode): the modes for video smooth over time and damp lips and lids.
    No network connection is opened: MediaPipe's version is pinned for that, see pyproject.toml.
    """

    def __init__(self, model: Path) -> None:
        """
        Args:
            model: face_landmarker.task.

        Raises:
            InputError: MediaPipe is not installed, or the file is not that model.
        """
        try:
            import mediapipe
        except ImportError as error:
            raise InputError("MediaPipe is not installed", "run: pip install 'avatar3d[prep]'") from error
        self._mediapipe = mediapipe
        tasks = mediapipe.tasks
        options = tasks.vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(model)),
            running_mode=tasks.vision.RunningMode.IMAGE,
            num_faces=_MOST_FACES,
            output_face_blendshapes=True,
        )
        with quiet():
            try:
                self._task: Any = tasks.vision.FaceLandmarker.create_from_options(options)
            except (RuntimeError, ValueError, OSError) as error:
                raise InputError(f"{model}: not a face landmark model", "run: avatar3d assets") from error
            # the graph goes on talking until its first picture is through
            self.find(np.zeros((64, 64, 3), np.uint8))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the model; waiting for the interpreter's end would hang its threads."""
        with quiet():
            self._task.close()

    def find(self, picture: np.ndarray) -> list[Face]:
        """The faces in [H,W,3] uint8 RGB, largest first."""
        height, width = picture.shape[:2]
        image = self._mediapipe.Image(self._mediapipe.ImageFormat.SRGB, np.ascontiguousarray(picture))
        result = self._task.detect(image)
        scale = np.array([width, height, width], np.float32)  # z is in widths, like x
        faces = [
            Face(
                np.array([(point.x, point.y, point.z) for point in points], np.float32) * scale,
                np.array([score.score for score in scores], np.float32),
            )
            for points, scores in zip(result.face_landmarks, result.face_blendshapes, strict=True)
        ]
        return sorted(faces, key=lambda face: -face.height)

    def largest(self, picture: np.ndarray) -> Face | None:
        """The largest face in [H,W,3] uint8 RGB, if there is one."""
        return next(iter(self.find(picture)), None)


def detect(frames: Sequence[np.ndarray] | np.ndarray, model: Path, watch: Watch = unwatched) -> Landmarks:
    """The landmarks of the largest face of every frame.

    Args:
        frames: [T,H,W,3] uint8 RGB, may be memory-mapped; then only a few of them are held in memory at a time.
        model: face_landmarker.task.
        watch: told about every 64 frames.

    Raises:
        InputError: MediaPipe or the model cannot be had.
    """
    count = len(frames)
    seen = _nothing_seen(count)

    def look(landmarker: Landmarker, rows: range) -> None:
        for row in rows:
            _note(seen, row, landmarker.largest(frames[row]))

    workers = min(usable_cores(), 2)
    with _several(model, workers) as landmarkers, ThreadPoolExecutor(workers) as pool:
        for start in range(0, count, _BATCH):
            rows = range(start, min(start + _BATCH, count))
            tasks = [pool.submit(look, one, rows[worker::workers]) for worker, one in enumerate(landmarkers)]
            for task in tasks:
                task.result()
            if isinstance(frames, np.ndarray):
                let_go(frames)
            watch(Progress("landmarks", rows.stop / count, f"{rows.stop} of {count} frames"))
    return seen


def gathered(faces: Sequence[Face | None]) -> Landmarks:
    """One face a frame as a record; None is a frame without a face."""
    seen = _nothing_seen(len(faces))
    for row, face in enumerate(faces):
        _note(seen, row, face)
    return seen


def _nothing_seen(frames: int) -> Landmarks:
    return Landmarks(
        np.full((frames, POINTS, 3), np.nan, np.float32),
        np.full((frames, SCORES), np.nan, np.float32),
        np.zeros(frames, bool),
    )


def _note(seen: Landmarks, row: int, face: Face | None) -> None:
    if face is not None:
        seen.points[row], seen.scores[row], seen.found[row] = face.points, face.scores, True


@contextmanager
def _several(model: Path, workers: int) -> Iterator[list[Landmarker]]:
    landmarkers: list[Landmarker] = []
    try:
        for _ in range(workers):
            landmarkers.append(Landmarker(model))
        yield landmarkers
    finally:
        for landmarker in landmarkers:
            landmarker.close()
