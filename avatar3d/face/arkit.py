# SPDX-License-Identifier: Apache-2.0
"""ARKit's expressions by name, in the order in which MediaPipe scores them. Left and right are the person's."""

from __future__ import annotations

import numpy as np

EYEBALL = 0.4  # the iris' way across the eye is this many eye widths times the sine of the eye's turn
LOOK_RAD = 0.5  # turn of an eye whose eyeLook score is 1

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


def lids_of(scores: np.ndarray) -> np.ndarray:
    """How far the lids are closed [T,2] 0..1, right and left, as `records.Motion.blink`, by scores [T,52]."""
    return scores[:, [SCORES.index("eyeBlinkRight"), SCORES.index("eyeBlinkLeft")]].clip(0, 1)


def gaze_of(scores: np.ndarray) -> np.ndarray:
    """Where the eyes look [T,4], as `records.Motion.gaze`, by scores [T,52]."""
    told = dict(zip(SCORES, scores.T, strict=True))
    columns = []
    for side, inwards in (("Right", 1.0), ("Left", -1.0)):  # the person's left is the picture's right
        turn = inwards * (told[f"eyeLookIn{side}"] - told[f"eyeLookOut{side}"])
        dip = told[f"eyeLookDown{side}"] - told[f"eyeLookUp{side}"]
        columns += [EYEBALL * np.sin(LOOK_RAD * turn), EYEBALL * np.sin(LOOK_RAD * dip)]
    return np.stack(columns, 1)
