# SPDX-License-Identifier: Apache-2.0
"""Sound that is still coming: in whatever chunks, the same samples as of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d.dsp import resampled
from avatar3d.errors import InputError
from avatar3d.records import SAMPLE_RATE, Sound, frame_count
from avatar3d.stream import Hops, Resampler


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(samples).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 12_345, 44_101]),
    st.lists(st.integers(0, 2_000), min_size=1, max_size=8),
)
def test_chunks_are_resampled_as_the_whole(rate: int, chunks: list[int]) -> None:
    samples = noise(sum(chunks))
    resampler = Resampler(rate)
    made = [resampler.push(part) for part in np.split(samples, np.cumsum(chunks)[:-1])]
    made.append(resampler.close())
    whole = resampled(Sound(samples, rate)) if len(samples) else samples
    np.testing.assert_allclose(np.concatenate(made), whole, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampled_sound_comes_two_milliseconds_late_at_most(rate: int) -> None:
    made = Resampler(rate).push(noise(rate))
    assert 0 <= SAMPLE_RATE - len(made) <= 0.002 * SAMPLE_RATE


@pytest.mark.parametrize("seconds", [0.0, 0.01, 1.019, 1.02, 1.021, 2.5])
def test_frames_are_counted_as_of_the_whole_sound(seconds: float) -> None:
    samples = noise(round(seconds * 44_100))
    hops = Hops(44_100)
    hops.push(samples)
    assert hops.frames == frame_count(Sound(samples, 44_100))


def test_only_what_coming_hops_look_at_is_kept() -> None:
    hops, samples = Hops(SAMPLE_RATE), noise(SAMPLE_RATE)
    for at in range(0, SAMPLE_RATE, 320):
        hops.push(samples[at : at + 320])
        hops.forget(hops.complete)
        assert len(hops.samples) < 1_300
    first = hops.origin * 160
    np.testing.assert_array_equal(hops.samples, samples[first:])
    last = hops.complete - 1
    assert last * 160 + 80 + 400 <= SAMPLE_RATE < (last + 1) * 160 + 80 + 400


def test_stereo_and_impossible_rates_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="one channel"):
        Hops(SAMPLE_RATE).push(np.zeros((4, 2), np.float32))
    with pytest.raises(InputError, match="0 Hz"):
        Hops(0)
