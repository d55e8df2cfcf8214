# SPDX-License-Identifier: Apache-2.0
"""The made-up people: colours, hair, voice and face of each. None of them exists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar3d.data_prep.synthetic.paint import Palette
from avatar3d.data_prep.synthetic.voice import Voice

_Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Character:
    """One of the cast."""

    palette: Palette
    hair: str  # key of STYLES
    voice: Voice
    traits: dict[str, float]  # of TRAITS; empty: by chance


def _palette(skin: _Colour, hair: _Colour, iris: _Colour, shirt: _Colour, lips: _Colour, freckles: int = 0) -> Palette:
    return Palette(np.array(skin), np.array(hair), np.array(iris), np.array(shirt), np.array(lips), freckles)


CAST = (
    Character(
        _palette((0.86, 0.665, 0.56), (0.25, 0.155, 0.10), (0.34, 0.46, 0.44), (0.15, 0.33, 0.38), (0.82, 0.57, 0.61),
                 freckles=110),
        "crop", Voice(118.0, 1.0),
        {"chin": 0.45, "narrow_jaw": 0.25, "small_nose": 0.45, "full_lips": 0.4, "cheeks": 0.4, "open_eyes": 0.5},
    ),
    Character(
        _palette((0.57, 0.385, 0.285), (0.09, 0.07, 0.065), (0.24, 0.14, 0.08), (0.62, 0.42, 0.16), (0.84, 0.66, 0.68)),
        "short", Voice(105.0, 0.97), {},
    ),
    Character(
        _palette((0.90, 0.73, 0.635), (0.43, 0.315, 0.215), (0.33, 0.43, 0.55), (0.42, 0.20, 0.28), (0.84, 0.58, 0.62),
                 freckles=60),
        "bob", Voice(196.0, 1.15),
        {"chin": 0.6, "narrow_jaw": 0.75, "small_nose": 0.9, "full_lips": 0.8, "cheeks": 0.6, "open_eyes": 0.9},
    ),
    Character(
        _palette((0.75, 0.545, 0.42), (0.11, 0.085, 0.07), (0.29, 0.20, 0.11), (0.22, 0.36, 0.25), (0.84, 0.62, 0.66)),
        "bob", Voice(185.0, 1.12),
        {"chin": 0.5, "narrow_jaw": 0.6, "small_nose": 0.7, "full_lips": 0.9, "cheeks": 0.5, "open_eyes": 0.7},
    ),
    Character(
        _palette((0.42, 0.275, 0.205), (0.07, 0.06, 0.058), (0.17, 0.10, 0.065), (0.53, 0.23, 0.19), (0.86, 0.66, 0.7)),
        "short", Voice(112.0, 1.02), {},
    ),
)  # fmt: skip
