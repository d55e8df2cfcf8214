# SPDX-License-Identifier: Apache-2.0
"""The voice for speech that is still coming: in whatever chunks the same motion, soon, and from the past alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tcn import CODES, made_up, opening

from avatar3d import spoil
from avatar3d.audio.mel import Mel
from avatar3d.audio.mel_live import MelLive
from avatar3d.dsp import resampled
from avatar3d.errors import InputError
from avatar3d.fit import Budget, fit
from avatar3d.motion._live import LiveBlinks, joined
from avatar3d.motion._polish import BlinkHabit, blinks
from avatar3d.motion._tcn_net import TcnNet, TcnShape
from avatar3d.motion.tcn_live import TcnLive
from avatar3d.records import SAMPLE_RATE, Motion, Sound, Track

RATES = (8_000, 16_000, 22_050, 44_100, 48_000, 12_345)


@pytest.fixture(scope="module")
def scene() -> tuple[Sound, Track]:
    return made_up(11.0)


@pytest.fixture(scope="module")
def voice(scene: tuple[Sound, Track]) -> TcnLive:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    listen = MelLive(bands=16)
    learner = TcnLive.learner(listen, *scene, ())
    for _ in fit(learner, TcnLive.stages, Budget(steps=40), reviews=1):
        pass
    torch.set_num_threads(before)
    return TcnLive.learned(learner, listen, scene[1])


def chunk_by_chunk(voice: TcnLive, samples: np.ndarray, rate: int, chunks: list[int]) -> Motion:
    live = voice.live(rate, seed=5)
    parts = [live.push(part) for part in np.split(samples, np.cumsum(chunks)[:-1])]
    return joined([*parts, live.close()])


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(RATES), st.lists(st.integers(0, 20_000), min_size=1, max_size=12))
def test_chunks_say_what_the_whole_says(
    voice: TcnLive, scene: tuple[Sound, Track], rate: int, chunks: list[int]
) -> None:
    samples = resampled(scene[0], rate)[: sum(chunks)]
    chunks[-1] += len(samples) - sum(chunks)
    whole, said = voice(Sound(samples, rate), seed=5), chunk_by_chunk(voice, samples, rate, chunks)
    assert len(said) == round(len(samples) / rate * 25)
    for name in ("expression", "blink", "gaze", "head"):
        np.testing.assert_allclose(getattr(said, name), getattr(whole, name), atol=1e-5, err_msg=name)


def test_single_samples_say_what_the_whole_says(voice: TcnLive, scene: tuple[Sound, Track]) -> None:
    samples = scene[0].samples[: SAMPLE_RATE // 2]
    said = chunk_by_chunk(voice, samples, SAMPLE_RATE, [1] * len(samples))
    np.testing.assert_allclose(said.expression, voice(Sound(samples, SAMPLE_RATE)).expression, atol=1e-5)


def test_open_speech_is_what_the_network_makes_of_all_rows(voice: TcnLive, scene: tuple[Sound, Track]) -> None:
    """The chunks' way, held against the network on the whole sound: neither may be wrong alone."""
    sound, _ = scene
    manner = voice.manner
    bare = np.clip(manner.gain * voice.net.say(voice.listen(sound)).mean(1), manner.low, manner.high)
    said = voice(sound)
    lids = (said.blink.mean(1, keepdims=True) - manner.usual_lids) * manner.closing
    # the buzz never rests, so the gate is open but for its first frames
    np.testing.assert_allclose((said.expression - lids)[3:], bare[3:], atol=1e-5)


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_frame_is_final_as_soon_as_promised(voice: TcnLive, scene: tuple[Sound, Track], rate: int) -> None:
    samples, live, frames = resampled(scene[0], rate)[:rate], voice.live(rate), 0
    assert live.look_ahead_s <= 0.12
    for at in range(0, rate, 90):
        frames += len(live.push(samples[at : at + 90]))
        assert frames >= int((min(at + 90, rate) / rate - live.look_ahead_s) * 25)


def test_nothing_depends_on_sound_beyond_the_look_ahead(voice: TcnLive, scene: tuple[Sound, Track]) -> None:
    samples = scene[0].samples[: 3 * SAMPLE_RATE]
    changed = samples.copy()
    changed[SAMPLE_RATE:] = 0
    said, other = (voice(Sound(part, SAMPLE_RATE)).expression for part in (samples, changed))
    final = int((1.0 - voice.live(SAMPLE_RATE).look_ahead_s) * 25)
    np.testing.assert_array_equal(other[:final], said[:final])
    assert np.abs(other[final + 4 :] - said[final + 4 :]).max(1).min() > 1e-3


def test_it_follows_the_voice_that_it_has_learned(voice: TcnLive, scene: tuple[Sound, Track]) -> None:
    sound, track = scene
    start = track.fitted_frames
    said, real = (opening(track, codes[start:]) for codes in (voice(sound).expression, track.motion.expression))
    assert np.corrcoef(said, real)[0, 1] > 0.8


def test_it_understands_in_noise(voice: TcnLive, scene: tuple[Sound, Track]) -> None:
    sound, track = scene
    start = track.fitted_frames
    noise = spoil.white(len(sound.samples), np.random.default_rng(7))
    said = opening(track, voice(Sound(spoil.noisy(sound.samples, noise, 10.0), SAMPLE_RATE)).expression)
    assert np.corrcoef(said[start:], opening(track, track.motion.expression[start:]))[0, 1] > 0.7


@pytest.mark.parametrize("noise_db", [None, -60.0, -40.0])
def test_lips_close_once_a_pause_is_long_and_stay_so(
    voice: TcnLive, scene: tuple[Sound, Track], noise_db: float | None
) -> None:
    sound, track = scene
    rest = np.zeros(5 * SAMPLE_RATE, np.float32)
    if noise_db is not None:
        rest += np.random.default_rng(0).standard_normal(len(rest)).astype(np.float32) * 10 ** (noise_db / 20)
    # a room is not silent while somebody speaks, either
    before = sound.samples[: 4 * SAMPLE_RATE] + np.resize(rest, 4 * SAMPLE_RATE)
    talk = np.concatenate([rest[:SAMPLE_RATE], before, rest])
    open_u = opening(track, voice(Sound(talk, SAMPLE_RATE)).expression)
    low, high = np.quantile(opening(track, track.motion.expression), [0.0, 1.0])
    assert open_u[25:120].max() > low + 0.5 * (high - low)
    assert open_u[5 * 25 + 23 :].max() < low + 0.1 * (high - low)
    assert open_u[:20].max() < low + 0.1 * (high - low)


def test_a_long_sound_leaves_nothing_behind(voice: TcnLive, scene: tuple[Sound, Track]) -> None:
    live = voice.live(SAMPLE_RATE)
    sizes = []
    for _ in range(3):
        live.push(scene[0].samples)
        sizes.append((len(live._net._columns), len(live._said), len(live._open), len(live._lids._coming)))
    assert len(set(sizes)) == 1 and max(sizes[0]) <= 16


def test_lids_shut_as_of_the_whole() -> None:
    habit = BlinkHabit(log_interval=0.0)
    lids = LiveBlinks(habit, np.random.default_rng(2))
    whole = blinks(500, habit, np.random.default_rng(2))
    assert (whole == 1).any()
    np.testing.assert_array_equal(np.concatenate([lids.next(size) for size in (1, 0, 7, 242, 250)]), whole)


def test_it_comes_back_from_its_tensors(voice: TcnLive, scene: tuple[Sound, Track]) -> None:
    again = TcnLive.restore(voice.config(), voice.tensors(), MelLive(bands=16))
    np.testing.assert_array_equal(again(scene[0]).expression, voice(scene[0]).expression)


def test_a_feature_that_cannot_follow_is_refused_by_name(voice: TcnLive) -> None:
    with pytest.raises(InputError, match="Mel cannot follow") as caught:
        TcnLive.restore(voice.config(), voice.tensors(), Mel(bands=16))
    assert "mel_live" in caught.value.remedy


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_the_network_sees_exactly_as_far_as_it_says(ahead: int) -> None:
    torch.manual_seed(0)
    net = TcnNet(TcnShape(6, CODES, members=1, ahead=ahead)).eval()
    torch.nn.init.normal_(net.leave.weight)
    net.linear.normal_()
    rows = torch.randn(1, 120, 6, requires_grad=True)
    net(rows)[0, 60].sum().backward()
    assert rows.grad is not None
    seen = np.flatnonzero(rows.grad[0].abs().sum(1).numpy())
    assert (seen.min(), seen.max()) == (60 - net.shape.before, 60 + net.shape.after)
    assert net.shape.after == ahead
