# SPDX-License-Identifier: Apache-2.0
"""What the canonical face lacks: back of the head, ears, neck, shirt, eyeballs and the inside of the mouth (cm)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from avatar3d.data_prep.synthetic.face import EYE_RADIUS
from avatar3d.data_prep.synthetic.mesh import Patch, Refined

SKULL_SOFT_ROWS = (0.6, 0.35, 0.1)  # how much of the jaw's swing the rows behind the oval take
EYE_SPAN_RAD = 3.6  # angle from the axis of sight that fills the eye's tile, edge to edge


def ring(refined: Refined, loop: Sequence[int]) -> np.ndarray:
    """A loop of the face with its edge midpoints, closed [2 * len(loop) + 1]."""
    pairs = pairwise((*loop, loop[0]))
    return np.array([vertex for a, b in pairs for vertex in (a, refined.midpoint(a, b))] + [loop[0]])


def skull(outline: np.ndarray) -> Patch:
    """From the outline of the face [73,3] to a ring behind the ears and on to a pole."""
    spoke = outline[:, :2] - [0, 1.5]
    spoke /= np.linalg.norm(spoke, axis=1, keepdims=True)
    height = np.where(spoke[:, 1] > 0, 10.0, 6.5)
    ring = np.stack([7.7 * spoke[:, 0], 1.5 + height * spoke[:, 1], np.full(len(spoke), -5.5)], 1)
    pole = np.array([0, 2.5, -12.5])
    rows = [outline + (ring - outline) * share for share in (0, 0.25, 0.5, 0.75, 1)]
    rows += [pole + (ring - pole) * [wide, wide, deep] for wide, deep in ((0.85, 0.5), (0.5, 0.15), (0.02, 0))]
    return Patch(np.stack(rows), "skull", inside_out=True)


def ear(side: int) -> Patch:
    """A flat shell with a raised rim; side -1 is the person's right, +1 the left."""
    across, down = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.linspace(0, np.pi, 13))
    ring = np.sin(down)
    # a lobe narrower than the top
    depth = 1.45 * ring * np.sin(across) * (1 - 0.22 * (1 - np.cos(down)))
    points = np.stack([0.62 * ring * np.cos(across), 2.6 * np.cos(down), depth], -1)
    dip = np.exp(-((points[..., 1] - 0.1) ** 2) / 1.4 - (points[..., 2] - 0.25) ** 2 / 0.35)
    outer = np.cos(across) * side > 0
    points[..., 0] -= side * np.where(outer, 0.55 * dip, 0)
    points[..., 0] -= side * 0.34 * points[..., 2]
    points[..., 1] -= 0.12 * points[..., 2]
    return Patch(points + np.array([side * 7.75, 0.55, -3.4]), "ear", inside_out=True)


def _tube(name: str, rings: np.ndarray, shade: np.ndarray) -> Patch:
    """Stacked ovals closed round y; rings [R,4]: y, half width, half depth, z of the middle."""
    turn = np.linspace(0, 2 * np.pi, 49)
    across = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** 0.85
    y, wide, deep, middle = (column[:, None] for column in rings.T)
    points = np.stack([wide * across, np.broadcast_to(y, (len(rings), len(turn))), middle + deep * np.cos(turn)], -1)
    return Patch(points, name, shade)


def neck() -> Patch:
    """From inside the skull down into the collar; it leans back so as not to show through an open mouth."""
    rings = np.array([
        (-2.0, 4.3, 4.6, -6.0), (-4.1, 4.35, 4.6, -5.4), (-6.2, 4.4, 4.65, -4.6), (-8.4, 4.4, 4.6, -4.0),
        (-10.5, 4.45, 4.65, -3.8), (-12.6, 4.75, 4.85, -3.9), (-14.8, 5.5, 5.15, -4.1), (-16.9, 6.2, 5.3, -4.2),
        (-19.0, 6.4, 5.4, -4.3),
    ])  # fmt: skip
    return _tube("neck", rings, np.linspace(0.9, 1.0, len(rings))[:, None])


def shirt() -> Patch:
    """A round collar with a rib, then shoulders that fall off."""
    rings = np.array([
        (-12.7, 4.9, 4.95, -4.3), (-12.4, 5.3, 5.35, -4.3), (-12.7, 5.8, 5.7, -4.3), (-13.3, 6.2, 6.0, -4.3),
        (-13.5, 6.5, 6.1, -4.35), (-14.0, 8.8, 6.35, -4.4), (-14.9, 12.3, 6.9, -4.4), (-16.4, 16.3, 7.5, -4.4),
        (-19.0, 19.3, 8.2, -4.4), (-23.1, 20.8, 9.0, -4.4), (-30.1, 21.5, 10.0, -4.4), (-39.1, 21.0, 10.0, -4.4),
    ])  # fmt: skip
    shade = np.array([0.55, 1.0, 1.0, 0.95, 0.72, 0.95, 1, 1, 1, 0.97, 0.9, 0.85])[:, None]
    return _tube("shirt", rings, shade)


def eyeball() -> Patch:
    """A ball about the origin, polar round the axis of sight (+z), so that the iris is a disc of its tile."""
    angle, turn = np.meshgrid(np.linspace(0, 1.75, 16), np.linspace(0, 2 * np.pi, 33), indexing="ij")
    points = np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.cos(angle)], -1)
    uv = np.stack([0.5 + angle / EYE_SPAN_RAD * np.cos(turn), 0.5 - angle / EYE_SPAN_RAD * np.sin(turn)], -1)
    return Patch(EYE_RADIUS * points, "eye", uv=uv, welded=False)


def mouth_bag_rows(lips: np.ndarray) -> np.ndarray:
    """The cavity behind the inner lips [41,3]: rings that go back and close [4,41,3]."""
    middle = lips.mean(0)
    spoke = lips - middle
    rows = [
        lips,
        middle + spoke * [1.05, 1.1, 1] - [0, 0, 0.8],
        middle + spoke * [0.9, 0.9, 1] - [0, 0, 1.9],
        middle + spoke * 0 - [0, 0, 2.5],
    ]
    return np.stack(rows).astype(np.float32)


def mouth_bag(lips: np.ndarray) -> Patch:
    """The cavity at rest; it darkens inwards."""
    shade = np.array([0.8, 0.42, 0.22, 0.15])[:, None]
    return Patch(mouth_bag_rows(lips), "mouth", shade, welded=False)


def eye_pocket_rows(lids: np.ndarray) -> np.ndarray:
    """What lies behind the corners of the lids [33,3], beside the ball: [3,33,3]."""
    middle = lids.mean(0)
    rows = [lids, middle + 0.95 * (lids - middle) - [0, 0, 0.55], middle + 0 * lids - [0, 0, 1.2]]
    return np.stack(rows).astype(np.float32)


def eye_pocket(lids: np.ndarray, inside_out: bool) -> Patch:
    """The pink corners of an eye at rest."""
    return Patch(eye_pocket_rows(lids), "tongue", np.array([0.75, 0.6, 0.3])[:, None], inside_out, welded=False)


def _arch(x: np.ndarray, y: np.ndarray | float, z: float) -> np.ndarray:
    return np.stack([x, np.zeros_like(x) + y, z - 0.30 * x**2], 1)


def upper_teeth() -> Patch:
    """A band that hangs from the skull, behind the lip line."""
    x = np.linspace(-2.3, 2.3, 25)
    rows = [_arch(x, -2.9, 4.45), _arch(x, -3.6, 4.62), _arch(x, -4.40 + 0.045 * x**2, 4.55)]
    light = np.array([0.62, 0.95, 1.05])[:, None] * (1 - 0.6 * (x / 2.3) ** 2)
    return Patch(np.stack(rows), "teeth", light)


def lower_teeth() -> Patch:
    """A band that stands on the jaw; its lower edge leans behind the lip."""
    x = np.linspace(-2.3, 2.3, 25)
    rows = [_arch(x, -4.50 - 0.02 * x**2, 4.2), _arch(x, -4.9, 4.3), _arch(x, -5.6, 4.2)]
    light = np.array([0.8, 0.7, 0.45])[:, None] * (1 - 0.6 * (x / 2.3) ** 2)
    return Patch(np.stack(rows), "teeth", light)


def tongue() -> Patch:
    """An ellipsoid on the floor of the mouth."""
    across, down = np.meshgrid(np.linspace(0, 2 * np.pi, 21), np.linspace(0, np.pi, 9))
    points = np.stack(
        [
            1.45 * np.sin(down) * np.cos(across),
            0.55 * np.cos(down) - 0.12 * np.exp(-((np.sin(down) * np.cos(across)) ** 2) / 0.03),
            1.7 * np.sin(down) * np.sin(across),
        ],
        -1,
    )
    return Patch(points + np.array([0, -4.95, 2.95]), "tongue", 0.7, inside_out=True)
