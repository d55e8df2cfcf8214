# SPDX-License-Identifier: Apache-2.0
"""Spoiled sound is spoiled as much as was asked, and stays in step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from avatar3d import spoil
from avatar3d.records import SAMPLE_RATE

COUNT = 3 * SAMPLE_RATE


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def chirp() -> np.ndarray:
    time = np.arange(COUNT) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * (200 + 500 * time) * time)).astype(np.float32)


def level_db(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float(10 * np.log10(power[(hz >= low_hz) & (hz < high_hz)].sum()))


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 25.0])
def test_noise_is_as_far_below_as_was_asked(snr_db: float) -> None:
    clean = chirp()
    noise = spoil.noisy(clean, spoil.white(COUNT, rng()), snr_db) - clean
    assert 10 * np.log10(np.square(clean).mean() / np.square(noise).mean()) == pytest.approx(snr_db, abs=0.01)


def test_pink_noise_has_as_much_power_in_each_octave_and_white_twice_as_much_in_the_next() -> None:
    for noise, step_db in ((spoil.pink(COUNT, rng()), 0.0), (spoil.white(COUNT, rng()), 3.0)):
        octaves = [level_db(noise, 125 * 2**k, 250 * 2**k) for k in range(5)]
        np.testing.assert_allclose(np.diff(octaves), step_db, atol=0.7)


def test_babble_is_of_all_its_talkers() -> None:
    voices = [np.sin(2 * np.pi * hz * np.arange(COUNT) / SAMPLE_RATE).astype(np.float32) for hz in (300, 900)]
    made = spoil.babble(voices, COUNT // 2, 12, rng())
    assert made.shape == (COUNT // 2,)
    assert abs(level_db(made, 250, 350) - level_db(made, 850, 950)) < 12
    assert level_db(made, 250, 950) > level_db(made, 1000, 8000) + 20


def test_a_line_carries_only_its_band() -> None:
    noise = spoil.white(COUNT, rng())
    telephone, eight_khz = spoil.banded(noise, 300, 3400), spoil.banded(noise, 0, 3800)
    for made in (telephone, eight_khz):
        assert level_db(noise, 500, 3000) == pytest.approx(level_db(made, 500, 3000), abs=0.3)
        assert level_db(made, 5000, 8000) < level_db(noise, 5000, 8000) - 30
    assert level_db(telephone, 0, 120) < level_db(noise, 0, 120) - 20
    assert level_db(eight_khz, 0, 120) == pytest.approx(level_db(noise, 0, 120), abs=0.3)


def test_clipping_and_gain() -> None:
    clean = chirp()
    assert np.abs(spoil.clipped(clean, 0.25)).max() == pytest.approx(0.25 * np.abs(clean).max())
    assert not spoil.clipped(np.zeros(10, np.float32), 0.25).any()
    np.testing.assert_allclose(spoil.gained(clean, -20.0), clean / 10, rtol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: spoil.banded(x, 300, 3400),
        lambda x: spoil.banded(x, 0, 3800),
        lambda x: spoil.equalised(x, 4.0, rng()),
        lambda x: spoil.in_room(x, 0.3, 6.0, rng()),
        lambda x: spoil.clipped(x, 0.3),
    ],
)
def test_nothing_comes_earlier_or_later(change: Callable[[np.ndarray], np.ndarray]) -> None:
    clean = spoil.white(SAMPLE_RATE, rng())
    made = change(clean)
    assert made.dtype == np.float32 and made.shape == clean.shape
    lags = np.fft.irfft(np.fft.rfft(made) * np.fft.rfft(clean).conj())
    assert int(np.abs(lags).argmax()) == 0
    assert not np.array_equal(made, clean)
