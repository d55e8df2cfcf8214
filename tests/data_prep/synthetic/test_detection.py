# SPDX-License-Identifier: Apache-2.0
"""The face detector takes the drawn face for a face, and sees on it what was driven."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from avatar3d.data_prep.synthetic import Film
from avatar3d.face.groups import OVAL

_EVERY = 5  # frames


@dataclass(frozen=True)
class Seen:
    """What the detector made of every fifth frame."""

    rows: np.ndarray  # [F] frames in which a face was found
    points: np.ndarray  # [F,468,2] px
    scores: dict[str, np.ndarray]  # [F] per blendshape
    looked_at: int


@pytest.fixture(scope="module")
def seen(face_task: Path, footage: Film) -> Seen:
    mediapipe = pytest.importorskip("mediapipe")
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(face_task)), output_face_blendshapes=True
    )
    finder = vision.FaceLandmarker.create_from_options(options)
    size = footage.truth.camera.width
    rows, points, scores = [], [], []
    wanted = range(0, len(footage), _EVERY)
    for index in wanted:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=footage.frame(index))
        found = finder.detect(image)
        if found.face_landmarks:
            rows.append(index)
            points.append([(p.x * size, p.y * size) for p in found.face_landmarks[0][:468]])
            scores.append({shape.category_name: shape.score for shape in found.face_blendshapes[0]})
    finder.close()
    by_name = {name: np.array([row[name] for row in scores]) for name in scores[0]}
    return Seen(np.array(rows), np.array(points), by_name, len(wanted))


def _iod(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, [33, 133]].mean(1) - points[:, [263, 362]].mean(1), axis=1)


def _r(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def test_the_face_is_found_in_nearly_every_frame(seen: Seen) -> None:
    assert len(seen.rows) >= 0.99 * seen.looked_at


def test_landmarks_are_near_the_truth(seen: Seen, footage: Film) -> None:
    """The outline is left out: it slides over the skin as the head turns."""
    truth = footage.truth.landmarks[seen.rows]
    inner = np.setdiff1d(np.arange(468), OVAL)
    error = np.linalg.norm(seen.points - truth, axis=2)[:, inner].mean(1) / _iod(truth)
    assert error.mean() < 0.05


def test_the_mouth_is_seen_to_open_as_it_does(seen: Seen, footage: Film) -> None:
    truth = footage.truth.landmarks[seen.rows]
    gaps = [np.linalg.norm(p[:, 13] - p[:, 14], axis=1) / _iod(p) for p in (truth, seen.points)]
    assert _r(*gaps) > 0.9
    assert _r(footage.truth.controls["jaw"][seen.rows], seen.scores["jawOpen"]) > 0.8


def test_blinks_and_glances_are_seen(seen: Seen, footage: Film) -> None:
    controls = footage.truth.controls
    assert _r(controls["blink_right"][seen.rows], seen.scores["eyeBlinkRight"]) > 0.85
    assert _r(controls["blink_left"][seen.rows], seen.scores["eyeBlinkLeft"]) > 0.85
    assert _r(controls["gaze_x"][seen.rows], seen.scores["eyeLookOutLeft"]) > 0.7
