# SPDX-License-Identifier: Apache-2.0
"""ARKit's expressions by name, in the order in which MediaPipe scores them. Left and right are the person's."""

from __future__ import annotations

from collections.abc import Mapping

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
_FEW = 0.05  # of a unit of expression: what a whole score more must bring
_ROUNDS = 300
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


def scores_for(expression: np.ndarray, arkit_map: np.ndarray, known: Mapping[int, np.ndarray]) -> np.ndarray:
    """Scores [T,52] 0..1 for which [scores, 1] @ arkit_map comes closest to an expression; of equals, the smallest.

    Args:
        expression: [T,K].
        arkit_map: [53,E], E at most K; only the first E components are asked for.
        known: scores [T] that are given, by their column.
    """
    scores = np.zeros((len(expression), len(SCORES)), np.float32)
    for column, values in known.items():
        scores[:, column] = values.clip(0, 1)
    free = [column for column in range(1, len(SCORES)) if column not in known]
    wanted = expression[:, : arkit_map.shape[1]] - arkit_map[-1] - scores @ arkit_map[:-1]
    scores[:, free] = _between_0_and_1(arkit_map[free], wanted)
    return scores


def _between_0_and_1(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """x [T,F] 0..1 of the least |x @ rows - wanted|^2 + |_FEW x|^2, all T at once (Beck and Teboulle, FISTA, 2009)."""
    normal = rows @ rows.T + _FEW**2 * np.eye(len(rows))
    towards, step = wanted @ rows.T, 1 / np.linalg.eigvalsh(normal)[-1]
    x = ahead = np.zeros((len(wanted), len(rows)))
    pace = 1.0
    for _ in range(_ROUNDS):
        before, x = x, (ahead + step * (towards - ahead @ normal)).clip(0, 1)
        faster = (1 + np.sqrt(1 + 4 * pace * pace)) / 2
        ahead, pace = x + (pace - 1) / faster * (x - before), faster
    return x
