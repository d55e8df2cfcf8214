# SPDX-License-Identifier: Apache-2.0
"""What the tracked face says: how much of what a head can do the clip shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar3d.data_prep.check.finding import Finding, Rule
from avatar3d.data_prep.quality import track_quality
from avatar3d.face.lips import lip_opening
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


@dataclass(frozen=True)
class Mouth:
    """How far the mouth is open, frame by frame."""

    opening: np.ndarray  # [T] u
    seen: np.ndarray  # [T] bool
    low: float  # u, the 2nd percentile: as shut as the clip ever shows it
    high: float  # u, the 98th

    @classmethod
    def of(cls, track: Track) -> Mouth:
        opening = lip_opening(track.neutral, track.basis, track.motion.expression)
        seen = track.landmarks.found & (track.confidence > 0)
        low, high = np.quantile(opening[seen], (0.02, 0.98)) if seen.any() else (0.0, 0.0)
        return cls(opening, seen, float(low), float(high))

    @property
    def closed(self) -> np.ndarray:
        """[T] bool."""
        return self.seen & (self.opening < self.low + _CLOSED * (self.high - self.low))


def coverage(capture: Capture, track: Track) -> list[Finding]:
    """Findings about the motion."""
    quality = track_quality(track, capture.cuts)
    mouth = Mouth.of(track)
    width = float(np.linalg.norm(track.neutral[_MOUTH_WIDTH[0]] - track.neutral[_MOUTH_WIDTH[1]]))
    shut = track.motion.blink.mean(1) > _BLINK
    return [
        _RULES["length"](len(track.motion) / FPS),
        _RULES["lost"](100 * float(1 - track.landmarks.found.mean())),
        _RULES["cuts"](len(capture.cuts)),
        _RULES["yaw"](quality["yaw_deg"][1] - quality["yaw_deg"][0]),
        _RULES["pitch"](quality["pitch_deg"][1] - quality["pitch_deg"][0]),
        _RULES["mouth"](100 * (mouth.high - mouth.low) / width),
        _RULES["closed"](float(mouth.closed.sum()) / FPS),
        _RULES["blinks"](float((shut[1:] & ~shut[:-1] & mouth.seen[1:]).sum())),
    ]
