# SPDX-License-Identifier: Apache-2.0
"""From a microphone or a camera to a face's motion, as it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from avatar3d.contracts import Speak
from avatar3d.face.arkit import gaze_of, lids_of
from avatar3d.geometry import invert, normalise, quat_from_matrix, quat_multiply
from avatar3d.motion._head_motion import on_neck, replay
from avatar3d.records import FPS, SAMPLE_RATE, Motion, Sound

__all__ = ["FRAME", "Manner", "Mirror", "Recent", "See", "Seen", "Streaming"]

FRAME = int(SAMPLE_RATE / FPS)  # samples of a frame


class Streaming(Protocol):
    """A voice that hears sound piece by piece."""

    def push(self, samples: np.ndarray) -> Motion:
        """The frames [n] that have become certain, after samples [S] float32 at 16 kHz; often none or one."""


class Recent:
    """Any voice as a streaming one: it hears the last few seconds anew for each frame.

    A frame is certain once `delay` later ones have been heard. Costs more than a voice that remembers, and is the same
    for all. A piece of sound knows nothing of the last blink: `lids` [T,2] are played over and over instead.
    """

    def __init__(self, voice: Speak, lids: np.ndarray, heard_s: float = 1.2, delay: int = 4) -> None:
        self._voice, self._delay, self._lids = voice, delay, lids
        self._said = 0  # frames
        self._frames = round(heard_s * FPS)
        self._kept = np.zeros(self._frames * FRAME, np.float32)
        self._rest = np.zeros(0, np.float32)
        self._early = delay  # frames that were before the first sample

    def push(self, samples: np.ndarray) -> Motion:
        """See Streaming; of a piece that is longer than what is heard anew, the end."""
        heard = np.concatenate([self._rest, samples.astype(np.float32)])
        new = len(heard) // FRAME
        self._rest = heard[new * FRAME :]
        self._kept = np.concatenate([self._kept, heard[: new * FRAME]])[-len(self._kept) :]
        skipped = min(new, self._early)
        self._early -= skipped
        said = self._voice(Sound(self._kept, SAMPLE_RATE))
        end = len(said) - self._delay
        certain = said[max(end - new + skipped, 0) : end]
        rows = (self._said + np.arange(len(certain))) % len(self._lids)
        self._said += len(certain)
        return replace(certain, blink=self._lids[rows])


class Manner:
    """Lays a person's own head movement over what is said, from frame to frame."""

    def __init__(self, clip: Motion) -> None:
        self._clip, self._at = clip, 0

    def laid_over(self, said: Motion) -> Motion:
        """`said` on the clip's own head."""
        moved = replay(said, self._clip, self._at)
        self._at += len(said)
        return moved


class Seen(Protocol):
    """A face in a picture."""

    @property
    def points(self) -> np.ndarray:
        """[478,3] px, z away from the camera."""

    @property
    def scores(self) -> np.ndarray:
        """[52] 0..1, as `avatar3d.face.arkit.SCORES`."""


See = Callable[[np.ndarray], Seen | None]  # [H,W,3] uint8 -> the largest face


class Mirror:
    """Makes an avatar do what a face before a camera does.

    The first face seen, and the one after `settle`, counts as looking ahead and at rest: how far a face goes from there
    is what the avatar does from its own place and its own rest. So two people may differ.

    Args:
        see: finds a face.
        neutral: [468,3] canonical face, in head space.
        clip: the person's own motion, on whose most usual pose the turns are laid, and which is gone beyond by no
            expression.
        arkit_map: [53,K] of the head, see records.Track; None: the scores are handed on as they are.
        rest: [K] the person's expression at rest, in the clip's basis; None: its mean.
        quick: how far each picture takes the head towards what it shows, 0..1; less is calmer and later.
    """

    def __init__(
        self,
        see: See,
        neutral: np.ndarray,
        clip: Motion,
        arkit_map: np.ndarray | None = None,
        rest: np.ndarray | None = None,
        quick: float = 0.6,
    ) -> None:
        self._see, self._clip, self._quick, self._map = see, clip, quick, arkit_map
        driven = 0 if arkit_map is None else arkit_map.shape[1]
        self._rest = np.zeros(driven, np.float32) if rest is None else rest[:driven]
        self._furthest = float(np.linalg.norm(clip.expression[:, :driven], axis=1).max(initial=0.0))
        self._scores: np.ndarray | None = None
        self._neutral = torch.from_numpy(neutral.astype(np.float64))
        self._ahead: Tensor | None = None
        self._turn: Tensor | None = None
        self._last: Motion | None = None

    def settle(self) -> None:
        """The next face seen counts as looking ahead."""
        self._ahead = None

    def motion(self, picture: np.ndarray) -> Motion | None:
        """One frame, in basis "arkit"; None: nobody is seen, and never was."""
        face = self._see(picture)
        if face is None:
            return self._last
        facing = _facing(self._neutral, face.points)
        if self._ahead is None:
            self._ahead, self._turn, self._scores = facing, None, face.scores
        turn = quat_multiply(invert(self._ahead)[:4], facing[:4])  # in the head's own axes
        if self._turn is not None:
            turn = _between(self._turn, turn, self._quick)
        self._turn, scores = turn, face.scores[None].astype(np.float32)
        self._last = Motion(
            expression=scores if self._map is None else self._expression(face.scores),
            blink=lids_of(scores),
            gaze=gaze_of(scores).astype(np.float32),
            head=on_neck(turn[None], self._clip),
            fps=FPS,
            basis="arkit" if self._map is None else "personal",
        )
        return self._last

    def _expression(self, scores: np.ndarray) -> np.ndarray:
        """[1,K]: from the avatar's rest as far as the scores have gone from the seen face's."""
        assert self._map is not None
        gone = self._rest + (scores - self._scores) @ self._map[: len(scores)]
        return (gone * min(1.0, self._furthest / max(float(np.linalg.norm(gone)), 1e-6)))[None].astype(np.float32)


def _facing(neutral: Tensor, points: np.ndarray) -> Tensor:
    """How a face is turned: a pose [7] whose quaternion is camera_from_head, the rest 0.

    From where its points are in the picture alone, as seen from afar (POS: DeMenthon and Davis, 1995); the depths that
    a detector guesses make turns too large.
    """
    shape = neutral - neutral.mean(0)
    seen = torch.from_numpy(points[: len(neutral), :2].astype(np.float64))
    rows = torch.linalg.lstsq(shape, seen - seen.mean(0)).solution.T  # scale times the first two rows of the rotation
    u, _, vt = torch.linalg.svd(rows, full_matrices=False)
    across, down = u @ vt
    turn = torch.stack([across, down, torch.linalg.cross(across, down)])
    return torch.cat([quat_from_matrix(turn), turn.new_zeros(3)])


def _between(before: Tensor, after: Tensor, share: float) -> Tensor:
    """A quaternion [4] on the shorter way from one to the other."""
    after = -after if before @ after < 0 else after
    return normalise((1 - share) * before + share * after)
