# SPDX-License-Identifier: Apache-2.0
"""Keyframes: how a control runs from key to key, and what each kind of control does to a motion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar3d.face.arkit import SCORES
from avatar3d.geometry import compose, invert, rotvec_from_quat
from avatar3d.motion._keys import CONTROLS, Key, curve, keyed
from avatar3d.records import Motion

FRAMES = 50
MAP = np.random.default_rng(0).standard_normal((53, 3)).astype(np.float32)


def motion() -> Motion:
    rng = np.random.default_rng(1)
    head = np.tile(np.array([0, 1, 0, 0, 0.1, 0.2, 6.0], np.float32), (FRAMES, 1))
    gaze = 0.05 * rng.standard_normal((FRAMES, 4)).astype(np.float32)
    expression = rng.standard_normal((FRAMES, 5)).astype(np.float32)  # the head is driven by the first three
    return Motion(expression, rng.uniform(0, 0.4, (FRAMES, 2)).astype(np.float32), gaze, head, 25.0)


@pytest.mark.parametrize(("ease", "at_quarter"), [("linear", 0.25), ("smooth", 0.25**2 * (3 - 0.5)), ("hold", 0.0)])
def test_a_control_runs_from_key_to_key(ease: str, at_quarter: float) -> None:
    keys = [Key(3.0, "jawOpen", 2.0, ease), Key(1.0, "jawOpen", 0.0), Key(1.0 + 4.0, "jawOpen", -1.0, ease)]
    values = curve(keys, np.array([0.0, 1.0, 1.5, 3.0, 9.0]))
    assert values.tolist() == pytest.approx([0.0, 0.0, 2.0 * at_quarter, 2.0, -1.0])


def test_without_keys_nothing_changes() -> None:
    before = motion()
    after = keyed(
        before, [Key(0.0, name, control.rest) for name, control in CONTROLS.items() if "Gain" not in name], MAP
    )
    for name in ("expression", "blink", "gaze", "head"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=1e-6)


def test_a_score_is_added_by_what_it_means_to_this_face() -> None:
    before = motion()
    after = keyed(before, [Key(0.0, "browInnerUp", 0.5)], MAP)
    moved = after.expression - before.expression
    np.testing.assert_allclose(moved[:, :3], np.tile(0.5 * MAP[SCORES.index("browInnerUp")], (FRAMES, 1)), atol=1e-6)
    assert not moved[:, 3:].any()


def test_lids_close_at_least_as_far_and_one_of_them_may_wink() -> None:
    before = motion()
    both = keyed(before, [Key(0.0, "blink", 0.3)], MAP)
    np.testing.assert_allclose(both.blink, np.maximum(before.blink, 0.3), atol=1e-6)
    wink = keyed(before, [Key(0.0, "eyeBlinkLeft", 1.0)], MAP)
    assert (wink.blink[:, 1] == 1).all()
    np.testing.assert_allclose(wink.blink[:, 0], before.blink[:, 0], atol=1e-6)


@pytest.mark.parametrize(("control", "axis"), [("headPitch", 0), ("headYaw", 1), ("headRoll", 2)])
def test_a_head_turns_about_its_own_axes_on_its_neck(control: str, axis: int) -> None:
    before = motion()
    after = keyed(before, [Key(0.0, control, 20.0)], MAP)
    change = compose(invert(torch.from_numpy(before.head)), torch.from_numpy(after.head))
    turns = np.degrees(rotvec_from_quat(change[:, :4]).numpy())
    assert turns[:, axis] == pytest.approx(20.0, abs=1e-3)
    assert np.abs(np.delete(turns, axis, 1)).max() < 1e-3
    assert (np.abs(change[:, 4:].numpy()).sum(1) > 0.05).all()  # the face moves, the neck stays


def test_eyes_look_to_the_persons_left_and_down() -> None:
    before = motion()
    after = keyed(before, [Key(0.0, "gazeYaw", 10.0), Key(0.0, "gazePitch", 5.0)], MAP)
    moved = (after.gaze - before.gaze).mean(0)
    assert moved[0] == moved[2] > moved[1] == moved[3] > 0.02


def test_a_body_that_was_recorded_stays() -> None:
    before = replace(motion(), body=motion().head)
    after = keyed(before, [Key(0.0, "headYaw", 20.0)], MAP)
    np.testing.assert_array_equal(after.body, before.body)
