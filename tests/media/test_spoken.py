# SPDX-License-Identifier: Apache-2.0
"""Texts read out by the program beside ours, by a stand-in for it, and without it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from avatar3d.errors import InputError
from avatar3d.media.spoken import Reading, spoken
from avatar3d.records import Sound
from avatar3d.store import save_sound

READS = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng; apt install espeak-ng")


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A program of that name, which writes down what it was told."""
    program = folder / "espeak-ng"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {folder}/words\ncat > {folder}/text\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_a_text_goes_to_the_program_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tone = np.sin(np.arange(11_025) / 8).astype(np.float32) / 2
    save_sound(tmp_path / "tone.wav", Sound(tone, 22_050))
    stand_in(tmp_path, monkeypatch, f'cp {tmp_path}/tone.wav "$6"')
    said = spoken('-v; $(rm) "Zoë"', Reading("de", 120), 48_000)
    assert (tmp_path / "text").read_text(encoding="utf-8") == '-v; $(rm) "Zoë"'
    words = (tmp_path / "words").read_text().splitlines()
    assert words[:5] == ["-v", "de", "-s", "120", "-w"] and words[6:] == ["--stdin"]
    assert said.rate == 48_000 and said.seconds == pytest.approx(0.5 + 0.4, abs=0.01)
    assert not said.samples[:9_000].any() and not said.samples[-9_000:].any() and said.samples.max() > 0.4


@pytest.mark.parametrize(
    ("script", "told"),
    [("echo no such voice >&2; exit 1", "no such voice"), ("exit 0", "ended with 0")],
)
def test_what_the_program_says_is_passed_on(
    script: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, monkeypatch, script)
    with pytest.raises(InputError, match=told):
        spoken("hello", Reading("xx"))


def test_silence_is_no_speech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_sound(tmp_path / "none.wav", Sound(np.zeros(2_000, np.float32), 22_050))
    stand_in(tmp_path, monkeypatch, f'cp {tmp_path}/none.wav "$6"')
    with pytest.raises(InputError, match="no word"):
        spoken("...")


def test_without_the_program_its_installer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="apt install espeak-ng"):
        spoken("hello")


@pytest.mark.parametrize("reading", [Reading(pace=20), Reading(pace=900), Reading("e n"), Reading("-x"), Reading("")])
def test_a_reading_that_cannot_be_is_refused(reading: Reading) -> None:
    with pytest.raises(InputError):
        reading.check()


@READS
def test_the_program_itself_reads_faster_when_asked_to() -> None:
    slow, fast = (spoken("One two three four five six seven.", Reading("en", pace)) for pace in (100, 250))
    assert 0.5 < fast.seconds < 0.75 * slow.seconds
    with pytest.raises(InputError, match="--voices"):
        spoken("hello", Reading("xx"))
