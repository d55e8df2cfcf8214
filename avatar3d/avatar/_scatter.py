# SPDX-License-Identifier: Apache-2.0
"""Where the Gaussians of a linear head start: face surface, shell (hair, ears, neck), mouth interior, torso, and a core
within the shell.

Everything is in head space (u). Lengths of the shell, mouth and torso are those of an average head and are stretched to
the person's face. Points on the face carry the tracker's expression basis from the start, so motion is right before
the first training step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.spatial import cKDTree

from avatar3d.face.groups import CHIN, INNER_LIPS
from avatar3d.face.rig import triangles_within

HEAD, SHELL, MOUTH, TORSO, CORE = range(5)
_MEAN_FACE_HALF_WIDTH_U, _MEAN_FACE_HEIGHT_U = 0.766, 1.766
EARS = 234, 454
_TOP, _BOTTOM = 10, 152
_LIP_CORNERS, _UPPER_LIP = (78, 308), 13
_SKULL, _SKULL_CENTRE = np.array([0.88, 1.15, 1.05]), np.array([0, 0.25, -0.45])
_CORE_SHRINK = 0.85  # so far within the outline that no frame shows it beside a person


@dataclass(frozen=True)
class Counts:
    """Gaussians per group; fewer may come out where parts lie outside the picture."""

    head: int = 7000
    shell: int = 8000
    mouth: int = 900
    torso: int = 3500
    core: int = 1800  # these stay as they are


@dataclass(frozen=True)
class Scatter:
    """Starting points."""

    points: np.ndarray  # [N,3] u
    tables: np.ndarray  # [E,N,3] u per unit of expression
    group: np.ndarray  # [N] uint8
    skin: np.ndarray  # [N] 0..1: 1 moves with the head, 0 with the body

    def __len__(self) -> int:
        return len(self.points)

    def rows(self, keep: np.ndarray) -> Scatter:
        return Scatter(self.points[keep], self.tables[:, keep], self.group[keep], self.skin[keep])


Visible = Callable[[np.ndarray], np.ndarray]  # points [N,3] u -> [N] bool: inside the picture at rest
# points [N,3] u about a skull and how far out each is in what is thicker than that -> where they are on this person's
Wider = Callable[[np.ndarray, np.ndarray | float], np.ndarray]


def scatter(
    neutral: np.ndarray,
    basis: np.ndarray,
    triangles: np.ndarray,
    counts: Counts,
    visible: Visible,
    rng: np.random.Generator,
    outline: np.ndarray | None = None,
) -> Scatter:
    """Starting points for a person with a neutral face [468,3] and an expression basis [468,3,E].

    Args:
        outline: [A] how many times as far from the skull's middle the person's outline is as an average head's, by
            direction (see `skull_rays`); None: an average head.
    """
    wider = partial(_widened, outline=outline, stretch=_stretch(neutral))
    parts = [
        _face(neutral, basis, triangles, counts.head, rng),
        _shell(neutral, basis, counts.shell, visible, wider, rng),
        _mouth(neutral, basis, counts.mouth, rng),
        _torso(neutral, basis, counts.torso, visible, rng),
        _core(neutral, basis, counts.core, visible, wider, rng),
    ]
    return Scatter(
        np.concatenate([part.points for part in parts]).astype(np.float32),
        np.concatenate([part.tables for part in parts], 1).astype(np.float32),
        np.concatenate([part.group for part in parts]),
        np.concatenate([part.skin for part in parts]).astype(np.float32),
    )


def spacing(points: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Mean distance [N] u to the three nearest points of the same group."""
    found = np.empty(len(points), np.float32)
    for g in np.unique(group):
        rows = group == g
        found[rows] = cKDTree(points[rows]).query(points[rows], min(4, rows.sum()))[0][:, 1:].mean(1)
    return found


def _part(points: np.ndarray, tables: np.ndarray, group: int, skin: np.ndarray | float) -> Scatter:
    """`tables` [N,3,E] as they come from the basis."""
    return Scatter(
        points,
        tables.transpose(2, 0, 1),
        np.full(len(points), group, np.uint8),
        np.broadcast_to(np.asarray(skin, np.float64), len(points)),
    )


def _stretch(neutral: np.ndarray) -> np.ndarray:
    """Factors [3] from an average head to this one."""
    width = np.abs(neutral[list(EARS), 0]).mean() / _MEAN_FACE_HALF_WIDTH_U
    height = (neutral[_TOP, 1] - neutral[_BOTTOM, 1]) / _MEAN_FACE_HEIGHT_U
    return np.array([width, height, width])


def _face(
    neutral: np.ndarray, basis: np.ndarray, triangles: np.ndarray, count: int, rng: np.random.Generator
) -> Scatter:
    """Points on the tracked surface, three times as dense about the eyes and the mouth; the open mouth is left out."""
    faces = triangles[~triangles_within(triangles, INNER_LIPS)]
    corners = neutral[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    centre = corners.mean(1)
    eyes = (np.abs(centre[:, 1] - 0.26) < 0.15) & (np.abs(np.abs(centre[:, 0]) - 0.32) < 0.22)
    mouth = np.hypot(*((centre - neutral[_UPPER_LIP])[:, :2] / [0.35, 0.22]).T) < 1
    share = area * np.where(eyes | mouth, 3, 1)
    chosen = faces[rng.choice(len(faces), count, p=share / share.sum())]
    within = rng.dirichlet([1, 1, 1], count)
    points = np.einsum("nc,ncj->nj", within, neutral[chosen])
    return _part(points, np.einsum("nc,ncjk->njk", within, basis[chosen]), HEAD, 1.0)


def skull_rays(neutral: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle [3] of an average skull stretched to a face [468,3], and from there to its outline [count,3] u.

    The rays stand upright in head space, the first to the person's +x, the others evenly round towards +y.
    """
    angle = np.arange(count) * 2 * np.pi / count
    around = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    stretch = _stretch(neutral)
    length = 1 / np.linalg.norm(around / (_SKULL * stretch), axis=1)
    return _SKULL_CENTRE * stretch, around * length[:, None]


def _widened(
    skull: np.ndarray, share: np.ndarray | float, outline: np.ndarray | None, stretch: np.ndarray
) -> np.ndarray:
    """Points about the skull moved to a person's outline: inwards all the way, outwards by a share of it."""
    if outline is None:
        return skull
    centre = _SKULL_CENTRE * stretch
    angle = np.arctan2(*(skull - centre)[:, 1::-1].T) % (2 * np.pi)
    factor = np.interp(angle, np.arange(len(outline) + 1) * 2 * np.pi / len(outline), np.append(outline, outline[0]))
    factor = np.where(factor > 1, 1 + share * (factor - 1), factor)
    return centre + (skull - centre) * np.stack([factor, factor, np.ones_like(factor)], 1)


def _skull(count: int, thick: float, rng: np.random.Generator) -> np.ndarray:
    """Points [count,3] about an average skull, all around."""
    ray = rng.normal(size=(count, 3))
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    return ray * _SKULL * (1 + thick * rng.normal(size=(count, 1))) + _SKULL_CENTRE


def _beside_face(skull: np.ndarray, furthest_back: float) -> np.ndarray:
    before = (np.abs(skull[:, 0]) < 0.55) & (skull[:, 1] < 0.6) & (skull[:, 2] > 0)
    lowest = np.interp(skull[:, 2], [-0.8, -0.3], [-0.3, -0.75])  # a skull ends higher at the back
    return skull[(skull[:, 2] > furthest_back) & (skull[:, 1] > lowest) & ~before]


def _shell(
    neutral: np.ndarray, basis: np.ndarray, count: int, visible: Visible, wider: Wider, rng: np.random.Generator
) -> Scatter:
    """An ellipsoid about the skull without what lies before the face, and a neck that blends into the body."""
    nearest = cKDTree(neutral)
    stretch = _stretch(neutral)
    necks = count // 5
    skull = _beside_face(_skull(count * 8, 0.03, rng), -0.9) * stretch
    skull = wider(skull, np.sqrt(rng.random(len(skull))))  # thick hair is more than its surface
    distance, _ = nearest.query(skull)
    skull = skull[((distance > 0.1) | (skull[:, 1] > 0.75 * stretch[1])) & visible(skull)][: count - necks]
    angle = rng.uniform(-np.pi / 2, np.pi / 2, 4 * necks)
    height = rng.uniform(-1.7, -0.5, len(angle))
    neck = np.stack([0.5 * np.sin(angle), height, -0.45 + 0.45 * np.cos(angle)], 1) * stretch
    neck = neck[visible(neck)][:necks]
    points = np.concatenate([skull, neck])
    distance, vertex = nearest.query(points)
    follows = np.exp(-((distance / 0.15) ** 2))[:, None, None]
    skin = 1 / (1 + np.exp(-(points[:, 1] / stretch[1] + 1.15) / 0.12))
    return _part(points, basis[vertex] * follows, SHELL, skin)


def _core(
    neutral: np.ndarray, basis: np.ndarray, count: int, visible: Visible, wider: Wider, rng: np.random.Generator
) -> Scatter:
    """Within the shell, further back than any frame shows: what is seen where the shell has nothing to show."""
    stretch = _stretch(neutral)
    skull = _beside_face(_skull(count * 8, 0.0, rng), -1.3)
    # what stands beside a cheek would come before it as soon as the head turns
    skull = wider(skull[(skull[:, 2] < -0.15) | (skull[:, 1] > 0.75)] * stretch, 0.5)
    distance, _ = cKDTree(neutral).query(skull)
    centre = _SKULL_CENTRE * stretch
    points = centre + _CORE_SHRINK * (skull[(distance > 0.1) & visible(skull)][:count] - centre)
    return _part(points, np.zeros((len(points), 3, basis.shape[-1])), CORE, 1.0)


def _mouth(neutral: np.ndarray, basis: np.ndarray, count: int, rng: np.random.Generator) -> Scatter:
    """Two curved sheets behind the lips: the upper one stays with the skull, the lower one moves with the chin."""
    lips = neutral[list(INNER_LIPS)].mean(0)
    half_width = np.abs(neutral[_LIP_CORNERS[1], 0] - neutral[_LIP_CORNERS[0], 0]) / 2
    across = rng.uniform(-1, 1, count)
    lower = np.arange(count) % 2 == 1
    height = np.where(lower, -1, 1) * rng.uniform(-0.02, 0.16, count)
    depth = 0.12 + 0.12 * across**2 + 0.15 * rng.random(count)
    points = np.stack([lips[0] + across * half_width, lips[1] + height, lips[2] - depth], 1)
    jaw = basis[list(CHIN)].mean(0)
    return _part(points, np.where(lower[:, None, None], jaw, 0.0), MOUTH, 1.0)


def _torso(neutral: np.ndarray, basis: np.ndarray, count: int, visible: Visible, rng: np.random.Generator) -> Scatter:
    """A sheet under the chin that falls back towards the shoulders; wide enough for any picture."""
    x = rng.uniform(-2.6, 2.6, count * 12)
    y = rng.uniform(-3.2, -0.7, len(x))
    below_shoulder = y < -0.75 - 0.42 * np.clip(np.abs(x) - 0.25, 0, None)
    sheet = (np.stack([x, y, -0.15 - 0.35 * np.abs(x)], 1) * _stretch(neutral))[below_shoulder]
    points = sheet[visible(sheet)][:count]
    return _part(points, np.zeros((len(points), 3, basis.shape[-1])), TORSO, 0.0)
