# SPDX-License-Identifier: Apache-2.0
"""A face that waits or listens: lips shut, small movements of its own, blinks, and breath."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from avatar3d.motion._head_motion import rounded_triangle
from avatar3d.motion._mouth import Mouth
from avatar3d.motion._polish import BlinkHabit, blinks
from avatar3d.records import FPS, Motion

_QUIET_FRAMES = 100  # of the clip, in which the face does least
_SHUT, _OPEN = 0.5, 0.25  # blink
_FEWEST = 3  # frames with shut lids that make a mean
_BREATH_S = 4.0
_BREATH_U = (0.004, 0.008)  # head and body: .4 and .8 mm upwards
_AT_REST = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def idle(clip: Motion, mouth: Mouth, frames: int, seed: int = 0) -> Motion:
    """A motion of `frames` frames without speech; head, body and gaze are laid over afterwards.

    The face is the one with its lips shut. What it does beside is taken from the stretch of the clip in which it does
    least and does not blink, played to and fro, without the mouth.
    """
    blink = blinks(frames, BlinkHabit.of(clip.blink, clip.fps), np.random.default_rng(seed))
    lids = blink.mean(1, keepdims=True) * (_closing(clip) @ _beside(mouth))
    return Motion(
        expression=(mouth.shut + fidgets(clip, mouth, frames, seed) + lids).astype(np.float32),
        blink=blink,
        gaze=np.zeros((frames, 4), np.float32),
        head=np.tile(np.array(_AT_REST, np.float32), (frames, 1)),
        fps=FPS,
        basis=clip.basis,
    )


def breathing(motion: Motion) -> Motion:
    """`motion` whose body, and head with it, rises and sinks by less than a millimetre."""
    lift = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(len(motion)) / (_BREATH_S * motion.fps))
    head_up, body_up = (-np.outer(lift, size * np.eye(7)[5]).astype(np.float32) for size in _BREATH_U)  # y is down
    return replace(motion, head=motion.head + head_up, body=None if motion.body is None else motion.body + body_up)


def fidgets(clip: Motion, mouth: Mouth, frames: int, seed: int = 0) -> np.ndarray:
    """[frames,K] to add to a face at rest: the small movements of the clip's calmest stretch, without the mouth."""
    quiet = quiet_stretch(clip, mouth)
    begin = int(np.random.default_rng(seed).integers(len(quiet)))
    at = rounded_triangle(np.arange(begin, begin + frames), len(quiet)).round().astype(int)
    small: np.ndarray = (quiet - quiet.mean(0))[at] @ _beside(mouth)
    return small


def quiet_stretch(clip: Motion, mouth: Mouth) -> np.ndarray:
    """Expressions [N,K] of the calmest stretch of the clip, N at most four seconds."""
    length = min(_QUIET_FRAMES, len(clip))
    moved = np.abs(np.diff(clip.expression, axis=0, prepend=clip.expression[:1])).sum(1)
    opening = clip.expression @ mouth.opening
    restless = moved / (moved.mean() + 1e-9) + (opening - opening.min()) / (np.ptp(opening) + 1e-9)
    restless += 10.0 * (clip.blink.mean(1) > _OPEN)
    sums = np.concatenate([[0.0], np.cumsum(restless)])
    first = int((sums[length:] - sums[:-length]).argmin())
    return clip.expression[first : first + length]


def _beside(mouth: Mouth) -> np.ndarray:
    """[K,K]: expression @ this is what moves all but the mouth, less what of that would part the lips after all."""
    rest = mouth.rest
    parts: np.ndarray = rest - np.outer(rest @ mouth.opening, mouth.opening / max(mouth.opening @ mouth.opening, 1e-12))
    return parts


def _closing(clip: Motion) -> np.ndarray:
    """[K] how shut lids differ from open ones in the clip's faces, per unit of blink; zero where it hardly blinks."""
    lids = clip.blink.mean(1)
    shut, open_ = lids > _SHUT, lids < _OPEN
    if shut.sum() < _FEWEST or open_.sum() < _FEWEST:
        return np.zeros(clip.expression.shape[1])
    apart = clip.expression[shut].mean(0) - clip.expression[open_].mean(0)
    closing: np.ndarray = apart / (lids[shut].mean() - lids[open_].mean())
    return closing
