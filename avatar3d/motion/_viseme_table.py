# SPDX-License-Identifier: Apache-2.0
"""Where the lips and the jaw go for each phone, and how firmly: the phonetics behind `viseme`.

Targets are ARKit's shapes 0..1 in calm speech; a name without a side means both sides alike. They follow from how
the phone is made (IPA): the height of a vowel is the jaw's opening, its rounding is funnel and pucker, its frontness
spreads the corners; a consonant says only what it needs. What it needs is its firmness, for the jaw and for the lips
apart: /s/ wants the teeth together and cares little for the lips, /sh/ wants the lips forward, /k/ and /h/ are made out
of sight and take the mouth of their neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

JAW = "jawOpen"  # what the jaw's firmness rules; the lips' rules the rest


@dataclass(frozen=True)
class Mouth:
    """A target of the mouth."""

    shapes: Mapping[str, float]
    jaw: float = 1.0  # firmness against neighbours
    lips: float = 1.0
    seal: float = 0.0  # 1: the lips must meet
    tuck: float = 0.0  # 1: the lower lip must meet the upper teeth


@dataclass(frozen=True)
class Glide:
    """A diphthong: one mouth, then another."""

    start: Mouth
    end: Mouth
    turn: float = 0.55  # share of its time that the first one takes


def _mouth(jaw: float = 1.0, lips: float = 1.0, seal: float = 0.0, tuck: float = 0.0, **shapes: float) -> Mouth:
    return Mouth(shapes, jaw, lips, seal, tuck)


_OPEN_BACK = _mouth(jawOpen=0.40, mouthLowerDown=0.16, mouthUpperUp=0.05)
_NEAR_OPEN_FRONT = _mouth(
    jawOpen=0.34, mouthLowerDown=0.24, mouthUpperUp=0.09, mouthStretch=0.12, mouthSmile=0.08
)  # fmt: skip
_MID = _mouth(0.7, 0.5, jawOpen=0.24, mouthLowerDown=0.11, mouthUpperUp=0.03)
_OPEN_ROUND = _mouth(jawOpen=0.32, mouthFunnel=0.28, mouthPucker=0.12)
_MID_FRONT = _mouth(jawOpen=0.26, mouthLowerDown=0.18, mouthUpperUp=0.06, mouthStretch=0.10)
_RHOTIC = _mouth(0.9, 0.9, jawOpen=0.15, mouthFunnel=0.22, mouthPucker=0.18, mouthLowerDown=0.06)
_NEAR_CLOSE_FRONT = _mouth(0.9, 0.7, jawOpen=0.17, mouthLowerDown=0.12, mouthStretch=0.10)
_CLOSE_FRONT = _mouth(
    jawOpen=0.10, mouthLowerDown=0.13, mouthUpperUp=0.05, mouthStretch=0.18, mouthSmile=0.14
)  # fmt: skip
_NEAR_CLOSE_ROUND = _mouth(0.9, 0.9, jawOpen=0.16, mouthFunnel=0.20, mouthPucker=0.26)
_CLOSE_ROUND = _mouth(1.0, 1.2, jawOpen=0.09, mouthFunnel=0.20, mouthPucker=0.52)

BILABIAL = _mouth(
    0.9, 0.5, seal=1.0, jawOpen=0.04, mouthPress=0.22, mouthRollLower=0.14, mouthRollUpper=0.10
)  # fmt: skip
LABIODENTAL = _mouth(0.9, 0.6, tuck=1.0, jawOpen=0.06, mouthRollLower=0.34, mouthShrugLower=0.10, mouthUpperUp=0.14)
_DENTAL = _mouth(0.7, 0.4, jawOpen=0.12, mouthLowerDown=0.14, mouthUpperUp=0.05)
_ALVEOLAR = _mouth(0.6, 0.2, jawOpen=0.10, mouthLowerDown=0.10)
_LATERAL = _mouth(0.6, 0.25, jawOpen=0.16, mouthLowerDown=0.12)
_HISS = _mouth(1.3, 0.5, jawOpen=0.04, mouthLowerDown=0.14, mouthUpperUp=0.05, mouthStretch=0.12)
_HUSH = _mouth(1.2, 1.2, jawOpen=0.06, mouthFunnel=0.42, mouthPucker=0.14, mouthLowerDown=0.08, mouthUpperUp=0.08)
_VELAR = _mouth(0.35, 0.15, jawOpen=0.15, mouthLowerDown=0.08)
_BREATH = _mouth(0.15, 0.1, jawOpen=0.18, mouthLowerDown=0.08)
_RHOTIC_GLIDE = _mouth(0.6, 0.9, jawOpen=0.11, mouthFunnel=0.22, mouthPucker=0.22)
_LABIAL_GLIDE = _mouth(0.8, 1.5, jawOpen=0.06, mouthFunnel=0.20, mouthPucker=0.58)
_PALATAL_GLIDE = _mouth(0.7, 0.7, jawOpen=0.09, mouthLowerDown=0.10, mouthStretch=0.14, mouthSmile=0.08)

MOUTHS: Mapping[str, Mouth | Glide] = {
    "SIL": _mouth(0.8, 0.8),
    "AA": _OPEN_BACK,
    "AE": _NEAR_OPEN_FRONT,
    "AH": _MID,
    "AO": _OPEN_ROUND,
    "AW": Glide(_OPEN_BACK, _NEAR_CLOSE_ROUND),
    "AY": Glide(_OPEN_BACK, _NEAR_CLOSE_FRONT),
    "EH": _MID_FRONT,
    "ER": _RHOTIC,
    "EY": Glide(_MID_FRONT, _CLOSE_FRONT, 0.45),
    "IH": _NEAR_CLOSE_FRONT,
    "IY": _CLOSE_FRONT,
    "OW": Glide(_OPEN_ROUND, _CLOSE_ROUND, 0.5),
    "OY": Glide(_OPEN_ROUND, _NEAR_CLOSE_FRONT),
    "UH": _NEAR_CLOSE_ROUND,
    "UW": _CLOSE_ROUND,
    **dict.fromkeys(("P", "B", "M"), BILABIAL),
    **dict.fromkeys(("F", "V"), LABIODENTAL),
    **dict.fromkeys(("TH", "DH"), _DENTAL),
    **dict.fromkeys(("T", "D", "N"), _ALVEOLAR),
    "L": _LATERAL,
    **dict.fromkeys(("S", "Z"), _HISS),
    **dict.fromkeys(("SH", "ZH", "CH", "JH"), _HUSH),
    **dict.fromkeys(("K", "G", "NG"), _VELAR),
    "HH": _BREATH,
    "R": _RHOTIC_GLIDE,
    "W": _LABIAL_GLIDE,
    "Y": _PALATAL_GLIDE,
}
SHAPES = sorted(
    {
        shape
        for mouth in MOUTHS.values()
        for part in ((mouth.start, mouth.end) if isinstance(mouth, Glide) else (mouth,))
        for shape in part.shapes
    }
)
