# SPDX-License-Identifier: Apache-2.0
"""A small avatar that a browser plays: a cloud with random tables, driven and voiced by random numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from avatar3d.audio.mel import Mel
from avatar3d.avatar._codes import EXTRA_CODES, POSE_FEATURES
from avatar3d.avatar.linear import LinearHead
from avatar3d.avatars import Avatar
from avatar3d.geometry import compose, intrinsics, normalise, quat_from_rotvec
from avatar3d.motion._manner import Manner
from avatar3d.motion._polish import BlinkHabit
from avatar3d.motion._seal import Seal
from avatar3d.motion._tcn_net import TcnNet, TcnShape
from avatar3d.motion.tcn import Tcn
from avatar3d.records import FPS, Motion, Sound

SIDE, COUNT, EXPRESSIONS, FRAMES = 128, 1500, 3, 40
CODES = EXPRESSIONS + EXTRA_CODES
FACING = torch.tensor([0.0, 1.0, 0, 0, 0, 0, 9])  # looks into the camera


def avatar() -> Avatar:
    """The avatar; its clip brings no pose of the body."""
    return Avatar(head(), voice(), clip(), {"name": "me </script><b>", "consent": "made up"})


def head() -> LinearHead:
    g = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    means = normalise(random(COUNT, 3)) * torch.tensor([0.8, 1.1, 0.9])
    channels = torch.tensor([0.02] * 3 + [0.2] * 3 + [0.05] * 3)
    parts = {
        "means": means, "quats": random(COUNT, 4), "log_scales": random(COUNT, 3) * 0.4 - 3,
        "opacity_logits": random(COUNT), "colours": (0.5 + 0.4 * torch.sin(5 * means)).clamp(0, 1),
        "skin_logits": 6 * means[:, 1] + 3, "group": torch.zeros(COUNT, dtype=torch.uint8),
        "tables": random(CODES, COUNT, 9) * channels,
        "background": torch.tensor([40, 120, 200.0]).expand(SIDE, SIDE, 3) / 255,
        "camera_K": intrinsics(2.4 * SIDE, SIDE, SIDE), "rest_pose": FACING,
        "code_offset": 0.1 * random(CODES), "code_scale": torch.rand(CODES, generator=g) + 0.5,
        "pose_offset": 0.02 * random(POSE_FEATURES), "pose_scale": torch.full((POSE_FEATURES,), 0.1),
        "body_map": 0.02 * random(1 + POSE_FEATURES, 6), "arkit_map": random(53, EXPRESSIONS),
    }  # fmt: skip
    return LinearHead(parts, SIDE, SIDE)


def clip() -> Motion:
    """A head that turns to and fro, and a face that does everything a little."""
    t = torch.arange(FRAMES) / FPS
    turn = 0.2 * torch.stack([torch.sin(3 * t), torch.sin(5 * t), torch.sin(2 * t)], 1)
    heads = compose(FACING.expand(FRAMES, 7), torch.cat([quat_from_rotvec(turn), 0.3 * turn], 1))
    wave = np.sin(np.arange(FRAMES)[:, None] * [0.3, 0.5, 0.9]).astype(np.float32)
    return Motion(wave, (wave[:, :2] + 1) / 2, 0.1 * wave[:, [0, 1, 2, 0]], heads.float().numpy(), FPS)


def voice(ahead: int | None = None) -> Tcn:
    """An untrained voice with random linear maps."""
    listen = Mel()
    shape = TcnShape(listen.width, EXPRESSIONS, members=2, channels=4, dilations=(1, 2), contexts=(1, 3))
    torch.manual_seed(0)
    net = TcnNet(shape if ahead is None else replace(shape, ahead=ahead)).eval()
    with torch.no_grad():
        net.linear.normal_(0, 0.05)
        net.leave.weight.normal_(0, 0.5)
        net.feature_mean.normal_(0, 0.3)
    seen, change = torch.randn(50, EXPRESSIONS).numpy(), torch.randn(3, 3, EXPRESSIONS).numpy()
    lips = Seal(np.ones((3, 3), np.float32), change, np.array([0.0, 6.0], np.float32))
    ends = np.full(EXPRESSIONS, 2.5, np.float32)
    return Tcn(
        listen,
        net,
        Manner(1.3, np.full(EXPRESSIONS, -1.5, np.float32), seen, -ends, ends, 0.3 * ends, 0.1, BlinkHabit(), 15, lips),
    )


def tone(seconds: float = 1.6, rate: int = 24_000) -> Sound:
    """A buzz like a voice, with silence behind it."""
    t = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20))
    return Sound((0.2 * buzz * (t < 0.6 * seconds)).astype(np.float32), rate)
