# SPDX-License-Identifier: Apache-2.0
"""Between a person's own expressions and ARKit's 52 scores: a head knows the way there, this finds one back."""

from __future__ import annotations

import numpy as np

from avatar3d.face.arkit import EYEBALL, LOOK_RAD, SCORES
from avatar3d.records import Motion

# weight of the scores' own size; at a thirtieth of it scores run to and fro for what a face hardly shows
_CALM = 3.0
_SWEEPS = 400
_SETTLED = 1e-5  # of a score, from sweep to sweep
_OWN_COLUMNS = ("eyeBlink", "eyeLook")  # what Motion says beside the expression
_NEVER = ("_neutral",)


def as_scores(motion: Motion, arkit_map: np.ndarray) -> np.ndarray:
    """Scores [T,52] 0..1, in the order of `SCORES`, that drive a head much as a motion in its personal basis does.

    Lids and eyes are said by what the motion itself says of them. Of the others there are more than numbers in an
    expression: what is found are small ones that come near to it, by ridge least squares within 0..1 (coordinate
    descent, all frames at once). What they leave is `motion.expression` less `expression_of` them.

    Args:
        arkit_map: [53,K], expression = [52 scores, 1] @ map, as the head holds it.
    """
    wanted = motion.expression[:, : arkit_map.shape[1]].astype(np.float64)
    rows = arkit_map.astype(np.float64)
    scores = np.zeros((len(motion), len(SCORES)))
    for name, said in _eyes(motion).items():
        scores[:, SCORES.index(name)] = said
    free = [index for index, name in enumerate(SCORES) if not name.startswith((*_OWN_COLUMNS, *_NEVER))]
    scores[:, free] = _bounded(rows[free], wanted - rows[-1] - scores @ rows[:-1])
    return scores.astype(np.float32)


def expression_of(scores: np.ndarray, arkit_map: np.ndarray) -> np.ndarray:
    """Expressions [T,K] of ARKit scores [T,52] on the face whose map [53,K] this is."""
    return (scores @ arkit_map[:-1] + arkit_map[-1]).astype(np.float32)


def _eyes(motion: Motion) -> dict[str, np.ndarray]:
    """The scores of lids and eyes, by name."""
    said = {"eyeBlinkRight": motion.blink[:, 0].clip(0, 1), "eyeBlinkLeft": motion.blink[:, 1].clip(0, 1)}
    turns = np.arcsin(np.clip(motion.gaze.astype(np.float64) / EYEBALL, -1, 1)) / LOOK_RAD
    for side, column, inwards in (("Right", 0, 1.0), ("Left", 2, -1.0)):  # the person's left is the picture's right
        across, down = inwards * turns[:, column], turns[:, column + 1]
        said |= {f"eyeLookIn{side}": across.clip(0, 1), f"eyeLookOut{side}": (-across).clip(0, 1)}
        said |= {f"eyeLookDown{side}": down.clip(0, 1), f"eyeLookUp{side}": (-down).clip(0, 1)}
    return said


def _bounded(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Least squares x [T,N] in 0..1 of x @ rows [N,K] = wanted [T,K]."""
    gram = rows @ rows.T + _CALM * np.eye(len(rows))
    towards = wanted @ rows.T
    found = np.zeros_like(towards)
    for _ in range(_SWEEPS):
        moved = 0.0
        for one in range(len(rows)):
            better = np.clip(found[:, one] + (towards[:, one] - found @ gram[one]) / gram[one, one], 0, 1)
            moved = max(moved, float(np.abs(better - found[:, one]).max(initial=0)))
            found[:, one] = better
        if moved < _SETTLED:
            break
    return found
