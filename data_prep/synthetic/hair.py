# SPDX-License-Identifier: Apache-2.0
"""Hair: shells over the scalp that rise from a hairline, cut out into strands by their textures (cm)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar3d.data_prep.synthetic.mesh import Patch

CENTRE = np.array([0, 2.2, -3.1])  # cm; directions are counted from here
_COLUMNS, _ROWS = 97, 20
_SHELLS = (("hair", "hair", 0.0, 0.90), ("hair_mid", "locks", 0.10, 0.95), ("hair_top", "locks", 0.20, 1.0))


@dataclass(frozen=True)
class HairStyle:
    """How hair grows. Angles from CENTRE: azimuth 0 is the front, elevation 0 level with the brow."""

    hairline_deg: tuple[tuple[float, float], ...]  # azimuth, elevation, from front to back; mirrored
    top_cm: float  # above the scalp on the crown
    side_cm: float
    quiff_cm: float  # above that, behind the hairline of the forehead
    loose: float  # 0 lies on the skin at its edge .. 1 hangs free at the sides and the back
    parting: float  # lopsidedness


STYLES = {
    "crop": HairStyle(
        ((0, 42), (12, 44), (27, 45), (40, 34), (52, 14), (61, -4), (70, -10), (77, 2), (86, 11), (104, 10),
         (116, -8), (128, -28), (150, -37), (180, -39)),
        top_cm=1.7, side_cm=0.35, quiff_cm=0.8, loose=0.0, parting=0.8,
    ),
    "bob": HairStyle(
        ((0, 27), (12, 25.5), (30, 24), (42, 17), (50, 2), (58, -30), (70, -45), (95, -49), (130, -51), (180, -53)),
        top_cm=1.3, side_cm=1.3, quiff_cm=0.1, loose=1.0, parting=0.35,
    ),
    "short": HairStyle(
        ((0, 42), (18, 43), (36, 38), (48, 24), (57, 8), (64, -4), (72, -6), (78, 4), (88, 11), (104, 9),
         (118, -12), (130, -30), (180, -38)),
        top_cm=0.75, side_cm=0.4, quiff_cm=0.15, loose=0.0, parting=0.0,
    ),
}  # fmt: skip


def hairline_rad(style: HairStyle, azimuth: np.ndarray) -> np.ndarray:
    """Elevation of the hairline (rad) at azimuths (rad)."""
    turn, height = np.radians(np.array(style.hairline_deg)).T
    smooth = [np.interp(np.abs(azimuth + shift), turn, height) for shift in np.radians([-4, -2, 0, 2, 4])]
    return np.mean(smooth, axis=0)


def covered(style: HairStyle, points: np.ndarray, softness_rad: float) -> np.ndarray:
    """0 bare .. 1 overgrown: how far points [...,3] (cm) lie above the hairline."""
    x, y, z = np.moveaxis(points - CENTRE, -1, 0)
    azimuth, elevation = np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))
    rise = ((elevation - hairline_rad(style, azimuth)) / softness_rad + 0.25).clip(0, 1)
    return rise * rise * (3 - 2 * rise)


def hair(style: HairStyle, head: np.ndarray) -> list[tuple[str, Patch]]:
    """Shells from the scalp outwards, and a dark lining where hair hangs free; head [V,3] are points of the skin."""
    azimuth = np.linspace(-np.pi, np.pi, _COLUMNS)
    down = np.linspace(0, 1, _ROWS)[:, None] ** 0.9
    elevation = np.pi / 2 + (hairline_rad(style, azimuth) - np.pi / 2) * down
    ray = np.stack([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)], -1)
    skin = _skin_radius(ray, head)
    height = _height(style, azimuth, elevation, down)
    # strands are combed sideways from the parting, then down
    combed = (azimuth / (2 * np.pi) + 0.5) * 0.9 + 0.05 + 0.045 * style.parting * np.sin(0.5 * np.pi * down)
    uv = np.stack([combed, np.broadcast_to(0.01 + 0.98 * down, combed.shape)], -1)
    shells = []
    # the first shell is the body of the hair; the others stand off a little and break up its outline
    for name, tile, off_cm, light in (
        ("hair", "hair", 0.0, 0.9),
        ("hair_mid", "locks", 0.10, 0.95),
        ("hair_top", "locks", 0.20, 1.0),
    ):
        radius = skin + 0.10 + height + off_cm * _smoothstep(height / 0.4)
        shade = light * (0.62 + 0.38 * _smoothstep((1 - down) / 0.30)) + 0 * azimuth
        shells.append((name, Patch(CENTRE + ray * radius[..., None], tile, shade, uv=uv, cut_out=True)))
    # seen from below, where hair overhangs the forehead or hangs beside the cheek
    lining = CENTRE + ray * (skin + 0.07 + height)[..., None]
    return [*shells, ("hair_lining", Patch(lining, "hair", 0.30, inside_out=True, uv=uv, cut_out=True))]


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = x.clip(0, 1)
    return x * x * (3 - 2 * x)


def _height(style: HairStyle, azimuth: np.ndarray, elevation: np.ndarray, down: np.ndarray) -> np.ndarray:
    """How far the outermost shell stands off the skin [rows,columns]."""
    front = np.exp(-((azimuth / 0.75) ** 2))
    above = _smoothstep((elevation - 0.30) / 0.75)
    height = style.side_cm + (style.top_cm - style.side_cm) * above
    height = height + style.quiff_cm * front * np.exp(-(((down - 0.78) / 0.22) ** 2))
    lean = 1 + 0.35 * style.parting * np.sin(azimuth + 0.9) * np.sin(np.pi * down)
    waves = 1 + 0.06 * np.sin(5 * azimuth + 2 * down) + 0.04 * np.sin(11 * azimuth - 3 * down)
    hangs = style.loose * _smoothstep((np.abs(azimuth) - 0.75) / 0.5)
    edge = ((1 - down) / 0.42).clip(0, 1) ** 0.6
    return height * lean * waves * (edge + (1 - edge) * 0.8 * hangs)


def _skin_radius(ray: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Distance of the skin from CENTRE along rays [...,3], a soft mean over the nearest points."""
    spoke = head - CENTRE
    radius = np.linalg.norm(spoke, axis=1)
    near = np.exp(60 * (ray.reshape(-1, 3) @ (spoke / radius[:, None]).T - 1)) + 1e-12
    return ((near @ radius) / near.sum(1)).reshape(ray.shape[:-1])
