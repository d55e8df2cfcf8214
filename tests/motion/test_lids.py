# SPDX-License-Identifier: Apache-2.0
"""A generated blink brings along the lids' share of the expression, and leaves the mouth alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from test_tcn import CODES, track_of

from avatar3d.face.groups import LEFT_EYE, LIPS, RIGHT_EYE
from avatar3d.motion._lids import lid_closing
from avatar3d.records import Track

FRAMES = 400
EYES = [*RIGHT_EYE, *LEFT_EYE]


def blinking(count: int) -> Track:
    """Code 1 closes the lids and 0 opens the mouth; by chance the mouth is open while the lids are shut."""
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((FRAMES, CODES)).astype(np.float32)
    blink = np.zeros((FRAMES, 2), np.float32)
    shut = np.arange(20, 20 + 15 * count, 15)
    codes[:, 1] *= 0.05
    blink[shut], codes[shut, 1], codes[shut, 0] = 1, 4, 2
    track = track_of(codes)
    basis = track.basis.copy()
    basis[EYES, :, :] = 0
    basis[EYES, 1, 1] = -0.02
    basis[[*LIPS], :, 1] = 0
    basis[[*LIPS], 1, 0] = -0.03
    return replace(track, basis=basis, motion=replace(track.motion, blink=blink))


def test_the_lids_follow_and_the_mouth_does_not() -> None:
    track = blinking(10)
    closing = lid_closing(track, np.arange(FRAMES))
    moved = track.basis @ closing
    real = track.basis @ (track.motion.expression[track.motion.blink[:, 0] > 0.5].mean(0))
    np.testing.assert_allclose(moved[EYES, 1].mean(), real[EYES, 1].mean(), rtol=0.1)
    assert np.abs(moved[[*LIPS]]).max() < 0.1 * np.abs(real[[*LIPS]]).max()


def test_too_few_blinks_teach_nothing() -> None:
    assert not lid_closing(blinking(2), np.arange(FRAMES)).any()
