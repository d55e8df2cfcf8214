# SPDX-License-Identifier: Apache-2.0
"""ARKit's expressions by name, in the order in which MediaPipe scores them. Left and right are the person's."""

from __future__ import annotations

SCORES = (
    "_neutral",
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
_ONE_FOR_BOTH = ("browInnerUp", "cheekPuff")  # face models move these sides apart


def rows_of(name: str) -> list[int]:
    """Which of the 52 scores drive the expression `name` of a face model; none, where ARKit has no such name."""
    plain = name.removesuffix("Left").removesuffix("Right")
    name = plain if plain in _ONE_FOR_BOTH else name
    return [SCORES.index(name)] if name in SCORES else []
