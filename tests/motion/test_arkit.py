# SPDX-License-Identifier: Apache-2.0
"""From a person's own expressions to ARKit's scores and back."""

from __future__ import annotations

import numpy as np

from avatar3d.face.arkit import SCORES
from avatar3d.motion._arkit import as_scores, expression_of
from avatar3d.records import Motion

FRAMES = 40


def face_map() -> np.ndarray:
    """[53,6]: every score moves the face some way, and the face at rest is not the mean one."""
    return np.random.default_rng(0).standard_normal((53, 6)).astype(np.float32) * 4


def motion_of(expression: np.ndarray, **other: np.ndarray) -> Motion:
    blank = np.zeros((len(expression), 7), np.float32)
    return Motion(expression, other.get("blink", blank[:, :2]), other.get("gaze", blank[:, :4]), blank, 25.0)


def test_scores_that_can_give_a_face_are_found_within_their_bounds() -> None:
    true = np.random.default_rng(1).uniform(0, 0.3, (FRAMES, 52)).astype(np.float32)
    true[:, [at for at, name in enumerate(SCORES) if name.startswith(("_", "eyeBlink", "eyeLook"))]] = 0
    wanted = expression_of(true, face_map())
    scores = as_scores(motion_of(wanted), face_map())
    assert scores.shape == (FRAMES, 52) and scores.min() >= 0 and scores.max() <= 1
    left = np.abs(wanted - expression_of(scores, face_map())).mean()
    assert left < 0.05 * np.abs(wanted - face_map()[-1]).mean()
    assert (scores**2).sum() <= (true**2).sum()  # of all that give the face, small ones


def test_a_face_out_of_reach_is_approached() -> None:
    far = np.full((1, 6), 1000.0, np.float32)
    scores = as_scores(motion_of(far), face_map())
    assert set(np.unique(scores)) == {0.0, 1.0}
    assert np.linalg.norm(far - expression_of(scores, face_map())) < np.linalg.norm(far - face_map()[-1])


def test_lids_and_eyes_are_said_by_their_own_names() -> None:
    blink = np.array([[0.75, 0.25]], np.float32)
    gaze = np.array([[0.1, -0.05, 0.1, 0.05]], np.float32)  # both to the person's left; right eye up, left eye down
    found = as_scores(motion_of(np.zeros((1, 6), np.float32), blink=blink, gaze=gaze), face_map())[0]
    scores = dict(zip(SCORES, found, strict=True))
    assert (scores["eyeBlinkRight"], scores["eyeBlinkLeft"]) == (0.75, 0.25)
    assert scores["eyeLookInRight"] == scores["eyeLookOutLeft"] > 0.4
    assert scores["eyeLookUpRight"] == scores["eyeLookDownLeft"] > 0.2
    others = ("eyeLookOutRight", "eyeLookInLeft", "eyeLookDownRight", "eyeLookUpLeft", "_neutral")
    assert not any(scores[name] for name in others)
