# SPDX-License-Identifier: Apache-2.0
"""The phones of American English in ARPAbet, without stress: what ears and rules of speech agree on."""

from __future__ import annotations

SILENCE = "SIL"
VOWELS = (
    "AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW",
)  # fmt: skip
CONSONANTS = (
    "B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N", "NG", "P", "R", "S", "SH", "T", "TH", "V", "W",
    "Y", "Z", "ZH",
)  # fmt: skip
PHONES = (SILENCE, *VOWELS, *CONSONANTS)


def plain(symbol: str) -> str:
    """A phone's symbol without its stress and in capitals; whatever is none of PHONES (noise, breath) is silence."""
    bare = symbol.strip().upper().rstrip("012")
    return bare if bare in PHONES else SILENCE
