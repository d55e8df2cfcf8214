# SPDX-License-Identifier: Apache-2.0
"""The voice: it learns, it keeps what it must not hear apart, it comes back from disk the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from avatar3d import spoil
from avatar3d.audio.mel import Mel
from avatar3d.errors import InputError
from avatar3d.face.groups import APERTURE_PAIRS
from avatar3d.fit import Budget, fit
from avatar3d.motion._lip_space import LipSpace
from avatar3d.motion._tcn_fit import TcnFit, heard_by_members, part_of_frames
from avatar3d.motion._tcn_net import TcnNet, TcnShape
from avatar3d.motion._voices import renditions
from avatar3d.motion.tcn import Tcn
from avatar3d.records import SAMPLE_RATE, Camera, Landmarks, Motion, Sound, Track, held_out_start

CODES = 4


def made_up(seconds: float, seed: int = 0) -> tuple[Sound, Track]:
    """A buzz whose loudness is the opening of a mouth, and whose brightness is its width."""
    rng = np.random.default_rng(seed)
    frames = round(seconds * 25)
    curves = np.stack([np.convolve(rng.standard_normal(frames + 8), np.hanning(9), "valid") for _ in range(CODES)], 1)
    curves /= curves.std(0)
    curves[:, 0] = np.maximum(curves[:, 0], -0.7)  # lips that meet stay shut
    codes = ((curves - curves.mean(0)) / curves.std(0)).astype(np.float32)
    samples = round(seconds * SAMPLE_RATE)
    time = np.arange(samples) / SAMPLE_RATE
    opening, width = (np.interp(time * 25 - 0.5, np.arange(frames), codes[:, k]) for k in (0, 1))
    sound = sum(np.sin(2 * np.pi * 120 * h * time) * h ** (-1.2 + 0.3 * width) for h in range(1, 25))
    loud = 0.02 * 10 ** (opening / 4)
    return Sound((sound * loud).astype(np.float32), SAMPLE_RATE), track_of(codes)


def track_of(codes: np.ndarray) -> Track:
    rng = np.random.default_rng(1)
    frames = len(codes)
    neutral = rng.standard_normal((468, 3)).astype(np.float32) * 0.1
    basis = rng.standard_normal((468, 3, CODES)).astype(np.float32) * 1e-3
    for upper, lower in APERTURE_PAIRS:
        neutral[upper], neutral[lower] = (0.0, 0.05, 0.0), (0.0, -0.05, 0.0)
        basis[lower, :, 0] = (0.0, -0.03, 0.0)
    zeros = np.zeros((frames, 7), np.float32)
    motion = Motion(codes, zeros[:, :2], zeros[:, :4], zeros, 25.0)
    landmarks = Landmarks(np.zeros((frames, 478, 3), np.float32), zeros[:, :5], np.ones(frames, bool))
    camera = Camera(torch.eye(3), torch.eye(4), 64, 64)
    trusted = np.ones(frames, np.float32)
    arkit = np.zeros((53, CODES), np.float32)
    return Track(camera, neutral, basis, motion, landmarks, trusted, held_out_start(frames), False, arkit)


def trained(sound: Sound, track: Track, steps: int, cuts: Sequence[int] = ()) -> Tcn:
    listen = Mel(bands=16)
    learner = Tcn.learner(listen, sound, track, tuple(cuts))
    for _ in fit(learner, Tcn.stages, Budget(steps=steps), reviews=1):
        pass
    return Tcn.learned(learner, listen, track)


@pytest.fixture(scope="module")
def scene() -> tuple[Sound, Track]:
    return made_up(11.0)


@pytest.fixture(scope="module")
def voice(scene: tuple[Sound, Track]) -> Tcn:
    return trained(*scene, steps=60)


def opening(track: Track, codes: np.ndarray) -> np.ndarray:
    return LipSpace.of(track).aperture(torch.from_numpy(codes)).numpy()


def test_it_learns_ten_seconds_by_heart(scene: tuple[Sound, Track], monkeypatch: pytest.MonkeyPatch) -> None:
    sound, track = scene
    for name in ("_NOISE", "_TILT", "_MASKS"):
        monkeypatch.setattr(f"avatar3d.motion._tcn_fit.{name}", 0)
    monkeypatch.setattr("avatar3d.motion._tcn_fit._FINE", 1)
    monkeypatch.setattr("avatar3d.motion._tcn_fit._ROUGH", 0)
    listen = Mel(bands=16)
    torch.manual_seed(0)
    net = TcnNet(TcnShape(listen.width, CODES, members=1, dropout=0.0))
    for _ in fit(TcnFit(net, listen, sound, track, (), 0), Tcn.stages, Budget(steps=300), reviews=0):
        pass
    start = track.fitted_frames
    said = opening(track, net.say(listen(sound))[:start, 0])
    assert np.corrcoef(said, opening(track, track.motion.expression[:start]))[0, 1] > 0.98


def test_it_understands_what_it_has_not_heard(voice: Tcn, scene: tuple[Sound, Track]) -> None:
    sound, track = scene
    start = track.fitted_frames
    said = opening(track, voice(sound).expression[start:])
    assert np.corrcoef(said, opening(track, track.motion.expression[start:]))[0, 1] > 0.85


def test_training_starts_at_the_linear_model(scene: tuple[Sound, Track]) -> None:
    sound, track = scene
    learner = learner_of(sound, track)
    assert learner.evaluate()["aperture_r"] > 0.6


def test_the_mouth_opens_as_widely_as_the_persons_own(voice: Tcn, scene: tuple[Sound, Track]) -> None:
    sound, track = scene
    said, real = (opening(track, codes) for codes in (voice(sound).expression, track.motion.expression))
    assert said[5:-5].std() / real.std() == pytest.approx(1.0, abs=0.2)


def test_a_voice_comes_back_from_its_tensors(voice: Tcn, scene: tuple[Sound, Track]) -> None:
    sound, _ = scene
    again = Tcn.restore(voice.config(), voice.tensors(), Mel(bands=16))
    np.testing.assert_array_equal(again(sound, seed=3).expression, voice(sound, seed=3).expression)
    np.testing.assert_array_equal(again(sound, seed=3).blink, voice(sound, seed=3).blink)


def test_another_audio_feature_is_refused_by_name(voice: Tcn) -> None:
    with pytest.raises(InputError, match=r"35 numbers.*83"):
        Tcn.restore(voice.config(), voice.tensors(), Mel(bands=40))


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.5, 2.019, 2.021])
def test_the_motion_is_as_long_as_the_sound(voice: Tcn, seconds: float) -> None:
    sound = Sound(np.zeros(round(seconds * 48_000), np.float32), 48_000)
    motion = voice(sound)
    assert len(motion) == len(motion.blink) == len(motion.head) == round(sound.seconds * 25)
    assert np.isfinite(motion.expression).all()


def test_silence_closes_the_lips_within_200_ms(voice: Tcn, scene: tuple[Sound, Track]) -> None:
    sound, track = scene
    said = np.concatenate([sound.samples[: 4 * SAMPLE_RATE], np.zeros(5 * SAMPLE_RATE, np.float32)])
    open_u = opening(track, voice(Sound(said, SAMPLE_RATE)).expression)
    low, high = np.quantile(opening(track, track.motion.expression), [0.0, 1.0])
    assert open_u[:95].max() > low + 0.5 * (high - low)
    assert open_u[105:].max() < low + 0.1 * (high - low)


def test_pieces_say_the_same_as_the_whole(voice: Tcn, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).standard_normal((400, voice.net.shape.features)).astype(np.float32)
    whole = voice.net.say(rows)
    monkeypatch.setattr("avatar3d.motion._tcn_net._ROWS_AT_ONCE", 37)
    np.testing.assert_allclose(voice.net.say(rows), whole, atol=1e-5)


def test_no_prediction_leaves_the_persons_range(voice: Tcn) -> None:
    noise = np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE).astype(np.float32)
    noise *= np.repeat(np.random.default_rng(1).uniform(0, 0.5, 60), SAMPLE_RATE // 20)
    said = voice(Sound(noise, SAMPLE_RATE)).expression
    low = np.minimum(voice.manner.low, voice.manner.closed)
    high = np.maximum(voice.manner.high, voice.manner.closed)
    assert (said >= low - 1e-5).all() and (said <= high + 1e-5).all()


def test_the_held_out_part_is_never_read() -> None:
    sound, track = made_up(8.0)
    start = track.fitted_frames
    spoilt_codes = track.motion.expression.copy()
    spoilt_codes[start:] = np.nan
    spoilt_samples = sound.samples.copy()
    spoilt_samples[round(start * SAMPLE_RATE / 25) :] = np.nan
    spoilt = replace(track, motion=replace(track.motion, expression=spoilt_codes))
    clean, dark = trained(sound, track, 2), trained(Sound(spoilt_samples, SAMPLE_RATE), spoilt, 2)
    for name, tensor in clean.tensors().items():
        torch.testing.assert_close(dark.tensors()[name], tensor, msg=name)


def test_untrusted_frames_and_steps_across_cuts_count_nothing() -> None:
    sound, track = made_up(8.0)
    confidence = track.confidence.copy()
    confidence[50:60] = 0
    codes = track.motion.expression.copy()
    codes[50:60] = 1e6  # would swamp every loss
    spoilt = replace(track, confidence=confidence, motion=replace(track.motion, expression=codes))
    learner = learner_of(sound, spoilt, cuts=(100,))
    take = learner.takes[0]
    assert not take.weight[50:60].any() and take.weight[40:50].any()
    assert not take.joint[49:60].any()
    assert not take.joint[99].any() and take.joint[98].any() and take.joint[100].any()


def test_every_member_leaves_out_its_own_part_and_its_neighbourhood() -> None:
    heard, part = heard_by_members(200, 5), part_of_frames(200, 5)
    assert heard.any(1).all()
    for member in range(5):
        out = np.flatnonzero(~heard[:, member])
        own = np.flatnonzero(part == member)
        assert out.min() == max(own.min() - 8, 0) and out.max() == min(own.max() + 8, 199)
    assert heard_by_members(50, 1).all()
    np.testing.assert_array_equal(heard_by_members(200, 10, 2), np.tile(heard, 2))


def test_a_members_own_part_does_not_change_it() -> None:
    """Gradients of member 2 with respect to what happens in part 2 of the recording are zero."""
    sound, track = made_up(8.0)
    learner = learner_of(sound, track)
    part = part_of_frames(track.fitted_frames, 5) == 2
    take = learner.takes[0]
    said = learner.net(take.rows[None]).detach().requires_grad_()
    wrong = (said - take.codes[None, :, None]).square().sum(-1)
    (wrong[0] * take.weight).sum().backward()
    assert said.grad is not None
    assert not said.grad[0, part, 2].any()
    assert said.grad[0, part, 1].any()


def test_a_faster_rendition_goes_with_the_same_frames() -> None:
    sound, track = made_up(8.0)
    listen = Mel(bands=16)
    made = renditions(sound, listen, 150, 4, 0, np.random.default_rng(0))
    real = track.motion.expression[:150]
    np.testing.assert_allclose(made[0].sampled(real), real, atol=1e-5)
    loudness = np.corrcoef(made[0].rows[:, -3], real[:, 0])[0, 1]
    for rendition in made[1:]:
        assert len(rendition.rows) != 150
        followed = np.corrcoef(rendition.rows[:, -3], rendition.sampled(real)[:, 0])[0, 1]
        assert followed > loudness - 0.1


def test_spoiled_renditions_are_another_schools() -> None:
    learner = learner_of(*made_up(8.0))
    fine, rough = learner.takes[1], learner.takes[-1]
    assert 0 < fine.weight[:, 5:].max() < fine.weight[:, :5].max()
    assert not rough.weight[:, :5].any() and rough.weight[:, 5:].any(0).all()


@pytest.mark.parametrize("snr_db", [10.0, 20.0])
def test_it_understands_in_noise(voice: Tcn, scene: tuple[Sound, Track], snr_db: float) -> None:
    sound, track = scene
    start = track.fitted_frames
    noise = spoil.white(len(sound.samples), np.random.default_rng(7))
    said = opening(track, voice(Sound(spoil.noisy(sound.samples, noise, snr_db), SAMPLE_RATE)).expression)
    assert np.corrcoef(said[start:], opening(track, track.motion.expression[start:]))[0, 1] > 0.7


def test_who_foresees_nothing_moves_the_mouth_less(
    scene: tuple[Sound, Track], voice: Tcn, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = learner_of(*scene)
    monkeypatch.setattr(TcnFit, "timidity", lambda _: 2.0)
    for r, gain in ((0.9, 0.45), (0.25, 0.35), (0.0, 0.25), (-0.5, 0.25)):
        monkeypatch.setattr(TcnFit, "foreseen", lambda _, r=r: r)
        assert Tcn.learned(learner, voice.listen, scene[1]).manner.gain == pytest.approx(gain)


def test_the_network_is_small() -> None:
    net = TcnNet(TcnShape(Mel().width, 16))
    assert sum(parameter.numel() for parameter in net.parameters()) < 1_000_000


def learner_of(sound: Sound, track: Track, cuts: tuple[int, ...] = ()) -> TcnFit:
    return Tcn.learner(Mel(bands=16), sound, track, cuts)
