# SPDX-License-Identifier: Apache-2.0
"""The 468 vertices of a made-up person as a function of the controls.

Shapes are written as a few handles (vertex: displacement in cm) on the right half of the face. They are mirrored and
spread over the mesh by a Gaussian radial basis in five dimensions: x, y, z, and two that hold upper and lower lip, and
upper and lower lid, apart. So fields are smooth and lips and lids still part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from avatar3d.data_prep.synthetic.controls import COLUMN, FIELDS
from avatar3d.face.canonical import CanonicalFace
from avatar3d.face.groups import INNER_LIPS, LEFT_EYE, RIGHT_EYE

CM_PER_U = 10.0
UPPER_LIP, LOWER_LIP = INNER_LIPS[1:10], INNER_LIPS[:10:-1]
UPPER_LID, LOWER_LID = (RIGHT_EYE[1:8], LEFT_EYE[1:8]), (RIGHT_EYE[:8:-1], LEFT_EYE[:8:-1])
LID_CREASE = ((247, 30, 29, 27, 28, 56, 190), (467, 260, 259, 257, 258, 286, 414))
EYE_CENTRES = np.array([[-3.13, 2.66, 2.42], [3.13, 2.66, 2.42]], np.float32)  # cm
EYE_RADIUS = 1.36  # cm

Handles = Mapping[int, tuple[float, float, float]]

EXPRESSIONS: dict[str, Handles] = {
    "pucker": {
        61: (0.85, 0, 0.55), 78: (0.8, 0, 0.7), 40: (0.4, 0, 0.65), 91: (0.4, 0.05, 0.65), 0: (0, -0.05, 0.75),
        17: (0, 0.1, 0.7), 13: (0, -0.02, 0.6), 14: (0, 0.02, 0.6), 80: (0.35, 0, 0.6), 88: (0.35, 0, 0.6),
        187: (0.1, 0, 0),
    },
    "funnel": {
        61: (0.6, 0, 0.35), 78: (0.55, 0, 0.45), 40: (0.25, 0.2, 0.5), 91: (0.25, -0.2, 0.45), 0: (0, 0.25, 0.5),
        17: (0, -0.3, 0.5), 13: (0, 0.28, 0.45), 14: (0, -0.38, 0.4), 80: (0.25, 0.15, 0.4), 88: (0.25, -0.2, 0.4),
    },
    "smile": {
        61: (-0.7, 0.55, -0.4), 78: (-0.62, 0.5, -0.4), 40: (-0.3, 0.2, -0.2), 91: (-0.3, 0.2, -0.2),
        0: (0, 0.05, -0.12), 17: (0, 0.05, -0.12), 13: (0, 0.05, -0.1), 14: (0, 0.08, -0.1), 205: (-0.15, 0.35, 0.2),
        187: (-0.1, 0.3, 0.1), 50: (0, 0.2, 0.15),
    },
    "stretch": {
        61: (-0.6, -0.12, -0.35), 78: (-0.55, -0.1, -0.35), 40: (-0.2, -0.02, -0.1), 91: (-0.22, -0.05, -0.1),
        0: (0, -0.03, -0.05), 17: (0, 0, -0.08), 13: (0, 0, -0.05), 14: (0, 0, -0.05),
    },
    "press": {
        0: (0, -0.22, -0.2), 17: (0, 0.28, -0.2), 13: (0, 0, -0.25), 14: (0, 0, -0.25), 40: (0, -0.15, -0.12),
        91: (0, 0.2, -0.12), 61: (-0.08, 0, -0.1), 78: (-0.08, 0, -0.1),
    },
    "upper_lip": {
        0: (0, 0.5, 0.1), 13: (0, 0.56, 0.04), 37: (0, 0.5, 0.08), 40: (0, 0.45, 0.04), 80: (0, 0.48, 0),
        61: (0, 0.08, 0), 78: (0, 0.08, 0), 203: (0, 0.25, 0.08),
    },
    "lower_lip": {
        17: (0, -0.56, 0), 14: (0, -0.65, 0.05), 84: (0, -0.55, 0), 91: (0, -0.48, 0), 88: (0, -0.5, 0),
        61: (0, -0.06, 0), 78: (0, -0.06, 0), 18: (0, -0.35, 0),
    },
    "brow": {
        70: (0, 0.45, 0), 63: (0, 0.65, 0.05), 105: (0, 0.75, 0.05), 66: (0, 0.75, 0.05), 107: (0, 0.7, 0.05),
        46: (0, 0.4, 0), 53: (0, 0.6, 0), 52: (0, 0.65, 0), 65: (0, 0.65, 0), 55: (0, 0.6, 0), 27: (0, 0.12, 0),
        29: (0, 0.12, 0), 28: (0, 0.1, 0), 67: (0, 0.06, 0), 109: (0, 0.06, 0),
    },
    "frown": {
        107: (0.22, -0.65, 0.1), 55: (0.22, -0.6, 0.1), 66: (0.15, -0.65, 0.05), 65: (0.15, -0.6, 0.05),
        105: (0, -0.5, 0), 52: (0, -0.45, 0), 63: (0, -0.2, 0), 53: (0, -0.2, 0),
    },
}  # fmt: skip
TRAITS: dict[str, Handles] = {
    "chin": {
        152: (0, 0.9, 0), 148: (0, 0.8, 0), 176: (0, 0.6, 0), 149: (0, 0.4, 0), 200: (0, 0.35, 0), 199: (0, 0.6, 0),
    },
    "narrow_jaw": {
        172: (0.8, 0, 0), 136: (0.7, 0, 0), 58: (0.7, 0, 0), 150: (0.5, 0, 0), 132: (0.5, 0, 0), 149: (0.3, 0, 0),
    },
    "small_nose": {
        1: (0, 0.3, -0.35), 4: (0, 0.3, -0.35), 2: (0, 0.3, -0.15), 98: (0.15, 0.2, 0), 48: (0.2, 0.12, 0),
        195: (0, 0.1, -0.15),
    },
    "full_lips": {
        0: (0, 0.14, 0.1), 17: (0, -0.18, 0.1), 37: (0, 0.12, 0.1), 84: (0, -0.16, 0.1), 40: (0, 0.08, 0.05),
        91: (0, -0.1, 0.05),
    },
    "cheeks": {50: (-0.15, 0.1, 0.35), 205: (-0.1, 0, 0.25), 187: (-0.2, 0, 0.2)},
    "open_eyes": {159: (0, 0.12, 0), 158: (0, 0.1, 0), 160: (0, 0.1, 0)},
}  # fmt: skip
_STILL_MOUTH = (1, 2, 98, 48, 168, 6, 33, 133, 159, 145, 105, 66, 10, 54, 234, 132, 152, 176, 172, 123, 118)
_STILL_BROW = (10, 54, 103, 1, 33, 133, 159, 145, 168, 6, 50, 127, 162, 0)
_STILL_TRAIT = (33, 133, 168, 6, 10, 54, 105, 66, 61, 78, 13, 14, 234, 145, 8, 21)
_STILL_SEAL = (78, 308, 61, 291, 2, 18, 98, 327, 200, 152, 205, 425, 182, 406)
_MOUTH_Y, _MOUTH_HALF_WIDTH = -4.28, 2.35  # cm
_JAW_AXIS = (0.5, -2.5)  # y, z, cm
_JAW_RAD, _JAW_DOWN, _JAW_FORWARD = 0.30, 0.25, 0.9  # at full opening; cm


def swing_jaw(points: np.ndarray, weight: np.ndarray | float, opening: np.ndarray | float) -> np.ndarray:
    """How far points [...,3] go when the lower jaw turns about an axis near the ears and slides forward (cm)."""
    share = np.asarray(weight * np.asarray(opening), np.float32)
    angle = _JAW_RAD * share
    y, z = points[..., 1] - _JAW_AXIS[0], points[..., 2] - _JAW_AXIS[1]
    return np.stack(
        [
            np.zeros(np.broadcast_shapes(angle.shape, y.shape), np.float32),
            np.cos(angle) * y - np.sin(angle) * z - y - _JAW_DOWN * share,
            np.sin(angle) * y + np.cos(angle) * z - z + _JAW_FORWARD * share,
        ],
        -1,
    )


class FaceRig:
    """One person's face.

    Args:
        face: the canonical face.
        traits: how much of each of TRAITS, about -0.6..1.
    """

    def __init__(self, face: CanonicalFace, traits: Mapping[str, float]) -> None:
        self.canonical = face.vertices * CM_PER_U  # [468,3] cm
        self._mirror = _mirror(self.canonical)
        self._lifted = self._lift()
        self._jaw_weight = self._weigh_jaw()
        self._seal = self._spread([*UPPER_LIP, *LOWER_LIP], _STILL_SEAL, 1.15)
        self.rest = self._rest(traits)  # [468,3] float32 cm
        fields = [
            self._field(EXPRESSIONS[name], *((_STILL_BROW, 1.5) if name in ("brow", "frown") else (_STILL_MOUTH, 1.7)))
            for name in FIELDS
        ]
        self._fields = np.stack(fields).reshape(len(FIELDS), -1)

    def shape(self, controls: np.ndarray) -> np.ndarray:
        """Vertices [T,468,3] float32 in head space (cm) of controls [T,C]."""
        column = {name: controls[:, index].astype(np.float32)[:, None] for name, index in COLUMN.items()}
        weights = np.concatenate([column[name] for name in FIELDS], 1)
        points = self.rest + (weights @ self._fields).reshape(-1, 468, 3)
        points += swing_jaw(self.rest, self._jaw_weight, column["jaw"])
        points = self._sealed(points, column["seal"])
        for side, lid in enumerate((column["blink_right"], column["blink_left"])):
            _close_lid(points, side, np.clip(lid - 0.35 * column["gaze_y"].clip(None, 0), 0, 1))
        return points

    def _rest(self, traits: Mapping[str, float]) -> np.ndarray:
        """The canonical mouth stands open and its lids are narrow: shut the one and open the others."""
        points = self._sealed(self.canonical[None].copy(), np.ones((1, 1), np.float32))[0]
        for upper, lower in zip(UPPER_LID, LOWER_LID, strict=True):
            points[list(upper[1:-1]), 1] += 0.12
            points[list(lower[1:-1]), 1] -= 0.03
        for name, amount in traits.items():
            points += amount * self._field(TRAITS[name], _STILL_TRAIT, 2.2)
        return self._sealed(points[None].astype(np.float32), np.ones((1, 1), np.float32))[0]

    def _lift(self) -> np.ndarray:
        """Canonical vertices in the five dimensions [468,5]."""
        x, y = self.canonical[:, 0], self.canonical[:, 1]
        side = np.where(y > _MOUTH_Y, 1.0, -1.0)
        side[list(UPPER_LIP)], side[list(LOWER_LIP)] = 1, -1
        near = np.sqrt(np.clip(1 - (x / _MOUTH_HALF_WIDTH) ** 2, 0, 1)) * np.exp(-(((y - _MOUTH_Y) / 2.0) ** 2))
        lids = np.zeros(468)
        for upper, lower in zip(UPPER_LID, LOWER_LID, strict=True):
            lids[list(upper)], lids[list(lower)] = 1, -1
        return np.column_stack([self.canonical, 1.6 * near * side, lids])

    def _weigh_jaw(self) -> np.ndarray:
        """How much of the jaw's motion each vertex takes [468]: upper lip 0, corners half, lower lip and chin 1."""
        down = ((-1.5 - self.canonical[:, 1]) / 5.5).clip(0, 1)
        weight = np.clip(down * down * (3 - 2 * down) - 0.5 / 1.6 * self._lifted[:, 3], 0, 1)
        inner = list(LOWER_LIP[2:-2])
        weight[inner] = weight[inner].clip(0.97)
        return weight.astype(np.float32)

    def _spread(self, handles: list[int], still: Iterable[int], sigma_cm: float) -> np.ndarray:
        """A matrix [468,H]: displacements of handles in, of all vertices out; vertices `still` hardly move."""
        centres = self._lifted[[*handles, *(v for v in still if v not in handles)]]

        def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / sigma_cm**2)

        ridge = 1e-3 * np.eye(len(centres))
        weights = np.linalg.solve(kernel(centres, centres) + ridge, kernel(centres, self._lifted)).T
        return weights[:, : len(handles)].astype(np.float32)

    def _field(self, handles: Handles, still: Iterable[int], sigma_cm: float) -> np.ndarray:
        """Displacements [468,3] of handles and their mirror images."""
        both: dict[int, tuple[float, float, float]] = {}
        for vertex, (x, y, z) in handles.items():
            both[vertex] = (x, y, z)
            both[int(self._mirror[vertex])] = (-x, y, z)
        fixed = sorted({*still, *(int(self._mirror[v]) for v in still)})
        return self._spread(list(both), fixed, sigma_cm) @ np.array(list(both.values()), np.float32)

    def _sealed(self, points: np.ndarray, amount: np.ndarray) -> np.ndarray:
        """Points [T,468,3] with the inner lips brought together by amount [T,1]; at 1 they touch exactly."""
        lips = [*UPPER_LIP, *LOWER_LIP]
        upper, lower = points[:, list(UPPER_LIP)], points[:, list(LOWER_LIP)]
        middle = 0.5 * (upper + lower)
        goal = amount[:, :, None] * np.concatenate([middle - upper, middle - lower], 1)
        sealed = points + self._seal @ goal
        sealed[:, lips] = points[:, lips] + goal
        return sealed


def _mirror(points: np.ndarray) -> np.ndarray:
    """For each vertex its image on the other half of the face [468]."""
    flipped = points * np.array([-1, 1, 1], points.dtype)
    return ((points[:, None] - flipped[None]) ** 2).sum(-1).argmin(1)


def _close_lid(points: np.ndarray, side: int, amount: np.ndarray) -> None:
    """Lowers the upper lid onto the lower in place, over the ball; points [T,468,3], amount [T,1]."""
    upper, lower, crease = list(UPPER_LID[side]), list(LOWER_LID[side]), list(LID_CREASE[side])
    fall = amount[..., None] * (points[:, lower] - points[:, upper])
    fall += amount[..., None] * np.array([0, -0.05, 0.06], np.float32)  # the upper lid closes over the lower
    points[:, upper] += fall
    points[:, lower, 1] += 0.04 * amount
    points[:, crease] += fall * np.array([0, 0.42, 0.2], np.float32)
    riding = [*upper, *lower, *crease[1:-1]]
    spoke = points[:, riding] - EYE_CENTRES[side]
    length = np.linalg.norm(spoke, axis=-1, keepdims=True)
    points[:, riding] = EYE_CENTRES[side] + spoke * np.maximum(1, (EYE_RADIUS + 0.06) / length)
