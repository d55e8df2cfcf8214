# SPDX-License-Identifier: Apache-2.0
"""A face that waits: lips shut, alive, and breathing by less than a millimetre."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from avatar3d.motion._idle import breathing, fidgets, idle, quiet_stretch
from avatar3d.motion._mouth import Mouth
from avatar3d.motion._polish import blink_onsets
from avatar3d.records import Motion

# the first number opens the mouth, the second moves the brows and parts the lips a little, the third closes the lids
MOUTH = Mouth(
    share=np.diag([1.0, 0.0, 0.0]).astype(np.float32),
    opening=np.array([0.1, 0.01, 0.0], np.float32),
    shut=np.array([-2.0, 0.3, 0.0], np.float32),
    low=np.full(3, -3, np.float32),
    high=np.full(3, 3, np.float32),
)


def clip(frames: int = 400) -> Motion:
    """Talks, but for frames 150 to 260; blinks every 40 frames, not then."""
    rng = np.random.default_rng(0)
    time = np.arange(frames)
    talks = (time < 150) | (time > 260)
    blink = np.repeat(((time % 40 < 4) & talks)[:, None], 2, 1).astype(np.float32)
    expression = np.stack([talks * np.sin(time), 0.2 * np.sin(time / 7), 1.5 * blink[:, 0]], 1)
    expression[:, 0] -= 2 * ~talks
    head = np.tile(np.array([0, 1, 0, 0, 0, 0, 6.0], np.float32), (frames, 1))
    gaze = rng.standard_normal((frames, 4)).astype(np.float32)
    return Motion(expression.astype(np.float32), blink, gaze, head, 25.0)


def test_the_calmest_stretch_is_the_one_without_speech_and_blinks() -> None:
    np.testing.assert_allclose(quiet_stretch(clip(), MOUTH)[:, [0, 2]], np.tile([-2.0, 0.0], (100, 1)), atol=1e-6)
    assert len(quiet_stretch(clip(30), MOUTH)) == 30


def test_it_waits_with_its_lips_shut_and_does_not_freeze() -> None:
    face = idle(clip(), MOUTH, 750, seed=2)
    assert len(face) == 750
    np.testing.assert_allclose(face.expression @ MOUTH.opening, MOUTH.shut @ MOUTH.opening, atol=1e-6)
    assert 0.05 < face.expression[:, 1].std() < 0.3
    assert np.abs(np.diff(face.expression[:, 1])).max() < 0.06  # nor does it jump
    onsets = blink_onsets(face.blink)
    assert len(onsets) >= 4
    lids = face.expression[:, 2]
    assert lids[face.blink.mean(1) == 1].min() > 1.2 and np.abs(lids[face.blink.mean(1) == 0]).max() < 1e-5


def test_small_movements_have_no_mouth_and_come_back() -> None:
    small = fidgets(clip(), MOUTH, 1000, seed=1)
    np.testing.assert_allclose(small @ MOUTH.opening, 0, atol=1e-7)
    assert np.abs(small.mean(0)).max() < 0.1 and small[:, 1].any()


def test_breath_lifts_less_than_a_millimetre() -> None:
    rest = replace(clip(), body=clip().head)
    moved = breathing(rest)
    assert moved.body is not None and rest.body is not None
    for after, before in ((moved.head, rest.head), (moved.body, rest.body)):
        lift = before[:, 5] - after[:, 5]
        assert 0.003 < lift.max() < 0.01 and lift.min() > -1e-6 and np.abs(np.diff(lift)).max() < 0.001
        np.testing.assert_array_equal(np.delete(after, 5, 1), np.delete(before, 5, 1))
    assert breathing(clip()).body is None
