# SPDX-License-Identifier: Apache-2.0
"""The names of phones."""

from __future__ import annotations

import pytest

from avatar3d.arpabet import CONSONANTS, PHONES, SILENCE, VOWELS, plain


def test_there_are_39_phones_and_silence() -> None:
    assert len(VOWELS) == 15 and len(CONSONANTS) == 24
    assert len(set(PHONES)) == 40 and PHONES[0] == SILENCE


@pytest.mark.parametrize(
    ("symbol", "phone"), [("AH0", "AH"), ("ow1", "OW"), ("SIL", "SIL"), ("+SPN+", "SIL"), (" ng ", "NG"), ("", "SIL")]
)
def test_stress_and_noise_are_taken_off(symbol: str, phone: str) -> None:
    assert plain(symbol) == phone
