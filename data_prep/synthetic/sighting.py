# SPDX-License-Identifier: Apache-2.0
"""A made-up person as a landmark detector sees one: a known face that moves in a known way, and noise.

The canonical face with a smooth change of shape, nine expression fields (the last opens the jaw) and blinks; the head
wanders slowly. The detector's noise is half white, half smeared over five frames, per coordinate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from avatar3d.face.canonical import CanonicalFace
from avatar3d.geometry import apply_pose, intrinsics, project, quat_from_rotvec, quat_multiply
from avatar3d.records import Capture, Landmarks

SIZE = 512
UPPER_LIDS = (161, 160, 159, 158, 157, 388, 387, 386, 385, 384)
LID_CORNERS = (246, 466)
BLINK = (0.1, 0.5, 0.8, 1.0, 0.7, 0.4, 0.1)
BLINK_EVERY = 70
_IRIS_BACK_U = 0.02


@dataclass(frozen=True)
class Sighting:
    """The truth, and its landmarks."""

    capture: Capture
    landmarks: Landmarks
    vertices: np.ndarray  # [T,468,3] u in head space
    head: np.ndarray  # [T,7] world_from_head
    blink: np.ndarray  # [T]
    focal_px: float


def sighting(
    face: CanonicalFace,
    frames: int = 300,
    yaw_deg: float = 20.0,
    focal_px: float = 1200.0,
    noise_px: float = 0.5,
    cuts: tuple[int, ...] = (),
    seed: int = 1,
) -> Sighting:
    """A person whose yaw swings between about -yaw_deg and yaw_deg, pitch and roll by a quarter of that."""
    rng = np.random.default_rng(seed)
    vertices, blink = _moving_face(face.vertices.astype(np.float64), frames, rng)
    head = _wandering_head(frames, yaw_deg, focal_px, cuts, rng)
    camera = intrinsics(focal_px, SIZE, SIZE).double()
    points = np.concatenate([vertices, _irises(vertices)], 1)
    picture = project(apply_pose(torch.from_numpy(head), torch.from_numpy(points)), camera).numpy()
    picture = picture + noise_px * (_white(picture.shape, rng) + _smeared(picture.shape, rng))
    seen = np.concatenate([picture, np.zeros_like(picture[..., :1])], -1).astype(np.float32)
    scores = np.clip(rng.uniform(0, 0.05, (frames, 52)), 0, 1).astype(np.float32)
    scores[:, 9] = scores[:, 10] = blink
    scores[:, 25] = _opening(vertices) / _opening(vertices).max()
    return Sighting(
        Capture(np.zeros((1, SIZE, SIZE, 3), np.uint8), None, 25.0, cuts, "made up"),
        Landmarks(seen, scores, np.ones(frames, bool)),
        vertices,
        head,
        blink,
        focal_px,
    )


def without(landmarks: Landmarks, rows: list[int] | slice) -> Landmarks:
    """The same landmarks with the face lost in some frames."""
    points, scores, found = landmarks.points.copy(), landmarks.scores.copy(), landmarks.found.copy()
    points[rows], scores[rows], found[rows] = np.nan, np.nan, False
    return Landmarks(points, scores, found)


def _opening(vertices: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vertices[:, 13] - vertices[:, 14], axis=-1)


def _moving_face(canonical: np.ndarray, frames: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    height = canonical[:, 1]
    lower = 1 / (1 + np.exp((height + 0.25) * 15))
    lids, brows = np.exp(-(((height - 0.27) / 0.1) ** 2)), np.exp(-(((height - 0.5) / 0.1) ** 2))
    free = np.clip(lower + 0.8 * lids + 0.6 * brows, 0, 1)[:, None, None]
    shape = canonical + _bumps(canonical, 12, 0.5, 0.035, rng).sum(-1)
    fields = _bumps(canonical, 8, 0.25, 0.025, rng) * free
    jaw = (height < -0.42) * np.exp(-(((height + 0.9) / 0.6) ** 2))
    fields = np.concatenate([fields, (jaw[:, None] * (0.0, -0.15, -0.04))[..., None]], -1)
    codes = _wander(frames, 9, 3, rng)
    codes[:, -1] = np.abs(codes[:, -1])
    blink = np.zeros(frames)
    for start in range(25, frames - len(BLINK), BLINK_EVERY):
        blink[start : start + len(BLINK)] = BLINK
    lid = np.zeros_like(canonical)
    lid[list(UPPER_LIDS), 1], lid[list(LID_CORNERS), 1] = -0.09, -0.04
    vertices = shape + np.einsum("vik,tk->tvi", fields, codes) + blink[:, None, None] * lid
    return vertices, blink


def _wandering_head(
    frames: int, yaw_deg: float, focal_px: float, cuts: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    swing = _wander(frames, 6, 40, rng)
    swing /= np.abs(swing).max(0)
    turn = np.deg2rad(yaw_deg) * swing[:, :3] * (0.5, 1.0, 0.25)
    shift = 0.1 * swing[:, 3:] + (0, 0, 6.0 * focal_px / 1200)
    for number, cut in enumerate(cuts):
        shift[cut:] += (0.3 * (-1) ** number, 0.05, 0.0)
        turn[cut:, 1] += 0.1 * (-1) ** number
    facing = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    quats = quat_multiply(quat_from_rotvec(torch.from_numpy(turn)), facing.expand(frames, 4))
    return np.concatenate([quats.numpy(), shift], 1)


def _irises(vertices: np.ndarray) -> np.ndarray:
    right, left = vertices[:, [33, 133]].mean(1), vertices[:, [362, 263]].mean(1)
    back = np.array([0.0, 0.0, _IRIS_BACK_U])
    return np.stack([right - back] * 5 + [left - back] * 5, 1)


def _bumps(canonical: np.ndarray, count: int, reach_u: float, size_u: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth displacement fields [V,3,count]."""
    centres = canonical[rng.integers(0, len(canonical), count)]
    near = np.exp(-((np.linalg.norm(canonical[:, None] - centres, axis=-1) / reach_u) ** 2))
    return near[:, None] * rng.standard_normal((3, count)) * size_u


def _wander(frames: int, count: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth random curves [T,count] of unit variance."""
    kernel = np.exp(-(np.linspace(-2, 2, 2 * width + 1) ** 2))
    white = rng.standard_normal((frames + 2 * width, count))
    return np.stack([np.convolve(curve, kernel / np.linalg.norm(kernel), "valid") for curve in white.T], 1)


def _white(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(shape)


def _smeared(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Noise of unit variance, correlated over five frames."""
    white = rng.standard_normal((shape[0] + 4, *shape[1:]))
    return np.sum([white[start : start + shape[0]] for start in range(5)], axis=0) / 5**0.5
