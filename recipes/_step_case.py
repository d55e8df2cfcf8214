# SPDX-License-Identifier: Apache-2.0
"""The case on which a training step is timed: a linear head of fixed random content, and its own film as the capture.

The Gaussians are those of `_scene.py`; every frame turns and blends them a little, the lower third hangs on the body.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from avatar3d.avatar._codes import EXTRA_CODES, POSE_FEATURES
from avatar3d.avatar._driven import CARRIED
from avatar3d.avatar._fit_settings import FitSettings
from avatar3d.avatar._linear_fit import LinearFit
from avatar3d.avatar.linear import LinearHead
from avatar3d.contracts import Perceptual, Tools
from avatar3d.geometry import quat_from_rotvec, quat_multiply
from avatar3d.recipes import _scene
from avatar3d.records import Camera, Capture, Landmarks, Motion, Track, held_out_start
from avatar3d.render.native import Native

FRAMES = 44
EXPRESSION = 16
CODES = EXPRESSION + EXTRA_CODES
_FACING = (0.0, 1.0, 0.0, 0.0)  # head space's y up and z out, in OpenCV's axes
_FPS = 25.0
_VERTICES, _BALL_U = 468, 0.5


def step_case(size: int, count: int, draw: Native, perceptual: Perceptual | None, seed: int = 0) -> LinearFit:
    """What is trained: grey Gaussians that are to become those of the film.

    Args:
        size: px, width and height.
        count: Gaussians.
        draw: what the training draws with; the film is drawn with it too.
    """
    g = torch.Generator().manual_seed(seed)
    motion = _motion(np.random.default_rng(seed))
    head = _head(size, count, g)
    frames = _film(head, motion, draw)
    masks = np.full((FRAMES, size, size), 255, np.uint8)
    capture = Capture(frames, None, _FPS, (), "made up", masks)
    grey = {"colours": torch.full((count, 3), 0.5), "tables": torch.zeros_like(head.parts["tables"])}
    start = LinearHead(head.parts | grey, size, size)
    whole = FitSettings(coarse_until=0.0)
    return LinearFit(start, capture, _track(head.camera, motion, size), Tools(draw, perceptual), whole)


def _motion(random: np.random.Generator) -> Motion:
    turn = torch.from_numpy(0.08 * np.sin(0.3 * np.arange(FRAMES)[:, None] + [0, 1, 2])).float()
    quats = quat_multiply(quat_from_rotvec(turn), torch.tensor(_FACING).expand(FRAMES, 4)).numpy()
    shift = 0.03 * random.standard_normal((FRAMES, 3)) + [0, 0, _scene.DISTANCE_U]
    return Motion(
        expression=random.standard_normal((FRAMES, EXPRESSION)).astype(np.float32),
        blink=random.random((FRAMES, 2)).astype(np.float32),
        gaze=(0.1 * random.standard_normal((FRAMES, 4))).astype(np.float32),
        head=np.concatenate([quats, shift], 1).astype(np.float32),
        fps=_FPS,
    )


def _head(size: int, count: int, g: torch.Generator) -> LinearHead:
    scene = _scene.head(size, count, seed=1)
    rest = torch.tensor([*_FACING, 0.0, 0.0, _scene.DISTANCE_U])
    spread = torch.tensor([0.003] * 3 + [0.03] * 3 + [0.02] * 3)
    return LinearHead(
        {
            "means": scene.means,
            "quats": scene.quats,
            "log_scales": scene.scales.log(),
            "opacity_logits": scene.opacities.logit(),
            "colours": scene.colours,
            "skin_logits": 12 * scene.means[:, 1] + 4,
            "group": torch.zeros(count, dtype=torch.uint8),
            "tables": spread * torch.randn(CODES, count, CARRIED, generator=g),
            "background": torch.rand(3, 8, 8, generator=g).repeat_interleave(size // 8, 1)
            .repeat_interleave(size // 8, 2).permute(1, 2, 0).contiguous(),
            "camera_K": scene.K,
            "rest_pose": rest,
            "code_offset": torch.zeros(CODES),
            "code_scale": torch.ones(CODES),
            "pose_offset": torch.zeros(POSE_FEATURES),
            "pose_scale": torch.ones(POSE_FEATURES),
            "body_map": torch.zeros(1 + POSE_FEATURES, 6),
            "arkit_map": torch.zeros(53, EXPRESSION),
        },
        size,
        size,
    )  # fmt: skip


def _film(head: LinearHead, motion: Motion, draw: Native) -> np.ndarray:
    """[T,H,W,3] uint8."""
    with torch.no_grad():
        drawn = [draw(head.pose(code), head.camera).over(head.background) for code in head.encode(motion)]
        return (torch.stack(drawn).clamp(0, 1) * 255).round().byte().numpy()


def _track(camera: Camera, motion: Motion, size: int) -> Track:
    # where lips and eyes lie only decides how much a pixel counts; the face itself, a ball, what of a head is solid
    angle = np.arange(478) * math.pi * (3 - math.sqrt(5))
    height = np.linspace(-1, 1, _VERTICES)[:, None]
    around = np.stack([np.cos(angle), np.sin(angle)], 1)[:_VERTICES]
    ball = np.concatenate([np.sqrt(1 - height**2) * around, height], 1)
    ring = 0.5 + 0.1 * np.stack([np.cos(angle), np.sin(angle)], 1)
    points = np.concatenate([size * ring, np.zeros((478, 1))], 1).astype(np.float32)
    landmarks = Landmarks(np.repeat(points[None], FRAMES, 0), np.zeros((FRAMES, 52), np.float32), np.ones(FRAMES, bool))
    return Track(
        camera=camera,
        neutral=(_BALL_U * ball).astype(np.float32),
        basis=np.zeros((_VERTICES, 3, EXPRESSION), np.float32),
        motion=motion,
        landmarks=landmarks,
        confidence=np.ones(FRAMES, np.float32),
        fitted_frames=held_out_start(FRAMES),
        focal_observable=True,
        arkit_map=np.zeros((53, EXPRESSION), np.float32),
    )
