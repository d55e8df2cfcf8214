# SPDX-License-Identifier: Apache-2.0
"""How the made-up talker moves: mouth from phonemes, lids, eyes, brows and head from habits and chance.

Co-articulation by dominance functions: Cohen & Massaro, "Modeling coarticulation in synthetic visual speech" (1993).
Each phoneme pulls every channel to its own target, as strongly as it insists, and less with distance in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar3d.data_prep.synthetic.controls import COLUMN, CONTROLS, GAZE_RAD
from avatar3d.data_prep.synthetic.speech import LIP_CLOSURES, PHONES, SILENCE, Phoneme

_LEAD_S = 0.03  # lips are ahead of the sound
_REST_SMILE = 0.16  # a friendly face
FURTHEST_DEG = 25.0  # that the head turns to a side, unless told otherwise

_MOUTH = ("jaw", "pucker", "funnel", "smile", "stretch", "press", "upper_lip", "lower_lip", "tongue")
# viseme: (dominance, targets of _MOUTH)
VISEMES: dict[str, tuple[float, tuple[float, ...]]] = {
    "sil": (0.5, (0.00, 0.00, 0.00, 0.04, 0.00, 0.05, 0.00, 0.00, 0.0)),
    "pbm": (3.0, (0.06, 0.05, 0.00, 0.00, 0.00, 0.45, 0.00, 0.00, 0.0)),
    "fv": (2.5, (0.10, 0.00, 0.00, 0.05, 0.05, 0.00, 0.30, -0.35, 0.0)),
    "th": (1.2, (0.16, 0.00, 0.00, 0.00, 0.10, 0.00, 0.20, 0.25, 0.9)),
    "tdn": (0.8, (0.14, 0.00, 0.00, 0.05, 0.15, 0.00, 0.15, 0.25, 0.8)),
    "kg": (0.6, (0.22, 0.00, 0.00, 0.00, 0.10, 0.00, 0.15, 0.20, 0.2)),
    "sz": (1.6, (0.08, 0.00, 0.00, 0.15, 0.35, 0.00, 0.30, 0.45, 0.4)),
    "sh": (2.0, (0.14, 0.35, 0.70, 0.00, 0.00, 0.00, 0.30, 0.40, 0.3)),
    "l": (0.8, (0.26, 0.00, 0.00, 0.05, 0.05, 0.00, 0.10, 0.15, 0.9)),
    "er": (1.2, (0.22, 0.40, 0.35, 0.00, 0.00, 0.00, 0.15, 0.20, 0.4)),
    "aa": (1.3, (0.80, 0.00, 0.00, 0.05, 0.05, 0.00, 0.15, 0.20, 0.0)),
    "ah": (0.8, (0.46, 0.00, 0.00, 0.05, 0.05, 0.00, 0.10, 0.15, 0.0)),
    "ae": (1.2, (0.62, 0.00, 0.00, 0.20, 0.35, 0.00, 0.25, 0.25, 0.0)),
    "eh": (1.0, (0.42, 0.00, 0.00, 0.15, 0.25, 0.00, 0.20, 0.20, 0.1)),
    "iy": (1.4, (0.16, 0.00, 0.00, 0.35, 0.50, 0.00, 0.25, 0.30, 0.5)),
    "ih": (0.8, (0.24, 0.00, 0.00, 0.20, 0.25, 0.00, 0.15, 0.20, 0.3)),
    "ao": (1.4, (0.60, 0.25, 0.55, 0.00, 0.00, 0.00, 0.05, 0.10, 0.0)),
    "ow": (1.5, (0.38, 0.60, 0.45, 0.00, 0.00, 0.00, 0.00, 0.10, 0.0)),
    "uw": (2.0, (0.14, 1.00, 0.20, 0.00, 0.00, 0.00, 0.00, 0.00, 0.0)),
}
_SEALED = ("sil", "pbm")  # visemes that want the lips shut


@dataclass(frozen=True)
class Performance:
    """A film's motion, one row per frame."""

    controls: np.ndarray  # [T,C] float64, columns CONTROLS
    turn_rad: np.ndarray  # [T,3] yaw (to the image's right), pitch (down), roll of the head
    shift_cm: np.ndarray  # [T,3] head translation, x right, y up, z to the camera


def perform(
    phonemes: Sequence[Phoneme],
    seconds: float,
    fps: float,
    seed: int,
    turns_s: float,
    furthest_deg: float = FURTHEST_DEG,
) -> Performance:
    """Frames at the middles of round(seconds * fps) intervals.

    Args:
        turns_s: how long the film opens with slow turns of the head, which make focal length and shape observable.
        furthest_deg: the head never turns further to a side; what it does shrinks in proportion.
    """
    rng = np.random.default_rng((seed, 3))
    time_s = (np.arange(round(seconds * fps)) + 0.5) / fps
    controls = np.zeros((len(time_s), len(CONTROLS)))
    controls[:, [COLUMN[name] for name in _MOUTH]] = mouth = _mouth(phonemes, time_s)
    controls[:, COLUMN["smile"]] += _REST_SMILE
    controls[:, COLUMN["seal"]] = _seal(phonemes, time_s)
    turn_rad, shift_cm = _head(time_s, fps, mouth[:, 0], turns_s, furthest_deg, rng)
    brow = _brow(phonemes, time_s, fps, rng)
    controls[:, COLUMN["brow"]], controls[:, COLUMN["frown"]] = brow.clip(0, 1), (-brow).clip(0, 1)
    controls[:, [COLUMN["gaze_x"], COLUMN["gaze_y"]]] = gaze = _gaze(time_s, turn_rad, rng)
    lids = _lids(time_s, gaze, rng)
    controls[:, COLUMN["blink_right"]] = controls[:, COLUMN["blink_left"]] = lids
    return Performance(controls, turn_rad, shift_cm)


def _pulls(phonemes: Sequence[Phoneme], time_s: np.ndarray) -> np.ndarray:
    """How strongly each phoneme insists at each time [T,P]."""
    middle_s = np.array([p.middle_s for p in phonemes])
    half_s = np.array([0.5 * (p.end_s - p.start_s) for p in phonemes])
    reach_s = np.array([0.06 if p.name == SILENCE else 0.045 for p in phonemes])
    dominance = np.array([VISEMES[PHONES[p.name].viseme][0] for p in phonemes])
    outside_s = (np.abs(time_s[:, None] + _LEAD_S - middle_s) - 0.6 * half_s).clip(0)
    return dominance * np.exp(-((outside_s / reach_s) ** 1.3)) + 1e-12


def _mouth(phonemes: Sequence[Phoneme], time_s: np.ndarray) -> np.ndarray:
    """Channels _MOUTH [T,9]."""
    targets = np.array([VISEMES[PHONES[p.name].viseme][1] for p in phonemes])
    targets[:, 0] *= [p.stress if PHONES[p.name].kind == "vowel" else 1.0 for p in phonemes]
    pulls = _pulls(phonemes, time_s)
    return pulls @ targets / pulls.sum(1, keepdims=True)


def _seal(phonemes: Sequence[Phoneme], time_s: np.ndarray) -> np.ndarray:
    """0 lips free .. 1 lips shut [T]: by co-articulation, and exactly 1 while m, b or p is said."""
    pulls = _pulls(phonemes, time_s)
    wants = np.array([PHONES[p.name].viseme in _SEALED for p in phonemes], float)
    seal = _smoothstep((pulls @ wants / pulls.sum(1) - 0.35) / 0.4)
    for p in phonemes:
        if p.name in LIP_CLOSURES:
            outside_s = np.maximum(p.start_s - _LEAD_S - time_s, time_s - p.end_s + 0.01).clip(0)
            seal = np.maximum(seal, _smoothstep(1 - outside_s / 0.05))
    return seal


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = x.clip(0, 1)
    return x * x * (3 - 2 * x)


def _smoothed(track: np.ndarray, width: int) -> np.ndarray:
    """A track [T] under a bell of `width` frames (made odd)."""
    width = max(3, width | 1)
    bell = np.hanning(width + 2)[1:-1]
    return np.convolve(np.pad(track, width // 2, "edge"), bell / bell.sum(), "valid")


def _wander(time_s: np.ndarray, fps: float, per_s: float, size: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth walk by chance [T]: `per_s` turning points a second, about `size` high."""
    seconds = len(time_s) / fps
    knots = max(4, round(seconds * per_s))
    return _smoothed(
        size * np.interp(time_s, np.linspace(0, seconds, knots), rng.standard_normal(knots)), round(fps / 2)
    )


def _head(
    time_s: np.ndarray, fps: float, jaw: np.ndarray, turns_s: float, furthest_deg: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    share = furthest_deg / FURTHEST_DEG
    nod = 0.10 * (_smoothed(jaw, round(fps / 2)) - jaw.mean())
    phase = (time_s / max(turns_s, 1e-9)).clip(0, 1)
    # left and right once, then up and down once, all coming to rest smoothly
    sweep_yaw = np.sin(2 * np.pi * _smoothstep(phase / 0.65)) * np.radians(24) * share
    sweep_pitch = np.sin(2 * np.pi * _smoothstep((phase - 0.6) / 0.4)) * np.radians(10)
    free = 0.15 + 0.85 * _smoothstep((phase - 0.85) / 0.15)
    yaw = sweep_yaw + free * _wander(time_s, fps, 0.7, 0.14 * share, rng)
    pitch = sweep_pitch + free * _wander(time_s, fps, 0.7, 0.06, rng) + nod
    roll = free * _wander(time_s, fps, 0.5, 0.035, rng)
    across, up, near = (_wander(time_s, fps, 0.4, size, rng) for size in (0.35, 0.2, 0.5))
    limit = np.radians(furthest_deg)
    return np.stack([yaw.clip(-limit, limit), pitch, roll], 1), np.stack([across, up, near], 1)


def _brow(phonemes: Sequence[Phoneme], time_s: np.ndarray, fps: float, rng: np.random.Generator) -> np.ndarray:
    """-1 frown .. 1 raised [T]; stressed sounds lift it."""
    brow = _wander(time_s, fps, 1.2, 0.32, rng).clip(-0.5, 1)
    for p in phonemes:
        if p.stress > 1.18:
            brow = brow + 0.25 * np.exp(-(((time_s - p.middle_s) / 0.12) ** 2))
    return brow


def _gaze(time_s: np.ndarray, turn_rad: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[T,2] of GAZE_RAD: short fixations, mostly on the camera whatever the head does."""
    target = np.zeros((len(time_s), 2))
    start_s = 0.0
    while start_s < time_s[-1]:
        away = rng.random() < 0.35
        aim = (rng.uniform(-0.7, 0.7), rng.uniform(-0.4, 0.4)) if away else (0.0, 0.0)
        target[time_s >= start_s] = aim
        start_s += rng.uniform(0.5, 1.2) if away else rng.uniform(0.8, 2.5)
    counter = np.stack([-turn_rad[:, 0], turn_rad[:, 1]], 1) / GAZE_RAD
    return (target + 0.85 * counter).clip(-1, 1)


def _lids(time_s: np.ndarray, gaze: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """0 open .. 1 shut [T]: down in 90 ms, shut for 40 ms, up in 150 ms; also with many large shifts of gaze."""
    shift = np.abs(np.diff(gaze, axis=0, prepend=gaze[:1])).max(1)
    starts = [float(t) for t in time_s[shift > 0.35] if rng.random() < 0.35]
    start_s = rng.uniform(0.6, 1.4)
    while start_s < time_s[-1]:
        starts.append(start_s)
        start_s += float(np.clip(rng.lognormal(np.log(3.0), 0.4), 1.3, 6.5))
    lids = np.zeros(len(time_s))
    for begin_s in starts:
        after_s = time_s - begin_s
        falling, rising = 1 + after_s / 0.09, 1 - (after_s - 0.04) / 0.15
        lids = np.maximum(lids, np.where(after_s < 0, falling, rising).clip(0, 1))
    return lids
