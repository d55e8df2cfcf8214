# SPDX-License-Identifier: Apache-2.0
"""Keyframes that are laid over a motion: what a hand adds to what a voice has said.

A control has at each key a value, and between two keys what the later one's `ease` says; before its first key and after
its last it keeps that key's value. Scores, turns and glances are added to what the face does anyway, lids are at least
as far closed as asked, gains are factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from avatar3d.face.arkit import EYEBALL, LIDS, SCORES
from avatar3d.motion._head_motion import turned_on_necks
from avatar3d.motion._mouth import Mouth
from avatar3d.records import Motion


class Range(NamedTuple):
    """What a control takes."""

    low: float
    high: float
    unit: str = "1"
    rest: float = 0.0  # changes nothing


_TURN, _GLANCE, _GAIN = Range(-45, 45, "degrees"), Range(-40, 40, "degrees"), Range(0, 3, "times", 1)
CONTROLS: dict[str, Range] = {
    **{name: Range(-1, 1) for name in SCORES[1:]},
    "headYaw": _TURN,  # to the person's left
    "headPitch": _TURN,  # down
    "headRoll": _TURN,  # towards the person's right shoulder
    "gazeYaw": _GLANCE,
    "gazePitch": _GLANCE,
    "blink": Range(0, 1),
    "mouthGain": _GAIN,
    "expressionGain": _GAIN,
}
EASES = ("smooth", "linear", "hold")


@dataclass(frozen=True)
class Key:
    """One value of one control."""

    time_s: float
    control: str  # of CONTROLS
    value: float
    ease: str = (
        "smooth"  # how it is reached from the key before: without a jerk, evenly, or at once when its time comes
    )


def keyed(motion: Motion, keys: Sequence[Key], arkit_map: np.ndarray, mouth: Mouth | None = None) -> Motion:
    """`motion` (personal basis) with keys laid over it.

    Args:
        arkit_map: [53,K], expression = [52 scores, 1] @ map.
        mouth: needed where keys name a gain.
    """
    at_s = np.arange(len(motion)) / motion.fps
    named = {key.control for key in keys}
    said = {control: curve([key for key in keys if key.control == control], at_s) for control in named}
    expression = motion.expression
    if named & {"mouthGain", "expressionGain"}:
        assert mouth is not None
        expression = mouth.gained(expression, *(said.get(name, 1.0) for name in ("mouthGain", "expressionGain")))
    scores = np.zeros((len(motion), len(SCORES)), np.float32)
    for control in named & set(SCORES):
        scores[:, SCORES.index(control)] = said[control]
    none = np.zeros(len(motion))
    expression = expression.copy()
    expression[:, : arkit_map.shape[1]] += scores @ arkit_map[:-1]
    return replace(
        motion,
        expression=expression,
        blink=_closed(motion.blink, scores, said.get("blink", none)),
        gaze=_glanced(motion.gaze, *(said.get(name, none) for name in ("gazeYaw", "gazePitch"))),
        head=turned_on_necks(
            motion.head, np.stack([said.get(name, none) for name in ("headYaw", "headPitch", "headRoll")], 1)
        ),
    )


def curve(keys: Sequence[Key], at_s: np.ndarray) -> np.ndarray:
    """Values [T] of one control, which has a key, at times [T]."""
    keys = sorted(keys, key=lambda key: key.time_s)
    times, values = (np.array([getattr(key, name) for key in keys]) for name in ("time_s", "value"))
    after = np.searchsorted(times, at_s, side="right")
    before, after = (after - 1).clip(0), after.clip(max=len(keys) - 1)
    share = ((at_s - times[before]) / np.maximum(times[after] - times[before], 1e-9)).clip(0, 1)
    ease = np.array([key.ease for key in keys])[after]
    share = np.select([ease == "smooth", ease == "hold"], [share**2 * (3 - 2 * share), np.floor(share)], share)
    run: np.ndarray = values[before] * (1 - share) + values[after] * share
    return run


def _closed(blink: np.ndarray, scores: np.ndarray, both: np.ndarray) -> np.ndarray:
    """Lids [T,2], right and left."""
    each = scores[:, LIDS]
    return np.maximum(blink + each, both[:, None]).clip(0, 1).astype(np.float32)


def _glanced(gaze: np.ndarray, yaw_deg: np.ndarray, pitch_deg: np.ndarray) -> np.ndarray:
    across, down = (EYEBALL * np.sin(np.radians(angle)) for angle in (yaw_deg, pitch_deg))
    return (gaze + np.stack([across, down, across, down], 1)).astype(np.float32)
