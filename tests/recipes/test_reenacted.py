# SPDX-License-Identifier: Apache-2.0
"""A made-up person's video, followed, and put on a face."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import write_clip

from avatar3d.errors import InputError
from avatar3d.motion._lip_space import LipSpace
from avatar3d.motion._mouth import Mouth
from avatar3d.recipes._reenacted import followed, on_this_face, steady_scores
from avatar3d.records import Track, unwatched
from avatar3d.talk import driven

SECONDS = 5


@pytest.fixture(scope="module")
def other(face_task: Path, tmp_path_factory: pytest.TempPathFactory) -> Track:
    from avatar3d.data_prep.synthetic import Person, film
    from avatar3d.face.canonical import load_canonical

    shot = film(Person(load_canonical(face_task), 1), SECONDS, 160, seed=3, samples_per_pixel_side=1)
    clip = write_clip(tmp_path_factory.mktemp("other") / "other.mp4", shot.frames(), shot.truth.sound)
    return followed(clip, unwatched)


def opening(track: Track, expression: np.ndarray) -> np.ndarray:
    return LipSpace.of(track).aperture(torch.from_numpy(expression)).numpy()


def test_a_face_that_does_what_itself_does_opens_and_shuts_with_it(other: Track) -> None:
    codes = other.motion.expression
    said = opening(other, codes)
    numbers = codes.shape[1]
    low, high = np.quantile(codes, (0.01, 0.99), axis=0).astype(np.float32)
    shut = codes[said <= np.quantile(said, 0.05)].mean(0)
    mouth = Mouth(np.eye(numbers, dtype=np.float32), np.zeros(numbers, np.float32), shut, low, high)
    did = on_this_face(other, other.arkit_map, mouth, other.motion)
    assert len(did) == SECONDS * 25
    made = opening(other, did.expression)
    assert np.corrcoef(made, said)[0, 1] > 0.8
    assert (did.expression <= high + 1e-5).all() and (did.expression >= low - 1e-5).all()
    assert did.blink.min() >= 0 and did.blink.max() <= 1
    placed = driven(did, replace(other.motion, head=other.motion.head[::-1].copy()))
    assert np.ptp(placed.head[:, :4], axis=0).any() and placed.body is None


def test_frames_without_a_face_lie_between_their_neighbours(other: Track) -> None:
    scores = np.tile(np.linspace(0, 1, len(other.confidence))[:, None], (1, 52)).astype(np.float32)
    confidence = np.ones_like(other.confidence)
    lost = slice(40, 60)
    confidence[lost] = 0
    holed = scores.copy()
    holed[lost] = np.nan
    track = replace(other, confidence=confidence, landmarks=replace(other.landmarks, scores=holed))
    np.testing.assert_allclose(steady_scores(track)[5:-5], scores[5:-5], atol=1e-5)


def test_what_is_no_video_of_a_face_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.mp4"):
        followed(tmp_path / "none.mp4", unwatched)
