# SPDX-License-Identifier: Apache-2.0
"""ARKit's expressions by name, in the order in which MediaPipe scores them. Left and right are the person's."""

from __future__ import annotations

import numpy as np

from avatar3d.records import Motion

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
LIDS = [SCORES.index("eyeBlinkRight"), SCORES.index("eyeBlinkLeft")]  # as in `records.Motion.blink`
_SAID_OTHERWISE = ("_neutral", "eyeBlink", "eyeLook")  # by `records.Motion` beside the expression, or by nothing
_FEW = 0.3  # of a unit of expression: what a whole score more must bring; at a sixth of it scores run to and fro
_ROUNDS = 300
_ONE_FOR_BOTH = ("browInnerUp", "cheekPuff")  # face models move these sides apart


def rows_of(name: str) -> list[int]:
    """Which of the 52 scores drive the expression `name` of a face model; none, where ARKit has no such name."""
    plain = name.removesuffix("Left").removesuffix("Right")
    name = plain if plain in _ONE_FOR_BOTH else name
    return [SCORES.index(name)] if name in SCORES else []


def lids_of(scores: np.ndarray) -> np.ndarray:
    """How far the lids are closed [T,2] 0..1, right and left, as `records.Motion.blink`, by scores [T,52]."""
    return scores[:, LIDS].clip(0, 1)


def gaze_of(scores: np.ndarray) -> np.ndarray:
    """Where the eyes look [T,4], as `records.Motion.gaze`, by scores [T,52]."""
    told = dict(zip(SCORES, scores.T, strict=True))
    columns = []
    for side, inwards in (("Right", 1.0), ("Left", -1.0)):  # the person's left is the picture's right
        turn = inwards * (told[f"eyeLookIn{side}"] - told[f"eyeLookOut{side}"])
        dip = told[f"eyeLookDown{side}"] - told[f"eyeLookUp{side}"]
        columns += [EYEBALL * np.sin(LOOK_RAD * turn), EYEBALL * np.sin(LOOK_RAD * dip)]
    return np.stack(columns, 1)


def expression_of(scores: np.ndarray, arkit_map: np.ndarray) -> np.ndarray:
    """Expressions [T,K] float32 of scores [T,52] on the face whose map [53,K] this is."""
    return (scores @ arkit_map[:-1] + arkit_map[-1]).astype(np.float32)


def as_scores(motion: Motion, arkit_map: np.ndarray) -> np.ndarray:
    """Scores [T,52] float32 0..1 that drive a head much as a motion in its personal basis does.

    Lids and eyes are said by what the motion itself says of them. Of the others there are more than numbers in an
    expression: what is found are small ones that come near to it, by ridge least squares within 0..1. What they leave
    is `motion.expression` less `expression_of` them.

    Args:
        arkit_map: [53,K], expression = [52 scores, 1] @ map, as the head holds it; K at most as wide as the motion's.
    """
    scores = _eyes(motion)
    free = [index for index, name in enumerate(SCORES) if not name.startswith(_SAID_OTHERWISE)]
    wanted = motion.expression[:, : arkit_map.shape[1]] - expression_of(scores, arkit_map)
    scores[:, free] = _between_0_and_1(arkit_map[free].astype(np.float64), wanted.astype(np.float64))
    return scores


def _eyes(motion: Motion) -> np.ndarray:
    """Scores [T,52] of lids and eyes alone: what `lids_of` and `gaze_of` undo."""
    scores = np.zeros((len(motion), len(SCORES)), np.float32)
    turns = np.arcsin(np.clip(motion.gaze / EYEBALL, -1, 1)) / LOOK_RAD
    for side, which, inwards in (("Right", 0, 1.0), ("Left", 1, -1.0)):
        across, down = inwards * turns[:, 2 * which], turns[:, 2 * which + 1]
        said = {
            "Blink": motion.blink[:, which],
            "LookIn": across,
            "LookOut": -across,
            "LookDown": down,
            "LookUp": -down,
        }
        for name, score in said.items():
            scores[:, SCORES.index(f"eye{name}{side}")] = score.clip(0, 1)
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
