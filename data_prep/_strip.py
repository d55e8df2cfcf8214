# SPDX-License-Identifier: Apache-2.0
"""A rig's basis as a strip of small shaded heads: what each of its numbers does to the face."""

from __future__ import annotations

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from avatar3d.face.groups import INNER_LIPS, LEFT_EYE, RIGHT_EYE
from avatar3d.face.rig import triangles_within
from avatar3d.records import Track

SIGMAS = 2.5  # how far each number is turned to either side; it has unit variance over the capture
_YAW_DEG = -38.0  # of the second view
_CELL_PX, _FINE = 112, 3  # each head is drawn larger and shrunk, for smooth edges
_FACE_SHARE = 0.84  # of the cell's height
_LIGHT = np.array([-0.35, 0.45, 0.82])  # towards it, in head space
_SKIN, _MOVED = np.array([203.0, 190.0, 178.0]), np.array([15.0, 143.0, 131.0])
_MOVED_U = 0.06  # a vertex that moves this far has the second colour


def shares(track: Track) -> np.ndarray:
    """Share [K] of each component in the motion of the face's vertices."""
    energy = np.square(track.basis, dtype=np.float64).sum((0, 1))
    return energy / max(float(energy.sum()), 1e-12)


def basis_strip(track: Track, triangles: np.ndarray, components: np.ndarray) -> np.ndarray:
    """The neutral face and some components at -SIGMAS and +SIGMAS, from the front and from the side.

    Args:
        triangles: [N,3] of the rig's 468 vertices.
        components: which, one column of four heads each; the first column shows the neutral face.

    Returns:
        [4*C,(1+len)*C,4] uint8 with a transparent ground. Rows: front -, front +, turned -, turned +.
    """
    holes = np.any([triangles_within(triangles, loop) for loop in (INNER_LIPS, RIGHT_EYE, LEFT_EYE)], axis=0)
    skin = triangles[~holes]
    columns = [_column(track, skin, None), *(_column(track, skin, int(component)) for component in components)]
    return np.concatenate(columns, axis=1)


def _column(track: Track, triangles: np.ndarray, component: int | None) -> np.ndarray:
    blank = np.zeros((_CELL_PX, _CELL_PX, 4), np.uint8)
    if component is None:
        front, side = (_head(track.neutral, track.neutral, triangles, yaw) for yaw in (0.0, _YAW_DEG))
        return np.concatenate([front, blank, side, blank])
    moved = [track.neutral + sign * SIGMAS * track.basis[..., component] for sign in (-1, 1)]
    return np.concatenate([_head(each, track.neutral, triangles, yaw) for yaw in (0.0, _YAW_DEG) for each in moved])


def _head(vertices: np.ndarray, neutral: np.ndarray, triangles: np.ndarray, yaw_deg: float) -> np.ndarray:
    """One shaded head [C,C,4]: triangles from the back to the front, coloured by how far they have moved."""
    side = _CELL_PX * _FINE
    low, high = neutral.min(0), neutral.max(0)
    turn = np.deg2rad(yaw_deg)
    rotation = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    turned = (vertices - (low + high) / 2) @ rotation.T
    scale = _FACE_SHARE * side / (high[1] - low[1])
    xy = np.stack([side / 2 + scale * turned[:, 0], side / 2 - scale * turned[:, 1]], 1)
    corners = turned[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    light = 0.35 + 0.65 * np.clip(normals @ (_LIGHT / np.linalg.norm(_LIGHT)), 0, 1)
    share = np.clip(np.linalg.norm(vertices - neutral, axis=1) / _MOVED_U, 0, 1)[triangles].mean(1)[:, None]
    colours = (light[:, None] * ((1 - share) * _SKIN + share * _MOVED)).astype(int)
    image = PillowImage.new("RGBA", (side, side))
    pen = ImageDraw.Draw(image)
    for index in np.argsort(corners[..., 2].mean(1)):
        if normals[index, 2] > 0:
            pen.polygon([(float(x), float(y)) for x, y in xy[triangles[index]]], fill=(*colours[index].tolist(), 255))
    return np.asarray(image.resize((_CELL_PX, _CELL_PX), PillowImage.Resampling.BOX))
