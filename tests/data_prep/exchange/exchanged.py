# SPDX-License-Identifier: Apache-2.0
"""A made-up capture with an off-centre optical axis and two frames that are not to be trusted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import made_up
import numpy as np
import torch

from avatar3d.data_prep.exchange import Views
from avatar3d.face.rig import rig_vertices
from avatar3d.geometry import apply_pose, project
from avatar3d.records import SAMPLE_RATE, Camera, Capture, Sound, Track

LOST = (3, 17)


@dataclass(frozen=True)
class Scene:
    """What is written, and where its points are seen."""

    capture: Capture
    track: Track
    frames: np.ndarray  # [T] those that are trusted
    vertices: np.ndarray  # [T,468,3] u in head space, of those
    seen: np.ndarray  # [T,468,2] px, of those


def make_scene(face_task: Path) -> Scene:
    made = made_up.make(face_task, 44)
    camera = made.track.camera
    K = camera.K.clone()
    K[:2, 2] += torch.tensor([3.25, -1.5])
    confidence = made.track.confidence.copy()
    confidence[list(LOST)] = 0
    track = replace(
        made.track, camera=Camera(K, camera.cam_from_world, camera.width, camera.height), confidence=confidence
    )
    size = made_up.SIZE
    row, column = np.mgrid[:size, :size]
    person = 255 * ((np.hypot(column - size / 2, (row - size / 2) / 1.3) < size / 3) | (row > 0.85 * size))
    masks = np.repeat(person.astype(np.uint8)[None], len(confidence), 0)
    background = np.full((size, size, 3), (20, 90, 160), np.uint8)
    sound = Sound(np.linspace(-0.5, 0.5, round(len(confidence) / 25 * SAMPLE_RATE)).astype(np.float32), SAMPLE_RATE)
    capture = replace(made.capture, masks=masks, background=background, sound=sound)
    frames = np.flatnonzero(confidence > 0)
    vertices = rig_vertices(track.neutral, track.basis, track.motion.expression[frames]).astype(np.float64)
    head = torch.from_numpy(track.motion.head[frames]).double()
    seen = project(apply_pose(head, torch.from_numpy(vertices)), K.double()).numpy()
    return Scene(capture, track, frames, vertices, seen)


def seen_by(views: Views, points: np.ndarray) -> np.ndarray:
    """[T,N,2] px of points [T,N,3] in the tool's own head space, by the pinhole equation."""
    R, t = views.cam_from_head[:, :3, :3], views.cam_from_head[:, :3, 3]
    x, y, z = np.moveaxis(np.einsum("tij,tnj->tni", R, points) + t[:, None], -1, 0)
    return np.stack([views.K[0, 0] * x / z + views.K[0, 2], views.K[1, 1] * y / z + views.K[1, 2]], -1)
