# SPDX-License-Identifier: Apache-2.0
"""Phonemes: how each sounds, how each is shaped by the mouth, and when each is said.

One timeline has two readings: `voice.say` makes it sound, `motion.perform` makes it move.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from avatar3d.data_prep.synthetic.lexicon import FILM_TEXT, PAUSES, WORDS, words

SILENCE = "_"
LIP_CLOSURES = ("M", "B", "P")


class Phone(NamedTuple):
    """One speech sound. Formants are those of an adult male; a fricative or burst is noise round a centre."""

    kind: str  # vowel, glide, nasal, plosive, fricative, silence
    formants_hz: tuple[float, float, float]
    voicing: float  # 0..1
    noise: tuple[float, float, float]  # level 0..1, centre Hz, width Hz
    viseme: str  # key of motion's table
    seconds: float  # usual duration


_QUIET = (0.0, 1500.0, 2000.0)
# vowels after Peterson & Barney (1952), consonant loci after Klatt (1980), both rounded
PHONES = {
    "AA": Phone("vowel", (730, 1150, 2500), 1, _QUIET, "aa", 0.13),
    "AE": Phone("vowel", (680, 1720, 2450), 1, _QUIET, "ae", 0.13),
    "AH": Phone("vowel", (620, 1200, 2450), 1, _QUIET, "ah", 0.09),
    "AO": Phone("vowel", (570, 870, 2450), 1, _QUIET, "ao", 0.12),
    "EH": Phone("vowel", (550, 1800, 2500), 1, _QUIET, "eh", 0.10),
    "ER": Phone("vowel", (480, 1300, 1700), 1, _QUIET, "er", 0.11),
    "IH": Phone("vowel", (400, 1950, 2600), 1, _QUIET, "ih", 0.08),
    "IY": Phone("vowel", (290, 2250, 3000), 1, _QUIET, "iy", 0.11),
    "OW": Phone("vowel", (460, 900, 2400), 1, _QUIET, "ow", 0.13),
    "UH": Phone("vowel", (440, 1020, 2250), 1, _QUIET, "ow", 0.09),
    "UW": Phone("vowel", (320, 850, 2250), 1, _QUIET, "uw", 0.12),
    "W": Phone("glide", (300, 700, 2200), 0.8, _QUIET, "uw", 0.07),
    "Y": Phone("glide", (280, 2200, 2950), 0.8, _QUIET, "ih", 0.06),
    "R": Phone("glide", (380, 1150, 1600), 0.8, _QUIET, "er", 0.07),
    "L": Phone("glide", (360, 1150, 2700), 0.8, _QUIET, "l", 0.07),
    "M": Phone("nasal", (260, 1000, 2200), 0.55, _QUIET, "pbm", 0.08),
    "N": Phone("nasal", (260, 1500, 2500), 0.55, _QUIET, "tdn", 0.07),
    "NG": Phone("nasal", (280, 1950, 2400), 0.55, _QUIET, "kg", 0.08),
    "P": Phone("plosive", (350, 800, 2200), 0, (0.45, 900, 900), "pbm", 0.09),
    "B": Phone("plosive", (300, 800, 2200), 0.15, (0.30, 700, 700), "pbm", 0.08),
    "T": Phone("plosive", (350, 1750, 2600), 0, (0.55, 4500, 1800), "tdn", 0.08),
    "D": Phone("plosive", (300, 1750, 2600), 0.15, (0.35, 3800, 1600), "tdn", 0.07),
    "K": Phone("plosive", (330, 1900, 2350), 0, (0.50, 2200, 900), "kg", 0.09),
    "G": Phone("plosive", (300, 1900, 2350), 0.15, (0.35, 2000, 800), "kg", 0.07),
    "F": Phone("fricative", (350, 1100, 2300), 0, (0.16, 5200, 3500), "fv", 0.10),
    "V": Phone("fricative", (300, 1100, 2300), 0.45, (0.08, 4800, 3000), "fv", 0.07),
    "S": Phone("fricative", (330, 1700, 2600), 0, (0.50, 6000, 1400), "sz", 0.11),
    "Z": Phone("fricative", (290, 1700, 2600), 0.45, (0.25, 5800, 1400), "sz", 0.08),
    "SH": Phone("fricative", (330, 1700, 2300), 0, (0.50, 3200, 1200), "sh", 0.11),
    "ZH": Phone("fricative", (300, 1700, 2300), 0.45, (0.25, 3000, 1200), "sh", 0.08),
    "TH": Phone("fricative", (330, 1400, 2500), 0, (0.12, 5500, 3500), "th", 0.08),
    "DH": Phone("fricative", (310, 1400, 2500), 0.5, (0.05, 5200, 3500), "th", 0.05),
    "HH": Phone("fricative", (550, 1500, 2500), 0, (0.14, 1500, 1800), "ah", 0.06),
    SILENCE: Phone("silence", (500, 1500, 2500), 0, _QUIET, "sil", 0.22),
}
# sounds that move from one shape to another
_COMPOUND = {"AY": "AA IH", "AW": "AA UW", "EY": "EH IH", "OY": "AO IH", "CH": "T SH", "JH": "D ZH"}


@dataclass(frozen=True)
class Phoneme:
    """A speech sound at its place in time."""

    name: str  # key of PHONES; "_" is silence
    start_s: float
    end_s: float
    stress: float = 1.0  # about 0.8..1.25, of the word it belongs to

    @property
    def middle_s(self) -> float:
        """When half of it is said."""
        return 0.5 * (self.start_s + self.end_s)


def timeline(seconds: float, seed: int, text: str = FILM_TEXT, quiet_s: float = 0.35) -> tuple[Phoneme, ...]:
    """Phonemes without gap or overlap from 0 to exactly `seconds`; when `text` is said, made-up sentences follow.

    Args:
        quiet_s: silence before the first word.
    """
    rng = np.random.default_rng((seed, 1))
    said: list[Phoneme] = []

    def add(name: str, lasts_s: float, stress: float = 1.0) -> None:
        start = said[-1].end_s if said else 0.0
        said.append(Phoneme(name, start, start + lasts_s, stress))

    add(SILENCE, min(quiet_s, seconds))
    stream = words(text, rng)
    while said[-1].end_s < seconds - 0.5:
        word = next(stream)
        if word in PAUSES:
            add(SILENCE, rng.uniform(*PAUSES[word]))
            continue
        stress = rng.uniform(0.8, 1.25)
        for name in phones(word):
            longer = 1.12 if PHONES[name].kind == "vowel" and stress > 1.05 else 1.0
            add(name, PHONES[name].seconds * longer * rng.uniform(0.85, 1.2), stress)
    return _ended(said, seconds)


def phones(word: str) -> list[str]:
    """The sounds of a word of the lexicon, as keys of PHONES."""
    return [part for name in WORDS[word].split() for part in _COMPOUND.get(name, name).split()]


def _ended(said: list[Phoneme], seconds: float) -> tuple[Phoneme, ...]:
    while len(said) > 1 and said[-1].end_s > seconds - 0.3:
        said.pop()
    last = said[-1]
    if last.name == SILENCE:
        return (*said[:-1], Phoneme(SILENCE, last.start_s, seconds))
    return (*said, Phoneme(SILENCE, last.end_s, seconds))
