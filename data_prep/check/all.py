# SPDX-License-Identifier: Apache-2.0
"""All findings about a clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avatar3d import media
from avatar3d.data_prep.check.finding import Finding, Rule
from avatar3d.data_prep.check.motion import coverage
from avatar3d.data_prep.check.picture import look
from avatar3d.data_prep.check.sound import listen
from avatar3d.data_prep.sync import Lag
from avatar3d.records import Capture, Landmarks, Sound, Track

_RATE = Rule(
    "frame rate", "{:.1f} a second", 24, 14, "lips move faster than a slow camera sees", "film at 25 frames or more"
)
_STEADY = Rule(
    "uneven frames", "{:.1f} % of the frames", 2, 10, "a frame shown at the wrong moment is out of step with the sound",
    "switch variable frame rate off, close other programs; a phone's own camera is better than a browser's",
)  # fmt: skip
_OTHERS = Rule(
    "another face", "{:.0f} % of the video", 0, 15, "the larger face is taken, and that may be the other one",
    "film one person alone; no pictures or screens with faces behind them",
)  # fmt: skip
_UNEVEN = 0.5  # of the usual time between frames


@dataclass(frozen=True)
class Examined:
    """What the findings are about."""

    capture: Capture
    landmarks: Landmarks
    track: Track
    recorded: Sound | None  # the sound before it was moved
    lag: Lag | None  # of that sound
    source_scale: float  # px of the video per px of the capture's frames
    other_faces: float | None  # share of the video with a second large face


def checked(video: Path, examined: Examined) -> dict[str, list[Finding]]:
    """Findings under "picture", "motion" and "sound"."""
    timing = media.timing(video)
    others = _OTHERS(None if examined.other_faces is None else 100 * examined.other_faces)
    picture = [*timed(timing), *look(examined.capture, examined.landmarks, examined.source_scale), others]
    return {
        "picture": picture,
        "motion": coverage(examined.capture, examined.track),
        "sound": listen(examined.recorded, timing.sound_hz, examined.track, examined.lag),
    }


def timed(timing: media.Timing) -> list[Finding]:
    """Findings about when the pictures were taken."""
    gaps = np.diff(timing.pictures_s)
    usual = float(np.median(gaps)) if len(gaps) else float("nan")
    uneven = 100 * float(np.mean(np.abs(gaps - usual) > _UNEVEN * usual)) if len(gaps) else None
    return [_RATE(len(gaps) / float(gaps.sum()) if len(gaps) else None), _STEADY(uneven)]
