# SPDX-License-Identifier: Apache-2.0
"""A manner of speaking: measured on what was made so on purpose, and laid over a motion without leaving the person."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar3d.geometry import quat_from_rotvec
from avatar3d.motion._mouth import Mouth
from avatar3d.motion._style import Style
from avatar3d.records import Motion


def about(clip: Motion, factor: float) -> Motion:
    """The clip, moving `factor` times as far about its mean face."""
    mean = clip.expression.mean(0)
    return replace(clip, expression=(mean + factor * (clip.expression - mean)).astype(np.float32))


def turning(clip: Motion, size_rad: float) -> Motion:
    """The clip with a head that sways, ever further."""
    time = np.arange(len(clip))
    yaw = size_rad * np.sin(time / 3) * time / len(clip)
    turns = torch.from_numpy(np.stack([0 * yaw, yaw, 0 * yaw], 1))
    return replace(clip, head=np.concatenate([quat_from_rotvec(turns).numpy(), clip.head[:, 4:]], 1).astype(np.float32))


def test_a_persons_own_style_changes_nothing(clip: Motion, mouth: Mouth) -> None:
    own = Style.of(clip, clip, mouth)
    assert (own.mouth, own.rest) == (1.0, 1.0)
    assert abs(own.restless) < 0.05
    np.testing.assert_allclose(own.on(clip, clip, mouth).expression, clip.expression, atol=1e-6)


def test_who_speaks_with_half_the_mouth_is_followed(clip: Motion, mouth: Mouth) -> None:
    calm = Style.of(about(clip, 0.5), clip, mouth)
    assert calm.mouth == pytest.approx(0.5, abs=0.02)
    said = calm.on(clip, clip, mouth).expression @ mouth.opening
    assert said.std() == pytest.approx(0.5 * (clip.expression @ mouth.opening).std(), rel=0.2)


def test_a_wide_mouth_stays_within_what_the_person_does(clip: Motion, mouth: Mouth) -> None:
    calm = replace(clip, expression=mouth.shut + 0.5 * (clip.expression - mouth.shut))
    wide = Style.of(clip, calm, mouth)
    assert wide.mouth == pytest.approx(2.0, abs=0.02)
    said = wide.on(calm, calm, mouth).expression
    assert (said @ mouth.opening).std() > 1.5 * (calm.expression @ mouth.opening).std()
    assert (said <= np.maximum(mouth.high, calm.expression)).all()
    assert (said >= np.minimum(mouth.low, calm.expression)).all()


def test_a_caricature_is_not_followed_to_the_end(clip: Motion, mouth: Mouth) -> None:
    assert Style.of(about(clip, 9.0), clip, mouth).mouth == 2.0


def test_a_head_that_sways_more_is_more_restless(clip: Motion, mouth: Mouth) -> None:
    still, lively = turning(clip, 0.05), turning(clip, 0.2)
    assert Style.of(lively, still, mouth).restless > 0.2
    assert Style.of(still, lively, mouth).restless < -0.1
