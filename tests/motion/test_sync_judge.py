# SPDX-License-Identifier: Apache-2.0
"""The judge of lip sync: it tells true lips from shifted ones, finds the shift, and teaches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_tcn import CODES, made_up

from avatar3d.audio.mel import Mel
from avatar3d.errors import InputError
from avatar3d.fit import Budget, fit
from avatar3d.motion._sync import LONGEST_SHIFT, Judge
from avatar3d.motion._sync_fit import STAGES, SyncFit, _strangers, _whole_windows, sync_figures
from avatar3d.records import SAMPLE_RATE, Sound, Track

BANDS = 8


def learner_of(sound: Sound, track: Track, cuts: tuple[int, ...] = ()) -> SyncFit:
    return SyncFit(Mel(bands=BANDS), sound, track, cuts)


@pytest.fixture(scope="module")
def scene() -> tuple[Sound, Track]:
    return made_up(36.0)


@pytest.fixture(scope="module")
def judge(scene: tuple[Sound, Track]) -> Judge:
    learner = learner_of(*scene)
    for _ in fit(learner, STAGES, Budget(steps=150), reviews=1):
        pass
    return learner.judge()


def held_out(judge: Judge, scene: tuple[Sound, Track]) -> tuple[np.ndarray, np.ndarray]:
    sound, track = scene
    return judge.listen(sound)[track.fitted_frames :], track.motion.expression[track.fitted_frames :]


def test_true_lips_agree_and_lips_five_frames_off_do_not(judge: Judge, scene: tuple[Sound, Track]) -> None:
    figures = sync_figures(judge, *held_out(judge, scene))
    assert figures["margin"] is not None and figures["margin"] > 0.3
    assert figures["offset_frames"] == 0


@pytest.mark.parametrize("late", [-6, -3, 3, 7])
def test_a_shift_is_found_with_its_sign(judge: Judge, scene: tuple[Sound, Track], late: int) -> None:
    rows, codes = held_out(judge, scene)
    shifted = np.roll(codes, late, axis=0)
    inside = slice(8, -8)
    found = judge.offset(rows[inside], shifted[inside])
    assert found is not None and abs(found.frames - late) <= 1


def test_lips_of_another_sound_are_judged_with_little_confidence(judge: Judge, scene: tuple[Sound, Track]) -> None:
    rows, codes = held_out(judge, scene)
    strange = made_up(36.0, seed=5)[1].motion.expression[: len(codes)]
    true, false = judge.offset(rows, codes), judge.offset(rows, strange)
    assert true is not None and false is not None
    assert false.confidence < 0.6 * true.confidence and false.agreement < true.agreement - 0.2


def test_its_opinion_pulls_lips_to_their_sound(judge: Judge, scene: tuple[Sound, Track]) -> None:
    rows, codes = (torch.from_numpy(part)[None] for part in held_out(judge, scene))
    wrong = torch.roll(codes, 5, 1).requires_grad_()
    before = judge.disagreement(rows, wrong)
    (gradient,) = torch.autograd.grad(before, wrong)
    step = wrong - 20 * gradient / gradient.norm()
    assert judge.disagreement(rows, step) < before
    assert judge.disagreement(rows, codes) < before
    assert not any(parameter.requires_grad for parameter in judge.net.parameters())


def test_too_short_a_piece_is_not_judged(judge: Judge) -> None:
    rows, codes = np.zeros((40, 2 * BANDS + 3), np.float32), np.zeros((40, CODES), np.float32)
    assert judge.offset(rows, codes) is None
    assert sync_figures(judge, rows, codes)["margin"] is None


def test_a_judge_comes_back_from_its_tensors(judge: Judge, scene: tuple[Sound, Track]) -> None:
    rows, codes = held_out(judge, scene)
    again = Judge.restore(judge.config(), judge.tensors(), Mel(bands=BANDS))
    assert again.offset(rows, codes) == judge.offset(rows, codes)
    with pytest.raises(InputError, match=r"19 numbers.*35"):
        Judge.restore(judge.config(), judge.tensors(), Mel(bands=16))


def test_the_held_out_part_is_never_read() -> None:
    sound, track = made_up(8.0)
    start = track.fitted_frames
    codes, samples = track.motion.expression.copy(), sound.samples.copy()
    codes[start:], samples[round(start * SAMPLE_RATE / 25) :] = np.nan, np.nan
    spoilt = replace(track, motion=replace(track.motion, expression=codes))
    for one in (learner_of(sound, track), learner_of(Sound(samples, SAMPLE_RATE), spoilt)):
        figures = one.losses(STAGES[0], 0.0, 0, [3])["contrast"]
        assert torch.isfinite(figures)
        assert all(torch.isfinite(rows).all() and torch.isfinite(codes).all() for rows, codes, _ in one.takes)


def test_no_window_reaches_over_a_cut_or_a_frame_that_is_not_trusted() -> None:
    trusted = np.ones(40, bool)
    trusted[10] = False
    whole = _whole_windows(trusted, (25,))
    expected = np.ones(40, bool)
    expected[:2] = expected[-2:] = expected[8:13] = expected[23:27] = False
    np.testing.assert_array_equal(whole, expected)


def test_strangers_are_never_too_near() -> None:
    torch.manual_seed(0)
    centres = torch.arange(2, 200)
    anchors = centres[torch.randint(len(centres), (500,))]
    apart = (_strangers(anchors, centres) - anchors[:, None]).abs()
    assert apart.min() >= 3
    near = (apart <= LONGEST_SHIFT).float().mean()
    assert 0.5 < near < 0.75
