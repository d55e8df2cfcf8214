# SPDX-License-Identifier: Apache-2.0
"""Pictures to look at beside the figures: real and made side by side, and the head from other sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from avatar3d.geometry import matrix_from_quat, quat_from_rotvec, turn_about
from avatar3d.recipes._drawn import Player
from avatar3d.records import Camera

_ERROR_GAIN = 4
_LABEL_PX = 22
_TURNS_DEG = (-15.0, -7.5, 0.0, 7.5, 15.0)
_GREY = 0.5


def contact_sheet(rows: Sequence[tuple[np.ndarray, np.ndarray, str]]) -> np.ndarray:
    """Real | made | four times the error, a labelled row each.

    Args:
        rows: (real [H,W,3] uint8, made [H,W,3] uint8, label).
    """
    strips = []
    for real, made, label in rows:
        error = np.abs(made.astype(np.int32) - real) * _ERROR_GAIN
        strip = np.concatenate([real, made, error.clip(0, 255).astype(np.uint8)], 1)
        strips += [_label(f"{label}: real | made | error x{_ERROR_GAIN}", strip.shape[1]), strip]
    return np.concatenate(strips)


def orbit_sheet(player: Player, code: Tensor, centre: np.ndarray) -> np.ndarray:
    """One frame seen from the sides, then from above and below, over plain grey.

    Args:
        code: a row of the head's `encode`.
        centre: [3] u, the point of the world that the camera goes around.
    """
    camera = player.head.camera
    grey = torch.full((3,), _GREY)
    strips = []
    for axis, name in (((0.0, 1.0, 0.0), "camera to the side"), ((1.0, 0.0, 0.0), "camera up and down")):
        views = [player.frame(code, orbited(camera, centre, axis, math.radians(turn)), grey) for turn in _TURNS_DEG]
        strip = np.concatenate(views, 1)
        strips += [_label(f"{name}, deg: {', '.join(f'{turn:g}' for turn in _TURNS_DEG)}", strip.shape[1]), strip]
    return np.concatenate(strips)


def orbited(camera: Camera, centre: np.ndarray, axis: Sequence[float], angle_rad: float) -> Camera:
    """A camera that has gone around a point of the world, about an axis of the world, keeping its eye on the point.

    Args:
        centre: [3] u.
        axis: [3] of unit length.
    """
    turn = matrix_from_quat(quat_from_rotvec(torch.tensor(axis) * angle_rad))
    around = turn_about(turn, torch.as_tensor(centre, dtype=torch.float32))
    return replace(camera, cam_from_world=camera.cam_from_world @ around)


def _label(text: str, width: int) -> np.ndarray:
    strip = Image.new("RGB", (width, _LABEL_PX), "white")
    ImageDraw.Draw(strip).text((4, 3), text, "black", ImageFont.load_default())
    return np.asarray(strip)
