# SPDX-License-Identifier: Apache-2.0
"""The skin of the face: colour and gloss over the canonical texture coordinates.

Paint is a function of the place on the canonical face (cm), or a polygon through named vertices. Colours are display
values 0..1; `tiles` turns the finished atlas into linear light.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from avatar3d.data_prep.synthetic import raster
from avatar3d.data_prep.synthetic.face import LID_CREASE, LOWER_LID, LOWER_LIP, UPPER_LID
from avatar3d.data_prep.synthetic.hair import HairStyle, covered
from avatar3d.face.groups import INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE

FACE_SIDE = 1024  # texels
_BROWS = (((70, 63, 105, 66, 107), (46, 53, 52, 65, 55)), ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285)))
_BROW_HALF_HEIGHT = np.array([0.15, 0.25, 0.31, 0.34, 0.27])[:, None]  # of the way between the two rows


@dataclass(frozen=True)
class Palette:
    """Display colours 0..1 of one person."""

    skin: np.ndarray  # [3]
    hair: np.ndarray  # [3]
    iris: np.ndarray  # [3]
    shirt: np.ndarray  # [3]
    lips: np.ndarray  # [3] relative to the skin
    freckles: int = 0


def cloud(rng: np.random.Generator, shape: tuple[int, ...], cells: int, octaves: int = 3) -> np.ndarray:
    """Smooth noise [h,w], mean 0, about +-1."""
    height, width = shape
    total, size = np.zeros((height, width), np.float32), 1.0
    for octave in range(octaves):
        side = cells * 2**octave + 1
        coarse = Image.fromarray(rng.standard_normal((side, side)).astype(np.float32))
        total += size * np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        size *= 0.5
    return total / 2


class _Place:
    """Bumps over the canonical coordinates of the texels that the face covers."""

    def __init__(self, where: np.ndarray) -> None:
        self.where = where  # [P,3] cm
        self._x, self._y = where[:, 0], where[:, 1]

    def spot(self, x: float, y: float, wide: float, high: float) -> np.ndarray:
        """A bell [P] at one place."""
        return np.exp(-(((self._x - x) / wide) ** 2) - ((self._y - y) / high) ** 2)

    def pair(self, x: float, y: float, wide: float, high: float) -> np.ndarray:
        """A bell on both halves of the face."""
        return self.spot(x, y, wide, high) + self.spot(-x, y, wide, high)


class FacePainter:
    """Paints one face, layer on layer, into `colour` [side,side,3] and `gloss` [side,side]."""

    def __init__(
        self, vertices: np.ndarray, uv: np.ndarray, triangles: np.ndarray, palette: Palette, style: HairStyle,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self._palette, self._style, self._rng = palette, style, rng
        self._texel = uv * FACE_SIDE  # [468,2]
        fragments = raster.cover(self._texel, triangles, FACE_SIDE, FACE_SIDE)
        corners = vertices[triangles[fragments.triangle]].astype(np.float32)
        self._inside = fragments.pixel
        self._place = _Place(fragments.interpolate(corners))
        self.colour = np.tile(0.9 * palette.skin, (FACE_SIDE, FACE_SIDE, 1)).astype(np.float32)
        self.gloss = np.full((FACE_SIDE, FACE_SIDE), 0.12, np.float32)

    def paint(self) -> np.ndarray:
        """Colour and gloss [side,side,4]."""
        self._skin()
        self._freckles()
        self._lips()
        for side in (0, 1):
            self._lids(side)
            self._brow(side)
        return np.concatenate([self.colour, self.gloss[..., None]], -1)

    def _skin(self) -> None:
        spot, pair = self._place.spot, self._place.pair
        depth = self._place.where[:, 2]
        broad = cloud(self._rng, (FACE_SIDE, FACE_SIDE), 10, 4).reshape(-1)[self._inside]
        pores = cloud(self._rng, (FACE_SIDE, FACE_SIDE), 160, 2).reshape(-1)[self._inside]
        colour = self._palette.skin * (1 + 0.022 * broad + 0.014 * pores)[:, None]
        red = 0.55 * pair(4.6, -0.9, 1.9, 1.5) + 0.5 * spot(0, -0.6, 1, 0.9) + 0.25 * spot(0, -7.6, 1.6, 1)
        red += 0.3 * pair(3.1, 1.7, 1.6, 0.6) + 0.2 * pair(3.1, 3.6, 1.7, 0.5)
        colour *= 1 - red[:, None] * np.array([0.03, 0.16, 0.15])
        fold = 0.20 * pair(2.9, 3.45, 1.7, 0.5) + 0.20 * pair(1.5, 3.0, 0.5, 0.8) + 0.12 * pair(3.1, 1.7, 1.4, 0.3)
        fold += 0.26 * pair(1.72, -1.15, 0.28, 0.6) + 0.10 * spot(0, -2.25, 1.4, 0.35) + 0.08 * spot(0, -2.9, 0.25, 0.5)
        fold += 0.18 * spot(0, -6.0, 1.3, 0.36) + 0.13 * pair(2.55, -4.35, 0.35, 0.4)
        for along in np.linspace(0, 1, 9):  # from the wing of the nose to the corner of the mouth
            fold += 0.022 * pair(1.9 + 1.25 * along, -1.2 - 2.6 * along, 0.34, 0.42)
        colour *= 1 - fold.clip(0, 0.8)[:, None] * np.array([0.72, 1, 1])
        nostril = (1.25 * pair(0.78, -1.62, 0.36, 0.2) * (depth > 5.2)).clip(0, 1)[:, None]
        colour += 0.8 * nostril * (np.array([0.16, 0.06, 0.05]) - colour)
        grain = cloud(self._rng, (FACE_SIDE, FACE_SIDE), 200, 1).reshape(-1)[self._inside]
        overgrown = (covered(self._style, self._place.where, 0.11) * (1 + 0.35 * grain)).clip(0, 1)[:, None]
        colour += 0.88 * overgrown * (0.8 * self._palette.hair - colour)
        shine = 0.10 + 0.22 * spot(0, 6, 3, 1.6) + 0.34 * spot(0, 0.3, 0.8, 2.6) + 0.22 * spot(0, -7.3, 1.2, 0.8)
        shine += 0.16 * pair(4.2, 0.8, 1.6, 0.9) + 0.2 * spot(0, -2.9, 0.8, 0.5)
        self.colour.reshape(-1, 3)[self._inside] = colour
        self.gloss.reshape(-1)[self._inside] = shine * (1 - overgrown[:, 0])

    def _freckles(self) -> None:
        flat = self.colour.reshape(-1, 3)
        for _ in range(self._palette.freckles):
            x, y, size = self._rng.normal(0, 2.6), self._rng.normal(0.2, 0.9), self._rng.uniform(0.04, 0.075)
            strength = self._place.spot(x, y, size, size)
            here = np.nonzero(strength > 0.05)[0]
            tint = self._rng.uniform(0.08, 0.24) * strength[here, None] * np.array([0.6, 0.9, 1])
            flat[self._inside[here]] *= 1 - tint

    def _lips(self) -> None:
        skin, tint = self._palette.skin, self._palette.lips
        whole = self._mask(lambda pen: pen.polygon(self._corners(OUTER_LIPS), 255), 6)
        wrinkles = cloud(self._rng, (FACE_SIDE, 96), 40, 1)
        lines = np.asarray(Image.fromarray(wrinkles).resize((FACE_SIDE, FACE_SIDE), Image.Resampling.BICUBIC))
        self._lay(whole, skin * tint * (1 + 0.05 * lines[..., None]), 0.92)
        self._lay(self._line(INNER_LIPS[:11], 9, 4), skin * tint * [0.42, 0.30, 0.32], 0.7)
        self._lay(self._line((78, *LOWER_LIP, 308), 8, 4), skin * tint * [0.5, 0.38, 0.42], 0.55)
        x, y = self._texel[14]
        wet = self._mask(lambda pen: pen.ellipse((x - 50, y + 12, x + 50, y + 34), 255), 8)[..., 0]
        self.gloss = self.gloss * (1 - whole[..., 0]) + whole[..., 0] * (0.20 + 0.45 * wet)

    def _lids(self, side: int) -> None:
        outer, inner = ((33, 133), (263, 362))[side]
        skin = self._palette.skin
        self._lay(self._line(LID_CREASE[side], 6, 3, up=3), skin * [0.50, 0.36, 0.34], 0.5)
        upper = (outer, *UPPER_LID[side], inner)
        self._lay(self._line(upper, 8, 2, up=1), (0.09, 0.055, 0.05), 0.95)
        # lashes thicken towards the outer corner
        self._lay(self._line(upper[:4], 6, 4, up=4), (0.09, 0.055, 0.05), 0.6)
        self._lay(self._line((outer, *LOWER_LID[side], inner), 5, 2.5, up=-2), skin * [0.52, 0.36, 0.36], 0.55)
        wet = self._mask(lambda pen: pen.polygon(self._corners((RIGHT_EYE, LEFT_EYE)[side]), 255), 5)[..., 0]
        self.gloss += 0.06 * wet

    def _brow(self, side: int) -> None:
        upper, lower = (self._texel[list(row)] for row in _BROWS[side])
        middle, half = 0.5 * (upper + lower) - [0, 4], _BROW_HALF_HEIGHT * (lower - upper)
        outline = [(float(x), float(y)) for x, y in np.concatenate([middle - half, (middle + half)[::-1]])]
        hair = self._palette.hair
        grown = self._mask(lambda pen: pen.polygon(outline, 255), 6)
        self._lay(grown, hair, 0.62)
        self.gloss *= 1 - 0.8 * grown[..., 0]
        strokes = [self._stroke(middle, half) for _ in range(280)]

        def draw(pen: ImageDraw.ImageDraw) -> None:
            for stroke in strokes:
                pen.line(stroke, 255, 2)

        self._lay(self._mask(draw, 0.8), 0.7 * hair, 0.65)

    def _stroke(self, middle: np.ndarray, half: np.ndarray) -> list[tuple[float, float]]:
        """One hair of a brow: outwards, and up at its inner end."""
        along = self._rng.uniform(0, len(middle) - 1.001)
        index, rest = int(along), along % 1
        blend = (1 - rest, rest)
        root = sum(b * middle[index + k] for k, b in enumerate(blend))
        root = root + self._rng.uniform(-1.05, 1.05) * sum(b * half[index + k] for k, b in enumerate(blend))
        out = middle[index] - middle[index + 1]
        rise = self._rng.uniform(-9, -2) if along > 1.5 else self._rng.uniform(-2, 4)
        tip = root + out / np.linalg.norm(out) * self._rng.uniform(8, 16) + [0, rise]
        return [(float(root[0]), float(root[1])), (float(tip[0]), float(tip[1]))]

    def _corners(self, vertices: Sequence[int]) -> list[tuple[float, float]]:
        return [(float(x), float(y)) for x, y in self._texel[list(vertices)]]

    def _line(self, vertices: Sequence[int], width: int, blur: float, up: float = 0.0) -> np.ndarray:
        path = self._texel[list(vertices)] - [0, up]
        steps, at = np.linspace(0, len(path) - 1, 60), np.arange(len(path))
        fine = [(float(np.interp(s, at, path[:, 0])), float(np.interp(s, at, path[:, 1]))) for s in steps]
        return self._mask(lambda pen: pen.line(fine, 255, width, joint="curve"), blur)

    def _mask(self, draw: Callable[[ImageDraw.ImageDraw], None], blur: float) -> np.ndarray:
        """What `draw` covers [side,side,1], 0..1, with a soft edge."""
        image = Image.new("L", (FACE_SIDE, FACE_SIDE))
        draw(ImageDraw.Draw(image))
        return np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), np.float32)[..., None] / 255

    def _lay(self, mask: np.ndarray, colour: np.ndarray | tuple[float, ...], strength: float) -> None:
        self.colour += strength * mask * (np.asarray(colour, np.float32) - self.colour)
