# SPDX-License-Identifier: Apache-2.0
"""The guard rails of a predicted motion."""

from __future__ import annotations

import numpy as np
import pytest

from avatar3d import spoil
from avatar3d.motion._polish import BlinkHabit, blink_onsets, blinks, locally_linear, speech_gate, usual_pause
from avatar3d.records import SAMPLE_RATE, Sound


def curved_sheet(count: int, rng: np.random.Generator) -> np.ndarray:
    """Points [count,5] of a two-dimensional sheet in five dimensions."""
    u, v = rng.uniform(-1, 1, (2, count))
    return np.stack([u, v, 0.3 * u * v, 0.2 * u**2, 0.1 * v], 1).astype(np.float32)


def test_a_mix_of_neighbours_is_left_as_it_is() -> None:
    seen = curved_sheet(500, np.random.default_rng(0))
    first = seen[7]
    near = seen[np.argsort(((seen - first) ** 2).sum(1))[:3]]
    mix = (np.array([[0.5, 0.3, 0.2]]) @ near).astype(np.float32)
    np.testing.assert_allclose(locally_linear(mix, seen, pull=1.0), mix, atol=1e-4)


@pytest.mark.parametrize("pull", [0.2, 1.0])
def test_an_outlier_comes_strictly_nearer(pull: float) -> None:
    seen = curved_sheet(500, np.random.default_rng(0))
    spread = seen.std(0).max()
    outliers = seen[:20] + 5 * spread * np.random.default_rng(1).standard_normal((20, 5)).astype(np.float32)
    moved = locally_linear(outliers, seen, pull=pull)
    assert (distance_to(seen, moved) < distance_to(seen, outliers)).all()


def test_nearly_equal_neighbours_do_not_throw_a_point_away() -> None:
    seen = np.repeat(np.eye(4, 6, dtype=np.float32), 10, axis=0)
    seen += np.random.default_rng(0).standard_normal(seen.shape).astype(np.float32) * 1e-6
    query = seen[:1] + 0.5
    assert np.abs(locally_linear(query, seen, pull=1.0)).max() < 2


def test_fewer_expressions_than_neighbours_are_enough() -> None:
    seen = curved_sheet(4, np.random.default_rng(0))
    assert np.isfinite(locally_linear(seen + 0.1, seen)).all()


def distance_to(seen: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - seen[None], axis=2).min(1)


def spoken(*parts_s: float, noise: float = 3e-4) -> Sound:
    """Vowel, silence, vowel ... of the given lengths in seconds, in a room, usually a quiet one."""
    rng = np.random.default_rng(0)
    pieces = []
    for index, seconds in enumerate(parts_s):
        time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        vowel = sum(np.sin(2 * np.pi * 130 * h * time) / h for h in range(1, 12)) * 0.1
        pieces.append(vowel * (index % 2 == 0) + rng.standard_normal(len(time)) * noise)
    return Sound(np.concatenate(pieces).astype(np.float32), SAMPLE_RATE)


def test_the_gate_shuts_within_200_ms_of_the_last_sound() -> None:
    gate = speech_gate(spoken(2.0, 3.0))
    assert gate.shape == (125,)
    assert gate[3:48].min() == 1.0
    assert gate[55:].max() == 0.0  # 50 frames of speech and 200 ms


def test_the_gate_opens_before_the_first_sound() -> None:
    gate = speech_gate(spoken(0.0, 2.0, 2.0))
    assert gate[:46].max() == 0.0
    assert gate[50:98].min() == 1.0


def test_a_short_pause_does_not_shut_the_mouth_and_a_long_one_does() -> None:
    assert speech_gate(spoken(1.0, 0.5, 1.0)).min() == 1.0
    assert speech_gate(spoken(1.0, 1.0, 1.0)).min() == 0.0
    assert speech_gate(spoken(1.0, 0.7, 1.0), pause_frames=12).min() == 0.0
    assert speech_gate(spoken(1.0, 1.0, 1.0), pause_frames=30).min() == 1.0


def test_in_noise_a_pause_is_believed_later() -> None:
    assert speech_gate(spoken(1.0, 1.0, 1.0, noise=0.02)).min() == 1.0
    assert speech_gate(spoken(1.0, 2.5, 1.0, noise=0.02)).min() == 0.0


@pytest.mark.parametrize(("resting", "pause_frames"), [(0.0, 25), (0.5, 30)])
def test_whether_a_person_shuts_the_mouth_in_pauses_is_seen(resting: float, pause_frames: int) -> None:
    sound = spoken(1.0, 0.7, 1.0, 0.7, 1.0, 0.7, 1.0)
    gate = speech_gate(sound, pause_frames=5)
    opening = resting + (1 - resting) * gate * (0.5 + 0.5 * np.cos(np.arange(len(gate))))
    opening[:4] = 0.0
    assert usual_pause(sound, opening) == pause_frames


def test_too_few_pauses_tell_nothing() -> None:
    sound = spoken(1.0, 0.7, 1.0)
    assert usual_pause(sound, np.linspace(0, 1, round(sound.seconds * 25))) == 25


@pytest.mark.parametrize("level_db", [-60.0, -40.0])
def test_noise_that_sets_in_shuts_the_gate_too(level_db: float) -> None:
    quiet = spoken(2.0, 0.0)
    noise = np.random.default_rng(1).standard_normal(3 * SAMPLE_RATE) * 10 ** (level_db / 20)
    gate = speech_gate(Sound(np.concatenate([quiet.samples, noise]).astype(np.float32), SAMPLE_RATE))
    assert gate[56:].max() == 0.0


@pytest.mark.parametrize("level_db", [-200.0, -60.0, -40.0])
def test_silence_and_steady_noise_keep_the_gate_shut(level_db: float) -> None:
    noise = np.random.default_rng(0).standard_normal(5 * SAMPLE_RATE) * 10 ** (level_db / 20)
    assert speech_gate(Sound(noise.astype(np.float32), SAMPLE_RATE)).max() == 0.0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("level_db", [-60.0, -40.0])
def test_a_rumbling_room_does_not_open_the_gate(level_db: float, seed: int) -> None:
    noise = spoil.pink(5 * SAMPLE_RATE, np.random.default_rng(seed))
    noise *= 10 ** (level_db / 20) / np.sqrt(np.square(noise).mean())
    assert speech_gate(Sound(noise, SAMPLE_RATE)).max() == 0.0


def test_blinks_come_as_often_as_the_habit_says() -> None:
    habit = BlinkHabit(float(np.log(3.0)), 0.3)
    closing = blinks(25 * 600, habit, np.random.default_rng(0))
    onsets = blink_onsets(closing)
    seconds = np.diff(onsets) / 25
    assert np.median(seconds) == pytest.approx(3.0, rel=0.1)
    assert np.log(seconds).std() == pytest.approx(0.3, abs=0.05)
    assert closing.min() == 0 and closing.max() == 1
    np.testing.assert_array_equal(closing[:, 0], closing[:, 1])


def test_a_habit_is_found_again_in_a_long_clip() -> None:
    closing = blinks(25 * 1800, BlinkHabit(float(np.log(2.2)), 0.4), np.random.default_rng(1))
    noisy = (closing + np.random.default_rng(2).normal(0.05, 0.05, closing.shape)).clip(0, 1)
    habit = BlinkHabit.of(noisy.astype(np.float32))
    assert np.exp(habit.log_interval) == pytest.approx(2.2, rel=0.1)
    assert habit.log_spread == pytest.approx(0.4, abs=0.06)


def test_a_clip_without_blinks_gets_the_usual_habit() -> None:
    assert BlinkHabit.of(np.zeros((100, 2), np.float32)) == BlinkHabit()


def test_the_seed_decides_the_blinks() -> None:
    habit = BlinkHabit()
    first, again, other = (blinks(1000, habit, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_quieter_recording_has_the_same_gate() -> None:
    sound = spoken(1.0, 1.5, 1.0)
    quiet = Sound(sound.samples * np.float32(0.25), sound.rate)
    np.testing.assert_array_equal(speech_gate(quiet), speech_gate(sound))
