# SPDX-License-Identifier: Apache-2.0
"""What every predicted motion goes through: stay near what the person does, close the mouth in silence, blink."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import butter, sosfilt

from avatar3d.dsp import HOPS_PER_S, loudness_db, pitch, resampled, speaks
from avatar3d.records import FPS, SAMPLE_RATE, Sound, frame_count

BLINK_PROFILE = (0.1, 0.5, 0.8, 1.0, 0.7, 0.4, 0.1)  # closing in 120 ms, opening in 160 ms

_HOPS_PER_FRAME = int(HOPS_PER_S / FPS)
_HOPS_AT_ONCE = 6_000
_HOLD_FRAMES = 2  # the gate opens this long before speech and closes this long after it
_FADE_FRAMES = 3
# in a shorter pause than this the mouth does what the voice has learned of the person, who may or may not shut it
_PAUSE_FRAMES = 25
_TALKING_PAUSE_FRAMES = 30  # of who was seen not to shut the mouth in pauses ...
_LOOKED_AT_FRAMES = 12  # ... longer than these
_NOISE_PAUSE_FRAMES = 45  # words drowned in noise look like a pause
_NOISY_DB = 30.0  # between the loudest and the quietest moments
_RUMBLE_HZ = 80.0
_FEWEST_PAUSES = 3  # that tell a habit
_SHUT_SHARE = 0.15  # of the range of openings: lips that come nearer meet, as well as a tracker can tell
_RANGE_QUANTILES = (0.01, 0.99)
_USUAL_INTERVAL_S, _USUAL_SPREAD = 3.6, 0.5  # of blinks while talking: median, and standard deviation of the logarithm
_SHORTEST_S, _LONGEST_S = 0.6, 12.0
_PRIOR_BLINKS = 4.0  # a few blinks of a short clip must not make a habit


def locally_linear(
    codes: np.ndarray, seen: np.ndarray, neighbours: int = 10, pull: float = 0.2, ridge: float = 1e-5
) -> np.ndarray:
    """Moves codes [T,K] a share `pull` of the way to the affine hull of their nearest neighbours among `seen` [N,K].

    Locally linear embedding (Roweis and Saul, 2000) as GeneFace++ uses it; the ridge, relative to the trace, keeps
    nearly collinear neighbours from throwing the point far away.
    """
    neighbours = min(neighbours, len(seen))
    moved = np.empty_like(codes)
    square = (seen**2).sum(1)
    for begin in range(0, len(codes), 512):  # bounds the [rows,N] table of distances
        part = codes[begin : begin + 512]
        distance = square - 2 * part @ seen.T
        nearest = np.argpartition(distance, neighbours - 1, axis=1)[:, :neighbours]
        difference = (part[:, None] - seen[nearest]).astype(np.float64)  # [rows,k,K]
        gram = difference @ difference.transpose(0, 2, 1)
        trace = np.trace(gram, axis1=1, axis2=2)[:, None, None]
        gram = gram + np.eye(neighbours) * (ridge * trace / neighbours + 1e-12)
        weights = np.linalg.solve(gram, np.ones((len(part), neighbours, 1)))[..., 0]
        weights /= weights.sum(1, keepdims=True)
        on_hull = (weights[:, None] @ seen[nearest])[:, 0]
        moved[begin : begin + 512] = (1 - pull) * part + pull * on_hull
    return moved


def speech_gate(sound: Sound, pause_frames: int = _PAUSE_FRAMES) -> np.ndarray:
    """1 where somebody speaks, 0 in silence and steady noise, [T] float32 at FPS, with soft edges.

    Opens 120 ms before the first sound, since lips part before a voice is heard, and is shut 160 ms after the last
    one before a silence of more than `pause_frames`; in noise, of more than 1.8 s.
    """
    speaking, noisy = _speaking(sound)
    if not len(speaking):
        return np.zeros(0, np.float32)
    pause = max(_NOISE_PAUSE_FRAMES, pause_frames) if noisy else pause_frames
    held = maximum_filter1d(_without_pauses(speaking, pause).astype(np.float32), 2 * _HOLD_FRAMES + 1)
    return uniform_filter1d(held, _FADE_FRAMES, mode="nearest")


def usual_pause(sound: Sound, opening: np.ndarray) -> int:
    """From how many frames of silence on a person shuts the mouth, who was seen to open it by `opening` [T] meanwhile.

    Some rest with lips apart, and to shut them in every pause would not be them.
    """
    speaking, _ = _speaking(sound)
    said = np.flatnonzero(speaking[: len(opening)])
    low, high = np.quantile(opening, _RANGE_QUANTILES)
    # where a word ends the lips are still on their way
    least = [
        opening[before + 1 + _HOLD_FRAMES : after].min()
        for before, after in pairwise(said)
        if after - before > _LOOKED_AT_FRAMES
    ]
    if len(least) < _FEWEST_PAUSES:
        return _PAUSE_FRAMES
    shuts = np.median(least) <= low + _SHUT_SHARE * (high - low)
    return _PAUSE_FRAMES if shuts else _TALKING_PAUSE_FRAMES


def _speaking(sound: Sound) -> tuple[np.ndarray, bool]:
    """Whether somebody speaks in each frame [T] bool, and whether noise may hide that."""
    frames = frame_count(sound)
    hops = frames * _HOPS_PER_FRAME
    if not frames:
        return np.zeros(0, bool), False
    # the level of rumble below any voice wavers as speech does
    samples = sosfilt(butter(2, _RUMBLE_HZ, "highpass", fs=SAMPLE_RATE, output="sos"), resampled(sound))
    samples = samples.astype(np.float32)
    spans = [(first, min(_HOPS_AT_ONCE, hops - first)) for first in range(0, hops, _HOPS_AT_ONCE)]
    level = np.concatenate([loudness_db(samples, *span) for span in spans])
    harmonicity = np.concatenate([pitch(samples, *span)[1] for span in spans])
    quiet_db, loud_db = np.quantile(level, (0.05, 0.95))
    speaking = speaks(level, harmonicity).reshape(frames, _HOPS_PER_FRAME).mean(1) >= 0.5
    return speaking, bool(loud_db - quiet_db < _NOISY_DB)


def _without_pauses(speaking: np.ndarray, pause: int) -> np.ndarray:
    """Speaking [T] bool with every gap of at most `pause` frames filled; silence at the ends stays."""
    said = np.flatnonzero(speaking)
    filled = speaking.copy()
    for before, after in pairwise(said):
        if after - before <= pause:
            filled[before:after] = True
    return filled


@dataclass(frozen=True)
class BlinkHabit:
    """How often a person blinks: intervals are log-normal."""

    log_interval: float = float(np.log(_USUAL_INTERVAL_S))  # mean of log seconds
    log_spread: float = _USUAL_SPREAD  # standard deviation of log seconds

    @classmethod
    def of(cls, blink: np.ndarray, fps: float = FPS) -> BlinkHabit:
        """The habit seen in lid closings [T,2]; few blinks are mixed with what is usual."""
        onsets = blink_onsets(blink)
        seconds = np.diff(onsets) / fps
        logs = np.log(seconds[(seconds >= _SHORTEST_S) & (seconds <= _LONGEST_S)])
        total = len(logs) + _PRIOR_BLINKS
        mean = (logs.sum() + _PRIOR_BLINKS * np.log(_USUAL_INTERVAL_S)) / total
        variance = (((logs - mean) ** 2).sum() + _PRIOR_BLINKS * _USUAL_SPREAD**2) / total
        return cls(float(mean), float(np.sqrt(variance)))


def blink_onsets(blink: np.ndarray) -> np.ndarray:
    """Frames at which both lids [T,2] come to be more than half closed, after having been open."""
    closing = blink.mean(1)
    closed = np.zeros(len(closing), bool)
    state = False
    for frame, value in enumerate(closing):  # two thresholds, so that noise about one does not count as many blinks
        state = value > 0.3 if state else value > 0.6
        closed[frame] = state
    return np.flatnonzero(closed[1:] & ~closed[:-1]) + 1


def blinks(frames: int, habit: BlinkHabit, rng: np.random.Generator, fps: float = FPS) -> np.ndarray:
    """Lid closings [frames,2] 0..1 with intervals drawn from `habit`; both lids move together."""
    closing = np.zeros(frames + len(BLINK_PROFILE), np.float32)
    at = first_blink_s(habit, rng)
    while (first := round(at * fps)) < frames:
        span = slice(first, first + len(BLINK_PROFILE))
        closing[span] = np.maximum(closing[span], BLINK_PROFILE)
        at += blink_interval_s(habit, rng)
    return np.repeat(closing[:frames, None], 2, axis=1)


def first_blink_s(habit: BlinkHabit, rng: np.random.Generator) -> float:
    """When the first blink comes: a clip does not begin with one."""
    return float(rng.uniform(0.3, 1.0) * np.exp(habit.log_interval))


def blink_interval_s(habit: BlinkHabit, rng: np.random.Generator) -> float:
    """From one blink to the next."""
    return float(np.clip(np.exp(rng.normal(habit.log_interval, habit.log_spread)), _SHORTEST_S, _LONGEST_S))
