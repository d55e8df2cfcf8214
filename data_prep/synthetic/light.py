# SPDX-License-Identifier: Apache-2.0
"""Light as a table over directions: a soft key from above, a cool fill, a rim; and the film's tone curve.

Lamps stand still in the world, highlights included, so every camera sees the same light on the same point.
"""

from __future__ import annotations

import numpy as np

_SIDE = 128  # texels per side of each half of the table
_KEY = (-0.50, 0.52, 0.75)
_FILL = (0.85, 0.05, 0.45)
_RIM = (0.75, 0.35, -0.45)
_TONE_STEPS = 4096
_TONE_TOP = 4.0  # linear light that is white


def linear(display: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """Display values 0..1 as linear light."""
    return np.asarray(display, np.float32) ** 2.2


class Lamp:
    """Diffuse light (rgb) and highlight for every normal."""

    def __init__(self) -> None:
        self._table = _table()

    def __call__(self, normals: np.ndarray) -> np.ndarray:
        """Light [P,4] (rgb and highlight) on normals [P,3] of any length; x right, y up, z to the filming camera."""
        x, y, z = normals.T
        scale = (0.5 * _SIDE) / np.sqrt(x * x + y * y + z * z + 1e-12)
        column = np.clip(x * scale + 0.5 * _SIDE, 0, _SIDE - 1).astype(np.int32)
        row = np.clip(0.5 * _SIDE - y * scale, 0, _SIDE - 1).astype(np.int32)
        behind = (z < 0).astype(np.int32)
        return self._table.take((behind * _SIDE + row) * _SIDE + column, 0)


def _unit(vector: tuple[float, ...] | np.ndarray) -> np.ndarray:
    return np.asarray(vector) / np.linalg.norm(vector)


def _table() -> np.ndarray:
    """[2 * side * side,4] float32: normals towards the camera, then away from it."""
    y, x = np.mgrid[1 : -1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    z = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
    normal = np.stack([np.stack([x, y, sign * z], -1) for sign in (1, -1)])
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)

    def lamp(direction: tuple[float, float, float], wrap: float) -> np.ndarray:
        return ((normal @ _unit(direction) + wrap) / (1 + wrap)).clip(0, 1)[..., None]

    sky = 0.5 + 0.5 * normal[..., 1:2]
    # light that has wandered under the skin reddens the edge of the shadow
    bleed = (lamp(_KEY, 0.45) - lamp(_KEY, 0.12)).clip(0)
    diffuse = (
        1.22 * lamp(_KEY, 0.12) * [1.04, 0.98, 0.90]
        + 0.26 * lamp(_FILL, 0.4) * [0.88, 0.96, 1.10]
        + 0.20 * sky * [0.92, 0.97, 1.08]
        + 0.55 * lamp(_RIM, 0.0) ** 1.5 * [0.95, 1.0, 1.10]
        + 0.22 * bleed * [1.5, 0.35, 0.2]
        + 0.06
    )
    half = _unit(_unit(_KEY) + np.array([0.0, 0.0, 1.0]))
    toward = (normal @ half).clip(0, 1)[..., None]
    highlight = 0.16 * toward**16 + 1.0 * toward**120
    return np.concatenate([diffuse, highlight], -1).astype(np.float32).reshape(-1, 4)


def _tone_table() -> np.ndarray:
    light = np.linspace(0, _TONE_TOP, _TONE_STEPS)
    shoulder = light * (1 + light / _TONE_TOP**2) / (1 + 0.42 * light)  # bright light is held back, dark is not
    return (255 * np.clip(shoulder * 1.18, 0, 1) ** (1 / 2.2) + 0.5).astype(np.uint8)


_TONE = _tone_table()


def developed(light: np.ndarray) -> np.ndarray:
    """Linear light [...,3] as a picture, uint8."""
    return _TONE[np.clip(light * ((_TONE_STEPS - 1) / _TONE_TOP), 0, _TONE_STEPS - 1).astype(np.int32)]
