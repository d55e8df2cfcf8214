# SPDX-License-Identifier: Apache-2.0
"""From a person's own expressions to ARKit's scores and back: what a solver for one frame finds, for all at once."""

from __future__ import annotations

import numpy as np
from scipy.optimize import lsq_linear

from avatar3d.face.arkit import SCORES, as_scores, expression_of, gaze_of, lids_of
from avatar3d.records import Motion

FRAMES = 40
FREE = [at for at, name in enumerate(SCORES) if not name.startswith(("_", "eyeBlink", "eyeLook"))]


def face_map() -> np.ndarray:
    """[53,6]: every score moves the face some way, and the face at rest is not the mean one."""
    return np.random.default_rng(0).standard_normal((53, 6)).astype(np.float32) * 4


def motion_of(expression: np.ndarray, **other: np.ndarray) -> Motion:
    blank = np.zeros((len(expression), 7), np.float32)
    return Motion(expression, other.get("blink", blank[:, :2]), other.get("gaze", blank[:, :4]), blank, 25.0)


def test_scores_that_can_give_a_face_are_found_within_their_bounds() -> None:
    true = np.zeros((FRAMES, 52), np.float32)
    true[:, FREE] = np.random.default_rng(1).uniform(0, 0.3, (FRAMES, len(FREE)))
    wanted = expression_of(true, face_map())
    scores = as_scores(motion_of(np.hstack([wanted, np.ones((FRAMES, 2), np.float32)])), face_map())
    assert scores.shape == (FRAMES, 52) and scores.min() >= 0 and scores.max() <= 1
    left = np.abs(wanted - expression_of(scores, face_map())).mean()
    assert left < 0.005 * np.abs(wanted - face_map()[-1]).mean()
    assert (scores**2).sum() <= (true**2).sum()  # of all that give the face, small ones


def test_what_no_scores_reach_is_met_as_nearly_as_one_frame_alone_would_be() -> None:
    rows = np.abs(np.random.default_rng(1).normal(size=(53, 3)))
    rows[-1] = 0
    wanted = np.array([[-2.0, 1.0, 80.0]], np.float32)
    found = as_scores(motion_of(wanted), rows)[0, FREE]
    best = lsq_linear(rows[FREE].T, wanted[0], (0, 1)).x
    off, least = (np.linalg.norm(x @ rows[FREE] - wanted[0]) for x in (found, best))
    assert least > 1 and off < 1.02 * least


def test_lids_and_eyes_are_said_by_their_own_names() -> None:
    blink = np.array([[0.75, 0.25]], np.float32)
    gaze = np.array([[0.1, -0.05, 0.1, 0.05]], np.float32)  # both to the person's left; right eye up, left eye down
    found = as_scores(motion_of(np.zeros((1, 6), np.float32), blink=blink, gaze=gaze), face_map())
    scores = dict(zip(SCORES, found[0], strict=True))
    assert (scores["eyeBlinkRight"], scores["eyeBlinkLeft"]) == (0.75, 0.25)
    assert scores["eyeLookInRight"] == scores["eyeLookOutLeft"] > 0.4
    assert scores["eyeLookUpRight"] == scores["eyeLookDownLeft"] > 0.2
    others = ("eyeLookOutRight", "eyeLookInLeft", "eyeLookDownRight", "eyeLookUpLeft", "_neutral")
    assert not any(scores[name] for name in others)
    np.testing.assert_allclose(lids_of(found), blink)
    np.testing.assert_allclose(gaze_of(found), gaze, atol=1e-6)
