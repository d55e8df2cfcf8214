# SPDX-License-Identifier: Apache-2.0
"""Where the head is while it talks: the person's own movements played over and over, or one still pose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from avatar3d.geometry import compose, invert, rotate
from avatar3d.records import Motion

_ROUNDING = 0.01  # how soft the turns of the rounded triangle wave are
_JUMP_SPREADS = 12.0  # a step this many times the usual one is a cut, not a movement
_STEP_FLOOR_U = 0.02  # a step that a still head makes by noise
_NECK_U = (0.0, -0.9, -0.8)  # head space: about where a skull rests on its neck


def replay(motion: Motion, clip: Motion, start: int = 0) -> Motion:
    """`motion` with head, body and gaze of `clip`, played forwards and backwards without a jump or a sudden stop.

    Only the longest stretch of the clip without a cut is played. At both ends time slows down and turns: the position
    is a rounded triangle wave, whose speed is at most that of the clip.

    Args:
        start: frame of the wave to begin with.
    """
    stretch = longest_stretch(clip)
    at = rounded_triangle(np.arange(start, start + len(motion)), len(stretch))
    body = None if stretch.body is None else _poses_at(stretch.body, at)
    return replace(motion, head=_poses_at(stretch.head, at), gaze=_rows_at(stretch.gaze, at), body=body)


def still(motion: Motion, clip: Motion) -> Motion:
    """`motion` with head and body as in the clip's most usual pose, looking ahead."""
    usual = np.full(len(motion), _usual_frame(clip))
    body = None if clip.body is None else clip.body[usual]
    return replace(motion, head=_one_sign(clip.head)[usual], gaze=np.zeros((len(motion), 4), np.float32), body=body)


def turned(motion: Motion, clip: Motion) -> Motion:
    """`motion`, whose heads turn at the world's origin, with these turns on the neck of the clip's most usual pose.

    Turns count from the median one: where a phone stood while it filmed a face says nothing about this camera.
    """
    heads = torch.from_numpy(_one_sign(motion.head)).double()
    usual = _usual(motion)
    turns = compose(invert(usual.expand_as(heads)), heads)[:, :4]
    # where another body stood says nothing of this one
    return replace(motion, head=on_neck(turns, clip), body=None)


def on_neck(turns: Tensor, clip: Motion) -> np.ndarray:
    """Head poses [T,7] float32 of turns [T,4] in the head's own axes, on the neck of the clip's most usual pose."""
    turn = about_neck(turns.double())
    return compose(_usual(clip).expand_as(turn), turn).float().numpy()


def about_neck(quats: Tensor) -> Tensor:
    """Poses [T,7] of turns [T,4] in a head's own axes that leave the top of its neck where it is."""
    neck = quats.new_tensor(_NECK_U)
    return torch.cat([quats, neck - rotate(quats, neck.expand(len(quats), 1, 3))[:, 0]], 1)


def turned_on_necks(heads: np.ndarray, angles_deg: np.ndarray) -> np.ndarray:
    """Heads [T,7] float32 that turn, nod and tilt by angles [T,3] about their own axes, in this order, on necks."""
    quats = Rotation.from_euler("YXZ", angles_deg, degrees=True).as_quat()[:, [3, 0, 1, 2]]
    turns = about_neck(torch.from_numpy(quats))
    return compose(torch.from_numpy(heads).double(), turns).float().numpy()


def from_usual(motion: Motion, clip: Motion) -> Motion:
    """`motion` with its poses told from the clip's most usual one, which becomes a head that looks into a camera at the
    world's origin.
    """
    return _carried(motion, compose(_facing(), invert(_usual(clip))))


def on_usual(motion: Motion, clip: Motion) -> Motion:
    """What `from_usual` told, about the most usual pose of this clip."""
    return _carried(motion, compose(_usual(clip), invert(_facing())))


def _carried(motion: Motion, change: Tensor) -> Motion:
    def carried(poses: np.ndarray) -> np.ndarray:
        return compose(change.expand(len(poses), 7), torch.from_numpy(poses).double()).float().numpy()

    return replace(motion, head=carried(motion.head), body=None if motion.body is None else carried(motion.body))


def _usual(clip: Motion) -> Tensor:
    return torch.from_numpy(usual_pose(clip)).double()


def _facing() -> Tensor:
    return torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)


def usual_pose(clip: Motion) -> np.ndarray:
    """The pose [7] of the clip that is nearest to the median pose."""
    return _one_sign(clip.head)[_usual_frame(clip)]


def _usual_frame(clip: Motion) -> int:
    poses = _one_sign(clip.head)
    return int(np.abs(poses - np.median(poses, axis=0)).sum(1).argmin())


def longest_stretch(clip: Motion) -> Motion:
    """The longest part of a clip in which the head does not jump."""
    steps = np.abs(np.diff(_one_sign(clip.head), axis=0)).sum(1)
    usual = np.median(steps) + _STEP_FLOOR_U if len(steps) else 0.0
    edges = [0, *(np.flatnonzero(steps > _JUMP_SPREADS * usual) + 1), len(clip)]
    lengths = np.diff(edges)
    longest = int(lengths.argmax())
    return clip[edges[longest] : edges[longest + 1]]


def rounded_triangle(frames: np.ndarray, length: int) -> np.ndarray:
    """Positions [T] in 0..length-1 at `frames` [T]: there and back, at most one per frame, slower at the ends."""
    if length < 2:
        return np.zeros(len(frames))
    half = (length - 1) / 2
    full = np.arcsin(1 - _ROUNDING)
    speed = full / (half * (1 - _ROUNDING))  # of the phase, so that the middle is passed at one frame per frame
    wave = np.arcsin((1 - _ROUNDING) * np.sin(speed * frames - np.pi / 2)) / full
    return half * (1 + wave)


def _poses_at(poses: np.ndarray, at: np.ndarray) -> np.ndarray:
    moved = _rows_at(_one_sign(poses), at)
    moved[:, :4] /= np.linalg.norm(moved[:, :4], axis=1, keepdims=True)
    return moved


def _rows_at(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Rows [T,D] at fractional positions [T]."""
    below = np.clip(at.astype(np.int64), 0, max(len(rows) - 2, 0))
    above = np.minimum(below + 1, len(rows) - 1)
    share = (at - below)[:, None]
    return (rows[below] * (1 - share) + rows[above] * share).astype(np.float32)


def _one_sign(poses: np.ndarray) -> np.ndarray:
    """Poses [T,7] whose quaternions all lie in the first one's half of the sphere, so that they can be averaged."""
    sign = np.where((poses[:, :4] @ poses[0, :4]) < 0, -1.0, 1.0)[:, None]
    return np.hstack([poses[:, :4] * sign, poses[:, 4:]]).astype(np.float32)
