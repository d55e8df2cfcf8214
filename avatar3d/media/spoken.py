# SPDX-License-Identifier: Apache-2.0
"""Text to speech by espeak-ng, a program of its own beside ours: what it needs comes by its own installer."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from avatar3d.errors import InputError
from avatar3d.media.samples import sound
from avatar3d.records import SAMPLE_RATE, Sound

_PROGRAM = "espeak-ng"
_PACE = (80, 450)  # words a minute that the program takes
_LONGEST_S = 600.0
_QUIET_S = 0.2  # about the speech, in which lips part and meet again


@dataclass(frozen=True)
class Reading:
    """How a text is read out."""

    language: str = "en"  # a voice of espeak-ng, mostly a language's code: en, en-us, de, fr-fr, ru, ja
    pace: int = 150  # words a minute

    def check(self) -> None:
        """Raises InputError where a text cannot be read out so."""
        low, high = _PACE
        if not low <= self.pace <= high:
            raise InputError(f"a pace of {self.pace} words a minute", f"give {low} to {high}")
        if not re.fullmatch(r"[A-Za-z0-9+_-]+", self.language) or self.language.startswith("-"):
            raise InputError(f"no voice is named {self.language!r}", f"`{_PROGRAM} --voices` lists them")
        if shutil.which(_PROGRAM) is None:
            raise InputError(
                f"{_PROGRAM} is not installed, which reads texts out",
                "install it (apt install espeak-ng, brew install espeak-ng), or give a sound file",
            )


def spoken(text: str, reading: Reading = Reading(), rate: int = SAMPLE_RATE) -> Sound:
    """A text read out, with a little silence at both ends.

    Raises:
        InputError: espeak-ng is not there, does not know the voice, or has nothing to say.
    """
    reading.check()
    with TemporaryDirectory(prefix="avatar3d-") as folder:
        wav = Path(folder) / "speech.wav"
        words = [_PROGRAM, "-v", reading.language, "-s", str(reading.pace), "-w", str(wav), "--stdin"]
        done = _run(words, text)
        if done.returncode or not wav.is_file() or not wav.stat().st_size:
            told = done.stderr.decode(errors="replace").strip() or f"it ended with {done.returncode}"
            raise InputError(
                f"{_PROGRAM} does not read in {reading.language!r}: {told}", f"`{_PROGRAM} --voices` lists its voices"
            )
        said = sound(wav, rate)
    if said is None or not np.abs(said.samples).max(initial=0):
        raise InputError("the text has no word that can be said", "write some")
    return Sound(np.pad(said.samples, round(_QUIET_S * rate)), rate)


def _run(words: list[str], text: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(words, input=text.encode(), capture_output=True, timeout=_LONGEST_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{_PROGRAM} has not read the text within {_LONGEST_S:g} s", "shorten it") from error
