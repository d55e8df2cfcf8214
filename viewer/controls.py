# SPDX-License-Identifier: Apache-2.0
"""What a person at the sliders asks of a face, laid over a moment of a motion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from avatar3d.contracts import Bodied, Head
from avatar3d.face.arkit import SCORES, gaze_of, lids_of
from avatar3d.motion._head_motion import turned_on_necks
from avatar3d.records import Motion

__all__ = ["NAMES", "Controls", "moment", "steered"]

NAMES = SCORES[1:]  # of the sliders; `_neutral` moves nothing, and the detector knows no tongue
_BODY_S = 2.0  # a body follows its head's movement of about this long before and after


@dataclass(frozen=True)
class Controls:
    """What is added to a moment; nothing, as they are made."""

    scores: Mapping[str, float] = field(default_factory=dict)  # by ARKit's names, -1..1
    yaw_deg: float = 0.0  # to the person's left
    pitch_deg: float = 0.0  # down
    roll_deg: float = 0.0  # to the person's right shoulder
    blink: tuple[float, float] = (0.0, 0.0)  # right and left lid, 0..1
    gaze: tuple[float, float] = (0.0, 0.0)  # across and down, eye widths


def moment(head: Head, motion: Motion, frame: int, cuts: tuple[int, ...] = ()) -> Motion:
    """One frame of a motion as a motion of its own, with the body as the whole of it would have it."""
    row = motion[frame : frame + 1]
    if row.body is not None or not isinstance(head, Bodied):
        return row
    reach = round(_BODY_S * motion.fps)
    first = max(frame - reach, 0)
    around = motion[first : frame + reach + 1]
    body = head.body(around, [cut - first for cut in cuts if first < cut < first + len(around)])
    return replace(row, body=body[frame - first : frame - first + 1])


def steered(row: Motion, controls: Controls, arkit_map: np.ndarray | None) -> Motion:
    """A moment with the controls laid over it.

    Args:
        arkit_map: [53,K] of the head, expression = [52 scores, 1] @ arkit_map; None: scores move lids and eyes alone.
    """
    scores = np.array([[controls.scores.get(name, 0.0) for name in SCORES]], np.float32)
    lids = np.maximum(lids_of(scores), np.array([controls.blink], np.float32))
    across, down = controls.gaze
    return replace(
        row,
        expression=_moved(row, scores, arkit_map),
        blink=np.maximum(row.blink, lids).clip(0, 1),
        gaze=(row.gaze + gaze_of(scores) + np.array([[across, down] * 2])).astype(np.float32),
        head=turned_on_necks(row.head, np.array([[controls.yaw_deg, controls.pitch_deg, controls.roll_deg]])),
    )


def _moved(row: Motion, scores: np.ndarray, arkit_map: np.ndarray | None) -> np.ndarray:
    expression = row.expression.copy()
    if row.basis == "arkit":
        return expression + scores
    if arkit_map is not None:
        driven = min(arkit_map.shape[1], expression.shape[1])
        expression[:, :driven] += scores @ arkit_map[: len(SCORES), :driven]
    return expression
