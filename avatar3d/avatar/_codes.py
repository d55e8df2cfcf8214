# SPDX-License-Identifier: Apache-2.0
"""Numbers that drive the linear head: what a Motion says, frame by frame, before scaling.

raw codes [T,K] = expression, both lids, mean gaze across and down, head rotation (3) and head height: how a face looks
depends a little on how the head is held, since light and clothes do not turn with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from avatar3d.geometry import invert, quat_multiply, rotvec_from_quat
from avatar3d.records import Motion

EXTRA_CODES = 8  # lids 2, gaze 2, head rotation 3, height 1
POSE_FEATURES = 18  # rotation and translation: now, over one second, over three seconds
# nobody moves like this within one frame of 40 ms, so it is a new shot
_JUMP_U = 0.8
_JUMP_RAD = 0.5


def raw_codes(motion: Motion, expression: np.ndarray, rest_from_head: Tensor) -> Tensor:
    """Codes [T,K] of a motion whose expression in the personal basis is `expression` [T,E]."""
    gaze = np.stack([motion.gaze[:, [0, 2]].mean(1), motion.gaze[:, [1, 3]].mean(1)], 1)
    face = np.concatenate([expression, motion.blink, gaze], 1).astype(np.float32)
    pose = relative_pose(motion.head, rest_from_head)
    return torch.cat([torch.from_numpy(face), pose[:, :3], pose[:, 4:5]], 1)


def relative_pose(head: np.ndarray, rest_from_head: Tensor) -> Tensor:
    """Rotation vector and translation [T,6] of head poses [T,7] in world axes, relative to the pose at rest [7]."""
    poses = torch.from_numpy(np.asarray(head, np.float32))
    undo = invert(rest_from_head)[:4].expand(len(poses), 4)
    turned = rotvec_from_quat(quat_multiply(poses[:, :4], undo))
    return torch.cat([turned, poses[:, 4:] - rest_from_head[4:]], 1)


def pose_features(head: np.ndarray, rest_from_head: Tensor, fps: float, cuts: Sequence[int] = ()) -> Tensor:
    """What the body's pose is predicted from [T,18]: the head's pose now and its means over 1 s and 3 s, per shot."""
    now = relative_pose(head, rest_from_head)
    slow = torch.empty(len(now), POSE_FEATURES - 6)
    for shot in shots(now, cuts):
        slow[shot] = torch.cat([_smoothed(now[shot], round(seconds * fps / 2)) for seconds in (1.0, 3.2)], 1)
    return torch.cat([now, slow], 1)


def shots(pose: Tensor, cuts: Sequence[int] = ()) -> list[slice]:
    """Stretches of relative poses [T,6] without a cut: at the frames named, and wherever the pose jumps."""
    step = pose.diff(dim=0)
    jumps = (step[:, :3].norm(dim=1) > _JUMP_RAD) | (step[:, 3:].norm(dim=1) > _JUMP_U)
    starts = sorted({0, *(cut for cut in cuts if 0 < cut < len(pose)), *(jumps.nonzero()[:, 0] + 1).tolist()})
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], len(pose)], strict=True)]


def _smoothed(values: Tensor, half: int) -> Tensor:
    """Columns of [T,C] under a Hann window of 2 half + 1 frames; the ends are held."""
    window = torch.hann_window(2 * half + 3, periodic=False)[1:-1]
    padded = torch.cat([values[:1].expand(half, -1), values, values[-1:].expand(half, -1)])
    return torch.nn.functional.conv1d(padded.T[:, None], (window / window.sum())[None, None])[:, 0].T
