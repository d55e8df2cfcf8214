# SPDX-License-Identifier: Apache-2.0
"""The atlas: the painted face and small tiles for every other part, in linear light, with coarser levels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from avatar3d.data_prep.synthetic.hair import HairStyle, covered
from avatar3d.data_prep.synthetic.light import linear
from avatar3d.data_prep.synthetic.paint import FACE_SIDE, Palette, cloud
from avatar3d.data_prep.synthetic.parts import EYE_SPAN_RAD

WIDTH = FACE_SIDE + 512
# left, top, width, height in texels
TILES = {
    "hair": (FACE_SIDE, 0, 512, 256),
    "locks": (FACE_SIDE, 256, 512, 256),
    "eye": (FACE_SIDE, 512, 256, 256),
    "teeth": (FACE_SIDE + 256, 512, 256, 128),
    "mouth": (FACE_SIDE + 256, 640, 128, 128),
    "tongue": (FACE_SIDE + 384, 640, 128, 128),
    "skull": (FACE_SIDE, 768, 256, 256),
    "shirt": (FACE_SIDE + 256, 768, 256, 128),
    "neck": (FACE_SIDE + 256, 896, 128, 128),
    "ear": (FACE_SIDE + 384, 896, 128, 128),
}
_IRIS_RAD, _PUPIL_RAD = 0.47, 0.20  # half angles seen from the middle of the ball
_LEVELS = 3


@dataclass(frozen=True)
class Level:
    """The atlas at one resolution."""

    texels: np.ndarray  # [h*w,4] float32: linear rgb and gloss
    solid: np.ndarray  # [h*w] bool: False where a cut-out tile is open
    width: int
    height: int
    shrink: int  # texels of the full atlas per texel, along one side

    def at(self, uv: np.ndarray) -> np.ndarray:
        """Rows of `texels` for places [P,2] in texels of the full atlas."""
        column = np.clip(uv[:, 0] / self.shrink, 0, self.width - 1).astype(np.int32)
        row = np.clip(uv[:, 1] / self.shrink, 0, self.height - 1).astype(np.int32)
        return row * self.width + column


def atlas(
    face: np.ndarray, palette: Palette, style: HairStyle, skull_points: np.ndarray, rng: np.random.Generator
) -> tuple[Level, ...]:
    """The atlas from fine to coarse.

    Args:
        face: [side,side,4] display colour and gloss.
        skull_points: [h,w,3] cm, so that the scalp can be painted.
    """
    sheet = np.zeros((FACE_SIDE, WIDTH, 4), np.float32)
    solid = np.ones((FACE_SIDE, WIDTH), np.float32)
    sheet[:, :FACE_SIDE] = face
    for name, draw in _painters(palette, style, skull_points).items():
        left, top, width, height = TILES[name]
        v, u = np.mgrid[0:height, 0:width].astype(np.float32)
        drawn = draw((u + 0.5) / width, (v + 0.5) / height, rng)
        sheet[top : top + height, left : left + width] = drawn[..., :4]
        if drawn.shape[-1] == 5:
            solid[top : top + height, left : left + width] = drawn[..., 4]
    sheet[..., :3] = linear(sheet[..., :3].clip(0, 1.1))
    return tuple(_level(sheet, solid, 2**number) for number in range(_LEVELS))


def _level(sheet: np.ndarray, solid: np.ndarray, shrink: int) -> Level:
    height, width = sheet.shape[0] // shrink, sheet.shape[1] // shrink
    blocks = sheet.reshape(height, shrink, width, shrink, 4).mean((1, 3))
    holes = solid.reshape(height, shrink, width, shrink).mean((1, 3)) > 0.5
    return Level(np.ascontiguousarray(blocks.reshape(-1, 4)), holes.reshape(-1), width, height, shrink)


_Draw = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def _painters(palette: Palette, style: HairStyle, skull_points: np.ndarray) -> dict[str, _Draw]:
    def plain(colour: np.ndarray, roughness: float, cells: int, gloss: float) -> _Draw:
        def draw(u: np.ndarray, _v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            return _with_gloss((1 + roughness * cloud(rng, u.shape, cells))[..., None] * colour, gloss)

        return draw

    return {
        "hair": lambda u, v, rng: _hair(u, v, rng, palette.hair, dense=True),
        "locks": lambda u, v, rng: _hair(u, v, rng, palette.hair, dense=False),
        "eye": lambda u, v, rng: _eye(u, v, rng, palette.iris),
        "teeth": _teeth,
        "mouth": plain(np.array([0.42, 0.15, 0.14]), 0.1, 8, 0.05),
        "tongue": plain(np.array([0.72, 0.37, 0.36]), 0.07, 20, 0.25),
        "skull": lambda u, v, rng: _skull(u, v, rng, palette, style, skull_points),
        "shirt": lambda u, v, rng: _knit(u, v, rng, palette.shirt),
        "neck": plain(palette.skin * [0.97, 0.94, 0.93], 0.02, 8, 0.07),
        "ear": lambda u, v, rng: _ear(u, v, rng, palette.skin),
    }


def _with_gloss(colour: np.ndarray, gloss: float | np.ndarray) -> np.ndarray:
    shine = np.broadcast_to(np.asarray(gloss, np.float32), colour.shape[:-1])
    return np.concatenate([colour, shine[..., None]], -1)


def _strands(rng: np.random.Generator, shape: tuple[int, ...], across: int, along: int) -> np.ndarray:
    """Noise stretched along v [h,w]."""
    coarse = Image.fromarray(rng.standard_normal((along, across)).astype(np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _hair(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, colour: np.ndarray, dense: bool) -> np.ndarray:
    """Strands [h,w,5]; the last channel is 0 between them and past their ends."""
    fine, locks, ends = (_strands(rng, u.shape, across, along) for across, along in ((240, 5), (60, 4), (200, 1)))
    sheen = np.exp(-(((v - 0.45 - 0.03 * locks) / 0.10) ** 2)) + 0.5 * np.exp(-(((v - 0.75) / 0.12) ** 2))
    tone = (1 + 0.20 * fine + 0.20 * locks + 0.22 * sheen).clip(0.35, 2)
    if dense:
        open_air = v > 0.98 + 0.016 * ends.clip(-2, 1.2)
    else:
        open_air = (v > 0.90 + 0.05 * ends.clip(-2, 1.5)) | (0.8 * fine + 0.4 * locks < 0.1 + 0.9 * (v - 0.55).clip(0))
    gloss = 0.03 + 0.06 * (0.5 + 0.5 * fine).clip(0, 1)
    return np.concatenate([_with_gloss(tone[..., None] * colour, gloss), ~open_air[..., None]], -1)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = x.clip(0, 1)
    return x * x * (3 - 2 * x)


def _eye(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, iris: np.ndarray) -> np.ndarray:
    x, y = u - 0.5, 0.5 - v
    angle, turn = np.hypot(x, y) * EYE_SPAN_RAD, np.arctan2(y, x)
    spokes = rng.standard_normal(140)
    ray = np.interp(turn, np.linspace(-np.pi, np.pi, 141), np.append(spokes, spokes[0]))
    light = 1 + 0.15 * ray + 0.55 * _smoothstep((0.33 - angle) / 0.16) + 0.25 * (-y * EYE_SPAN_RAD / _IRIS_RAD)
    disc = light[..., None] * iris * (1 - 0.75 * _smoothstep((angle - 0.36) / 0.10))[..., None]
    redness = _smoothstep((angle - 0.6) / 0.6)[..., None]
    white = np.array([0.90, 0.885, 0.87]) - redness * [0.12, 0.24, 0.24]
    in_iris = _smoothstep((_IRIS_RAD + 0.03 - angle) / 0.06)[..., None]
    in_pupil = _smoothstep((_PUPIL_RAD + 0.03 - angle) / 0.05)[..., None]
    colour = white + in_iris * (disc - white)
    return _with_gloss(colour + in_pupil * (0.02 - colour), 0.6)  # wet: the lamp is mirrored in it


def _teeth(u: np.ndarray, v: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """Ten teeth whose edges round off, and gums above them."""
    place = (u - 0.5) * 10
    gap = 0.38 * np.exp(-(((place - np.round(place)) / 0.07) ** 2))
    colour = (1 - gap)[..., None] * np.array([0.93, 0.90, 0.84])
    gum = _smoothstep((0.16 + 0.05 * np.cos(2 * np.pi * place) - v) / 0.06)[..., None]
    return _with_gloss(colour + gum * (np.array([0.72, 0.38, 0.38]) - colour), 0.35)


def _skull(
    u: np.ndarray, v: np.ndarray, rng: np.random.Generator, palette: Palette, style: HairStyle, points: np.ndarray
) -> np.ndarray:
    row, column = v * (points.shape[0] - 1), u * (points.shape[1] - 1)
    top, left = row.astype(int).clip(0, points.shape[0] - 2), column.astype(int).clip(0, points.shape[1] - 2)
    down, right = (row - top)[..., None], (column - left)[..., None]
    upper = points[top, left] * (1 - right) + points[top, left + 1] * right
    lower = points[top + 1, left] * (1 - right) + points[top + 1, left + 1] * right
    overgrown = covered(style, upper * (1 - down) + lower * down, 0.11)[..., None]
    skin = (1 + 0.02 * cloud(rng, u.shape, 8, 4))[..., None] * palette.skin * [0.98, 0.95, 0.94]
    return _with_gloss(skin + 0.9 * overgrown * (0.8 * palette.hair - skin), 0.08)


def _knit(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
    """A collar rib above, soft folds below."""
    rib = 0.10 * np.cos(2 * np.pi * 90 * u) * _smoothstep((0.34 - v) / 0.04)
    folds = 0.05 * _strands(rng, u.shape, 26, 5) * _smoothstep((v - 0.42) / 0.2)
    return _with_gloss((1 + rib + folds + 0.03 * cloud(rng, u.shape, 50))[..., None] * colour, 0.02)


def _ear(u: np.ndarray, v: np.ndarray, rng: np.random.Generator, skin: np.ndarray) -> np.ndarray:
    bowl = np.exp(-(((v - 0.48) / 0.22) ** 2) - (((np.abs(u - 0.5) - 0.25) / 0.16) ** 2))
    return _with_gloss((1 - 0.30 * bowl + 0.02 * cloud(rng, u.shape, 8))[..., None] * skin * [1, 0.87, 0.85], 0.10)
