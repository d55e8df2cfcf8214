# SPDX-License-Identifier: Apache-2.0
"""What the tracked face says: how much of what a head can do the clip shows."""

from __future__ import annotations

import numpy as np

from avatar3d.data_prep.check.finding import Finding, Rule
from avatar3d.data_prep.quality import track_quality
from avatar3d.face.groups import APERTURE_PAIRS
from avatar3d.face.rig import rig_vertices
from avatar3d.records import FPS, Capture, Track

_CLOSED = 0.15  # of the way between the 2nd and the 98th percentile of the mouth's opening
_BLINK = 0.5
_MOUTH_WIDTH = (61, 291)

_RULES = {
    "length": Rule(
        "length", "{:.0f} s", 55, 20, "a voice and a mouth are learned from many different sounds",
        "talk for one to five minutes",
    ),
    "lost": Rule(
        "frames without a face", "{:.1f} %", 1, 8, "frames without a face are left out",
        "keep the face in the picture, and hands and hair away from it",
    ),
    "cuts": Rule(
        "cuts", "{:.0f}", 0, 10, "the light and the pose jump there; nothing is learned across a cut",
        "one take is best",
    ),
    "yaw": Rule(
        "turns to the sides", "{:.0f} degrees in all", 30, 12, "sides of the head that were not seen are made up",
        "turn the head slowly to both sides at the beginning, about 30 degrees each way",
    ),
    "pitch": Rule(
        "nods", "{:.0f} degrees in all", 14, 6, "without nods the chin and the hair's upper edge stay flat",
        "look up and down once, slowly",
    ),
    "mouth": Rule(
        "opening of the mouth", "{:.0f} % of its width", 25, 12, "a mouth that hardly opens shows no teeth to learn",
        "speak up and articulate; say a few long a and o",
    ),
    "closed": Rule(
        "mouth closed", "{:.1f} s", 2, 0.5, "an avatar that never saw closed lips cannot close them",
        "pause for two seconds with the lips closed",
    ),
    "blinks": Rule(
        "blinks", "{:.0f}", 4, 1, "lids are learned from blinks", "blink a few times on purpose"
    ),
}  # fmt: skip


def aperture(track: Track) -> np.ndarray:
    """Opening of the inner lips [T] u."""
    picked = [vertex for pair in APERTURE_PAIRS for vertex in pair]
    points = rig_vertices(track.neutral[picked], track.basis[picked], track.motion.expression)
    return np.linalg.norm(points[:, ::2] - points[:, 1::2], axis=-1).mean(1)


def closed(opening: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """[T] bool: lips closed, or as near to it as the clip ever shows."""
    low, high = np.quantile(opening[seen], (0.02, 0.98))
    return seen & (opening < low + _CLOSED * (high - low))


def coverage(capture: Capture, track: Track) -> list[Finding]:
    """Findings about the motion."""
    quality = track_quality(track, capture.cuts)
    seen = track.landmarks.found & (track.confidence > 0)
    opening = aperture(track)
    low, high = np.quantile(opening[seen], (0.02, 0.98))
    width = float(np.linalg.norm(track.neutral[_MOUTH_WIDTH[0]] - track.neutral[_MOUTH_WIDTH[1]]))
    shut = track.motion.blink.mean(1) > _BLINK
    return [
        _RULES["length"](len(track.motion) / FPS),
        _RULES["lost"](100 * float(1 - track.landmarks.found.mean())),
        _RULES["cuts"](len(capture.cuts)),
        _RULES["yaw"](quality["yaw_deg"][1] - quality["yaw_deg"][0]),
        _RULES["pitch"](quality["pitch_deg"][1] - quality["pitch_deg"][0]),
        _RULES["mouth"](100 * float(high - low) / width),
        _RULES["closed"](float(closed(opening, seen).sum()) / FPS),
        _RULES["blinks"](float((shut[1:] & ~shut[:-1] & seen[1:]).sum())),
    ]
