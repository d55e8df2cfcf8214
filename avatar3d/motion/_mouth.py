# SPDX-License-Identifier: Apache-2.0
"""What of a person's expression belongs to the mouth, found by moving the head itself: any head, without its track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from avatar3d.contracts import Head
from avatar3d.geometry import apply_pose, invert
from avatar3d.motion._head_motion import usual_pose
from avatar3d.records import Motion

# head space, u: the canonical face has its lips at y -.43 and their corners at x -.25 and .25; the chin ends at -.9
_MOUTH_LOW_U, _MOUTH_HIGH_U = (-0.60, -0.95, -0.3), (0.60, -0.28, 1.0)
_FACE_LOW_U, _FACE_HIGH_U = (-0.75, -0.95, -0.3), (0.75, 0.85, 1.0)
_UPPER_LIP_U, _LOWER_LIP_U = (-0.41, -0.32), (-0.56, -0.46)  # y
_BESIDE_U = 0.15  # of the face's middle line: there lips open widest
_RIDGE = 1e-3  # of the trace
_SHUT_SHARE = 0.05  # of the clip's frames: those whose lips are nearest
_RANGE = (0.01, 0.99)


@dataclass(frozen=True)
class Mouth:
    """One person's mouth, in the numbers of the personal basis."""

    share: np.ndarray  # [K,K]; expression @ share is what moves mouth and jaw, the rest moves the rest
    opening: np.ndarray  # [K] u by which the lips part per unit
    shut: np.ndarray  # [K] the face with its lips shut
    low: np.ndarray  # [K] smallest usual expression
    high: np.ndarray  # [K] largest usual expression

    @classmethod
    def of(cls, head: Head, clip: Motion) -> Mouth:
        """The mouth of a head, and how its own clip moves it."""
        at, moved = _moved(head, clip)
        mouth, face = (_within(at, *box) for box in ((_MOUTH_LOW_U, _MOUTH_HIGH_U), (_FACE_LOW_U, _FACE_HIGH_U)))
        own, other = (np.einsum("kni,lni->kl", part, part) for part in (moved[:, mouth], moved[:, face & ~mouth]))
        both = own + other
        both += (_RIDGE * np.trace(both) / len(both) + 1e-12) * np.eye(len(both))
        middle = face & (np.abs(at[:, 0]) < _BESIDE_U)
        opening = _height(at, moved, middle, _UPPER_LIP_U) - _height(at, moved, middle, _LOWER_LIP_U)
        said = clip.expression @ opening
        shut = clip.expression[said <= np.quantile(said, _SHUT_SHARE)].mean(0)
        low, high = np.quantile(clip.expression, _RANGE, axis=0)
        arrays = np.linalg.solve(both, own), opening, shut, low, high
        return cls(*(array.astype(np.float32) for array in arrays))

    @property
    def rest(self) -> np.ndarray:
        """[K,K]; expression @ rest is what moves all but the mouth."""
        return np.eye(len(self.share), dtype=np.float32) - self.share

    def gained(self, expression: np.ndarray, mouth: np.ndarray | float, rest: np.ndarray | float) -> np.ndarray:
        """Expressions [T,K] whose mouth goes `mouth` times and whose other parts `rest` times as far from the face with
        its lips shut; a factor is one number or [T]. Nothing comes to lie beyond what this person usually does.
        """
        away = expression - self.shut
        lips = away @ self.share
        of_mouth, of_rest = (np.reshape(np.asarray(factor, np.float32) - 1, (-1, 1)) for factor in (mouth, rest))
        further = expression + of_mouth * lips + of_rest * (away - lips)
        return further.clip(np.minimum(self.low, expression), np.maximum(self.high, expression)).astype(np.float32)


def _moved(head: Head, clip: Motion) -> tuple[np.ndarray, np.ndarray]:
    """Where the points [N,3] of the mean face are, and how each number of an expression moves them [K,N,3]; u."""
    numbers = clip.expression.shape[1]
    faces = np.concatenate([np.zeros((1, numbers)), np.eye(numbers)]).astype(np.float32)
    pose = usual_pose(clip)
    poses = np.repeat(pose[None], len(faces), 0)
    still = Motion(
        expression=faces,
        blink=np.zeros((len(faces), 2), np.float32),
        gaze=np.zeros((len(faces), 4), np.float32),
        head=poses,
        fps=clip.fps,
        basis=clip.basis,
        body=poses,
    )
    back = invert(torch.from_numpy(pose))
    with torch.no_grad():
        places = [apply_pose(back, head.pose(code).points.cpu().float()).numpy() for code in head.encode(still)]
    return places[0], np.stack(places[1:]).astype(np.float64) - places[0]


def _height(at: np.ndarray, moved: np.ndarray, among: np.ndarray, between_u: tuple[float, float]) -> np.ndarray:
    """[K] u by which the points between two heights rise per unit, on average."""
    rows = among & (at[:, 1] > between_u[0]) & (at[:, 1] < between_u[1])
    risen: np.ndarray = moved[:, rows, 1].sum(1) / max(1, rows.sum())
    return risen


def _within(points: np.ndarray, low: tuple[float, ...], high: tuple[float, ...]) -> np.ndarray:
    inside: np.ndarray = np.all((points > np.array(low)) & (points < np.array(high)), axis=1)
    return inside
