# SPDX-License-Identifier: Apache-2.0
"""Phones: rows and times that belong together, a decoder that may fail, and real speech where there is some."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatar3d.arpabet import PHONES
from avatar3d.audio import phones as phones_file
from avatar3d.audio.phones import Phones
from avatar3d.contracts import Listen, Spell
from avatar3d.errors import InputError
from avatar3d.records import SAMPLE_RATE, Sound, TimedPhone

needs_decoder = pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None, reason="needs pocketsphinx: pip install 'pocketsphinx>=5.0.4'"
)


def hum(seconds: float, rate: int = SAMPLE_RATE) -> Sound:
    return Sound(0.2 * np.sin(2 * np.pi * 150 * np.arange(round(seconds * rate)) / rate).astype(np.float32), rate)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What the decoder says of every piece; a test fills it."""
    heard: list[tuple[str, int, int]] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(phones_file, "_child", lambda *_: heard)
    return heard


def test_it_keeps_both_contracts() -> None:
    assert isinstance(Phones(), Listen) and isinstance(Phones(), Spell)


def test_phones_fill_the_sound_without_gaps(told: list[tuple[str, int, int]]) -> None:
    told += [("SIL", 0, 9), ("+NSN+", 10, 19), ("P", 20, 24), ("AA", 25, 60)]
    heard = Phones().phones(hum(1.0))
    assert heard == [TimedPhone("SIL", 0.0, 0.2), TimedPhone("P", 0.2, 0.25), TimedPhone("AA", 0.25, 1.0)]


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05, 1.0, 1.019, 1.021])
def test_rows_number_the_seconds_times_25_and_sum_to_one(seconds: float, told: list[tuple[str, int, int]]) -> None:
    told += [("M", 0, 20), ("IY", 21, 99)]
    sound = hum(seconds)
    rows = Phones()(sound)
    assert rows.shape == (round(sound.seconds * 25), len(PHONES)) and rows.dtype == np.float32
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-6)


def test_a_change_of_phone_is_soft_and_stands_where_it_is_heard(told: list[tuple[str, int, int]]) -> None:
    told += [("M", 0, 39), ("IY", 40, 99)]  # the change is at .40 s, between rows 9 and 10
    share = Phones()(hum(1.0))[:, PHONES.index("IY")]
    assert share[:9].max() == 0 and share[11:].min() == pytest.approx(1)
    assert 0 < share[9] < 0.5 < share[10] < 1
    assert share[9] + share[10] == pytest.approx(1, abs=1e-5)


def test_a_long_sound_is_cut_where_it_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = hum(70.0)
    sound.samples[24 * SAMPLE_RATE : round(24.3 * SAMPLE_RATE)] = 0
    spans: list[tuple[float, float]] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(phones_file, "_child", lambda _, begin_s, end_s: spans.append((begin_s, end_s)) or [])
    assert Phones().phones(sound) == [TimedPhone("SIL", 0.0, 70.0)]
    assert 24.0 < spans[0][1] < 24.3
    assert [end for _, end in spans[:-1]] == [begin for begin, _ in spans[1:]] and spans[-1][1] == 70.0
    assert max(end - begin for begin, end in spans) <= Phones().look_ahead_s


def test_a_missing_decoder_is_named_with_the_command_that_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="pip install 'pocketsphinx"):
        Phones()(hum(1.0))


@pytest.mark.parametrize("body", ["import os; os.kill(os.getpid(), 11)", "print('no phone')", "raise SystemExit(3)"])
def test_a_decoder_that_fails_takes_nothing_along(body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text(body)
    monkeypatch.setattr(phones_file, "_CHILD", child)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    with pytest.raises(InputError, match=r"failed between 0.0 and 1.0 s.*mel"):
        Phones()(hum(1.0))


def test_a_decoder_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*_: Any, **given: Any) -> None:
        raise subprocess.TimeoutExpired("child", given["timeout"])

    monkeypatch.setattr(subprocess, "run", hangs)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    with pytest.raises(InputError, match="timed out"):
        Phones()(hum(1.0))


@needs_decoder
def test_the_real_decoder_spells_a_sound() -> None:
    sound = hum(1.5, 8_000)
    sound.samples[:4_000] = 0
    heard = Phones().phones(sound)
    assert {phone.symbol for phone in heard} <= set(PHONES) and len(heard) > 1
    assert heard[0].start_s == 0 and heard[-1].end_s == 1.5
    assert Phones()(sound).shape == (38, len(PHONES))


@needs_decoder
@pytest.mark.footage
def test_words_are_heard_where_they_are_spoken(captures: Path) -> None:
    """GRID's words that begin with b, p or f."""
    from avatar3d import media

    sound = media.sound(captures / "grid_s1_dev.mp4")
    assert sound is not None
    heard = Phones().phones(Sound(sound.samples[: 9 * SAMPLE_RATE], SAMPLE_RATE))
    words = [line.split("\t") for line in (captures / "grid_s1_dev_words.tsv").read_text().splitlines()[1:]]
    wanted = {"b": "PBM", "p": "PBM", "f": "FV"}
    spoken = [(w[3], float(w[4])) for w in words if float(w[2]) < 8 and w[3][0] in wanted]
    assert len(spoken) >= 5
    found = [
        any(phone.symbol in wanted[word[0]] and abs(phone.start_s - at_s) < 0.2 for phone in heard)
        for word, at_s in spoken
    ]
    assert np.mean(found) >= 0.5
