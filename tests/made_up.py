# SPDX-License-Identifier: Apache-2.0
"""A person whose every Gaussian is known: a linear head with painted colours, filmed at 64 px while it speaks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from avatar3d.avatar._scatter import Counts
from avatar3d.avatar.linear import LinearHead, LinearSettings
from avatar3d.avatars import Avatar, save_avatar
from avatar3d.face.canonical import load_canonical
from avatar3d.geometry import apply_pose, intrinsics, project, quat_from_rotvec, quat_multiply
from avatar3d.records import Camera, Capture, Landmarks, Motion, Track, held_out_start
from avatar3d.render.native import Native

SIZE = 64
COUNTS = Counts(head=900, shell=900, mouth=100, torso=400, core=0)
SETTINGS = LinearSettings(COUNTS, expression=2)


@dataclass(frozen=True)
class MadeUp:
    """The film, its track, and the head it was drawn from."""

    capture: Capture
    track: Track
    triangles: np.ndarray
    truth: LinearHead


def make(face_task: Path, frames: int = 66) -> MadeUp:
    """The last six frames or so are held out."""
    face = load_canonical(face_task)
    motion = _motion(frames)
    camera = Camera(intrinsics(2.2 * SIZE, SIZE, SIZE), torch.eye(4), SIZE, SIZE)
    basis = _basis(face.vertices)
    track = Track(
        camera=camera,
        neutral=face.vertices,
        basis=basis,
        motion=motion,
        landmarks=_landmarks(face.vertices, basis, motion, camera),
        confidence=np.ones(frames, np.float32),
        fitted_frames=held_out_start(frames),
        focal_observable=True,
        arkit_map=np.linspace(-1, 1, 53 * 2, dtype=np.float32).reshape(53, 2),
    )
    empty = Capture(np.zeros((frames, SIZE, SIZE, 3), np.uint8), None, 25.0, (), "made up")
    truth = _painted(LinearHead.from_track(empty, track, face.triangles, SETTINGS, seed=7))
    return MadeUp(replace(empty, frames=film(truth, motion)), track, face.triangles, truth)


def avatar(face_task: Path) -> Avatar:
    """Its head with a clip of 22 frames, without a voice."""
    made = make(face_task, 22)
    return Avatar(made.truth, None, made.track.motion, {"name": "made"})


def saved_avatar(face_task: Path, folder: Path) -> Path:
    """The same as a folder."""
    save_avatar(folder / "made.avatar", avatar(face_task))
    return folder / "made.avatar"


def film(head: LinearHead, motion: Motion) -> np.ndarray:
    """[T,H,W,3] uint8."""
    draw, drawn = Native(), []
    with torch.no_grad():
        for code in head.encode(motion):
            picture = draw(head.pose(code), head.camera).over(head.background)
            drawn.append((picture.clamp(0, 1) * 255).round().byte().numpy())
    return np.stack(drawn)


def _motion(frames: int) -> Motion:
    t = np.arange(frames)
    speech = np.stack([np.sin(t * 0.9), np.sin(t * 0.37 + 1)], 1) * np.sqrt(2)
    turn = np.stack([0.06 * np.sin(t * 0.21), 0.12 * np.sin(t * 0.13), 0.03 * np.sin(t * 0.17)], 1)
    facing = torch.tensor([0.0, 1.0, 0.0, 0.0]).expand(frames, 4)  # head space's y up and z out, in OpenCV's axes
    quats = quat_multiply(quat_from_rotvec(torch.from_numpy(turn).float()), facing)
    shift = np.stack([0.05 * np.sin(t * 0.11), 0.03 * np.sin(t * 0.19), 5.4 + 0 * t], 1)
    blink = np.repeat((t % 17 < 2)[:, None], 2, 1)
    return Motion(
        expression=speech.astype(np.float32),
        blink=blink.astype(np.float32),
        gaze=np.zeros((frames, 4), np.float32),
        head=np.concatenate([quats.numpy(), shift], 1).astype(np.float32),
        fps=25.0,
    )


def _basis(vertices: np.ndarray) -> np.ndarray:
    """[468,3,2]: an opening jaw, and corners of the mouth that move apart."""
    below = np.clip((-0.35 - vertices[:, 1]) / 0.3, 0, 1)
    beside = np.exp(-np.square((np.abs(vertices[:, 0]) - 0.22) / 0.12) - np.square((vertices[:, 1] + 0.43) / 0.15))
    basis = np.zeros((*vertices.shape, 2), np.float32)
    basis[:, 1, 0] = -0.06 * below
    basis[:, 0, 1] = 0.04 * beside * np.sign(vertices[:, 0])
    return basis


def _landmarks(neutral: np.ndarray, basis: np.ndarray, motion: Motion, camera: Camera) -> Landmarks:
    frames = len(motion)
    moved = neutral + np.einsum("vik,tk->tvi", basis, motion.expression)
    seen = project(apply_pose(torch.from_numpy(motion.head), torch.from_numpy(moved).float()), camera.K).numpy()
    points = np.zeros((frames, 478, 3), np.float32)
    points[:, :468, :2] = seen
    points[:, 468:473, :2], points[:, 473:, :2] = seen[:, [159]], seen[:, [386]]
    return Landmarks(points, np.zeros((frames, 52), np.float32), np.ones(frames, bool))


def _painted(head: LinearHead) -> LinearHead:
    means = head.parts["means"]
    colours = 0.5 + 0.4 * torch.sin(means @ torch.tensor([[5.0, 1, 2], [2, 6, 1], [1, 2, 5]]))
    across = torch.linspace(0.1, 0.6, SIZE)
    room = torch.stack(
        [across[:, None].expand(SIZE, SIZE), across.expand(SIZE, SIZE), torch.full((SIZE, SIZE), 0.3)], -1
    )
    opaque = torch.full_like(head.parts["opacity_logits"], 2.5)
    head.parts |= {"colours": colours, "background": room.contiguous(), "opacity_logits": opaque}
    return head
