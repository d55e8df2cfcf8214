# SPDX-License-Identifier: Apache-2.0
"""The audio feature of sound that is still coming: in whatever chunks the same rows, and soon."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_mel import syllables

from avatar3d.audio.mel import Mel
from avatar3d.audio.mel_live import MelLive
from avatar3d.dsp import loudness_db, pitch, resampled
from avatar3d.records import SAMPLE_RATE, Sound

MEL = MelLive()


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000, 12_345]),
    st.lists(st.integers(0, 9_000), min_size=1, max_size=12),
)
def test_chunks_give_the_rows_of_the_whole(rate: int, chunks: list[int]) -> None:
    sound = syllables(sum(chunks) / rate, rate)
    ear = MEL.live(rate)
    heard = [ear.push(part) for part in np.split(sound.samples, np.cumsum(chunks)[:-1])]
    heard.append(ear.close())
    np.testing.assert_allclose(np.concatenate([part.rows for part in heard]), MEL(sound), atol=1e-5)
    hops = sum(len(part.rows) for part in heard) * 4
    if hops:
        samples = resampled(sound)
        loudness, harmonicity = loudness_db(samples, 0, hops), pitch(samples, 0, hops)[1]
        np.testing.assert_allclose(np.concatenate([part.loudness_db for part in heard]), loudness, atol=1e-5)
        np.testing.assert_allclose(np.concatenate([part.harmonicity for part in heard]), harmonicity, atol=1e-5)


def test_single_samples_give_the_rows_of_the_whole() -> None:
    sound = syllables(0.3)
    ear = MEL.live(sound.rate)
    heard = [*(ear.push(sample[None]).rows for sample in sound.samples), ear.close().rows]
    np.testing.assert_allclose(np.concatenate(heard), MEL(sound), atol=1e-5)


def test_a_push_of_any_length_is_worked_through_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = syllables(4.0)
    monkeypatch.setattr("avatar3d.audio.mel_live.ROWS_AT_ONCE", 17)
    ear = MEL.live(sound.rate)
    heard = [ear.push(sound.samples).rows, ear.close().rows]
    np.testing.assert_allclose(np.concatenate(heard), MEL(sound), atol=1e-5)


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_a_row_is_there_as_soon_as_promised(rate: int) -> None:
    ear, sound = MEL.live(rate), syllables(1.0, rate)
    rows = 0
    for at in range(0, rate, 100):
        rows += len(ear.push(sound.samples[at : at + 100]).rows)
        heard_s = min(at + 100, rate) / rate
        assert rows >= int((heard_s - MEL.look_ahead_s) * 25)


@pytest.mark.parametrize("cut_s", [0.0, 1.0, 1.6])
def test_no_row_depends_on_sound_beyond_the_look_ahead(cut_s: float) -> None:
    sound = syllables(3.0)
    changed = sound.samples.copy()
    cut = round(cut_s * SAMPLE_RATE)
    changed[cut:] = np.random.default_rng(3).standard_normal(len(changed) - cut) * 0.3
    rows, other = MEL(sound), MEL(Sound(changed, sound.rate))
    unchanged = max(int((cut_s - MEL.look_ahead_s) * 25 + 1e-9), 0)
    np.testing.assert_array_equal(other[:unchanged], rows[:unchanged])
    assert np.abs(other[unchanged + 1 :] - rows[unchanged + 1 :]).max(1).min() > 0.1


def test_it_tells_what_the_usual_feature_tells_once_the_level_is_known() -> None:
    sound = syllables(6.0)
    rows, usual = MEL(sound)[75:], Mel()(sound)[75:]
    assert np.abs(rows - usual).mean() < 0.02


@pytest.mark.parametrize("gain_db", [-12.0, 12.0])
def test_a_change_of_gain_is_forgotten(gain_db: float) -> None:
    sound = syllables(10.0)
    louder = Sound(sound.samples * np.float32(10 ** (gain_db / 20)), sound.rate)
    settled = slice(round(7.5 * 25), None)
    np.testing.assert_allclose(MEL(louder)[settled], MEL(sound)[settled], atol=0.05)


def test_a_long_sound_leaves_nothing_behind() -> None:
    ear, sound = MEL.live(SAMPLE_RATE), syllables(2.0)
    kept = []
    for _ in range(3):
        ear.push(sound.samples)
        kept.append(len(ear._hops.samples))
    assert max(kept) < SAMPLE_RATE // 8
