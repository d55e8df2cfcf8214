# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from avatar3d.data_prep.synthetic.controls import COLUMN, CONTROLS
from avatar3d.data_prep.synthetic.face import (
    EYE_CENTRES,
    EYE_RADIUS,
    LOWER_LID,
    LOWER_LIP,
    TRAITS,
    UPPER_LID,
    UPPER_LIP,
    FaceRig,
)
from avatar3d.face.canonical import CanonicalFace


@pytest.fixture(scope="module")
def rig(canonical: CanonicalFace) -> FaceRig:
    return FaceRig(canonical, {})


def _set(**values: float) -> np.ndarray:
    row = np.zeros((1, len(CONTROLS)))
    for name, value in values.items():
        row[0, COLUMN[name]] = value
    return row


def _gap_cm(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[0, 13] - points[0, 14]))


def test_loops_pair_upper_with_lower(canonical: CanonicalFace) -> None:
    for upper, lower in ((UPPER_LIP, LOWER_LIP), *zip(UPPER_LID, LOWER_LID, strict=True)):
        up, low = canonical.vertices[list(upper)], canonical.vertices[list(lower)]
        assert (up[:, 1] > low[:, 1]).all()
        assert np.abs(up[:, 0] - low[:, 0]).max() < 0.06


def test_the_mouth_is_shut_at_rest(rig: FaceRig, canonical: CanonicalFace) -> None:
    assert np.linalg.norm(canonical.vertices[13] - canonical.vertices[14]) > 0.04
    assert _gap_cm(rig.rest[None]) < 1e-5


@pytest.mark.parametrize("jaw", [0.0, 0.4, 0.9])
def test_a_seal_shuts_the_lips_whatever_the_jaw_does(rig: FaceRig, jaw: float) -> None:
    points = rig.shape(_set(jaw=jaw, seal=1, upper_lip=0.5, pucker=0.3))
    assert np.abs(points[0, list(UPPER_LIP)] - points[0, list(LOWER_LIP)]).max() < 1e-5


def test_the_jaw_opens_the_mouth_and_leaves_the_upper_face_alone(rig: FaceRig) -> None:
    gaps = [_gap_cm(rig.shape(_set(jaw=jaw))) for jaw in (0.2, 0.5, 0.9)]
    assert gaps[0] > 0.3 and gaps[2] > gaps[1] > gaps[0]
    still = rig.rest[:, 1] > 0
    assert np.abs(rig.shape(_set(jaw=1.0))[0, still] - rig.shape(_set())[0, still]).max() < 1e-6


@pytest.mark.parametrize("name", [name for name in CONTROLS if name not in ("gaze_x", "tongue", "seal")])
def test_every_control_moves_the_face_and_alike_on_both_sides(rig: FaceRig, name: str) -> None:
    if name.startswith("blink"):
        moved = rig.shape(_set(blink_right=1, blink_left=1))[0] - rig.shape(_set())[0]
    else:
        moved = rig.shape(_set(**{name: -1 if name == "gaze_y" else 1}))[0] - rig.shape(_set())[0]
    assert np.abs(moved).max() > 0.1
    right, left = moved[[61, 159, 105, 40, 91]], moved[[291, 386, 334, 270, 321]]
    assert np.allclose(right * [-1, 1, 1], left, atol=0.05)


def test_one_eye_can_wink(rig: FaceRig) -> None:
    moved = np.abs(rig.shape(_set(blink_left=1))[0] - rig.shape(_set())[0]).max(1)
    assert moved[list(UPPER_LID[1])].max() > 0.5
    assert moved[list(UPPER_LID[0])].max() == 0


@pytest.mark.parametrize("lid", [0.0, 0.5, 1.0])
def test_lids_ride_on_the_ball_and_meet(rig: FaceRig, lid: float) -> None:
    points = rig.shape(_set(blink_right=lid, blink_left=lid))[0]
    for side in (0, 1):
        ring = points[[*UPPER_LID[side], *LOWER_LID[side]]]
        assert np.linalg.norm(ring - EYE_CENTRES[side], axis=1).min() > EYE_RADIUS + 0.05
        open_cm = (points[list(UPPER_LID[side]), 1] - points[list(LOWER_LID[side]), 1]).max()
        assert open_cm < 0.02 if lid == 1 else open_cm > 0.25


@pytest.mark.parametrize("trait", TRAITS)
def test_every_trait_makes_another_face_with_a_shut_mouth(rig: FaceRig, canonical: CanonicalFace, trait: str) -> None:
    other = FaceRig(canonical, {trait: 1.0}).rest
    assert np.abs(other - rig.rest).max() > 0.08
    assert _gap_cm(other[None]) < 1e-5
