# SPDX-License-Identifier: Apache-2.0
"""A fictional person: drawn from any camera, with every vertex known.

Inside, lengths are centimetres on a stage whose axes are those of the head at rest (x to the image's right, y up, z to
the filming camera). `vertices` and `draw` speak the house's units: u, OpenCV axes, the filming camera at identity.
"""

from __future__ import annotations

import numpy as np
import torch

from avatar3d.data_prep.synthetic import parts, raster
from avatar3d.data_prep.synthetic.cast import CAST
from avatar3d.data_prep.synthetic.controls import COLUMN, GAZE_RAD
from avatar3d.data_prep.synthetic.face import CM_PER_U, EYE_CENTRES, EYE_RADIUS, TRAITS, FaceRig, swing_jaw
from avatar3d.data_prep.synthetic.hair import STYLES, hair
from avatar3d.data_prep.synthetic.light import Lamp, developed, linear
from avatar3d.data_prep.synthetic.mesh import Patch, Refined, sew, without_openings
from avatar3d.data_prep.synthetic.occlusion import openness
from avatar3d.data_prep.synthetic.paint import FACE_SIDE, FacePainter, cloud
from avatar3d.data_prep.synthetic.tiles import TILES, Level, atlas
from avatar3d.face.canonical import CanonicalFace
from avatar3d.face.groups import INNER_LIPS, LEFT_EYE, OVAL, RIGHT_EYE
from avatar3d.geometry import intrinsics, matrix_from_quat, quat_from_matrix
from avatar3d.records import Camera

FOCAL_PER_SIZE = 1.95
_CAMERA_AT = np.array([0.0, 0.6, 62.0], np.float32)  # stage
_NECK_PIVOT = np.array([0.0, -7.0, -4.0], np.float32)  # stage
_TO_OPENCV = np.array([1.0, -1.0, -1.0], np.float32)
_NEAR_U = 0.05
_LID_CM = 0.09
_KEY_LIGHT = np.array([-0.35, 0.6, 0.75])
_LOOPS = {"skull": OVAL, "bag": INNER_LIPS, "pocket_right": RIGHT_EYE, "pocket_left": LEFT_EYE}
_NO_SHADOW = (
    "hair_mid", "hair_top", "hair_lining", "bag", "pocket_right", "pocket_left", "teeth_upper", "teeth_lower", "tongue",
)  # fmt: skip
# 0 is the head, 1 hair, 2 torso, 3 the interior of the mouth
_KINDS = {"skull": 1, "hair": 1, "shirt": 2, "bag": 3, "teeth_upper": 3, "teeth_lower": 3, "tongue": 3}
_UNLIT = ("hair", *_NO_SHADOW)  # their shade is given


def filming_camera(size: int) -> Camera:
    """The camera that films: the world's axes are its own."""
    return Camera(intrinsics(FOCAL_PER_SIZE * size, size, size), torch.eye(4), size, size)


def world_from_head(turn_rad: np.ndarray, shift_cm: np.ndarray) -> np.ndarray:
    """Poses [T,7] (records' conventions) of heads turned by yaw, pitch, roll [T,3] about the neck and shifted [T,3]."""
    rotation = np.stack([_rotation(*row) for row in turn_rad]) if len(turn_rad) else np.zeros((0, 3, 3))
    stage = _NECK_PIVOT - rotation @ _NECK_PIVOT + shift_cm - _CAMERA_AT
    quat = quat_from_matrix(torch.from_numpy(_TO_OPENCV[:, None] * rotation)).numpy()
    return np.concatenate([quat, stage * _TO_OPENCV / CM_PER_U], 1).astype(np.float32)


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Stage rotation [3,3]: roll, then pitch (down), then yaw (to the image's right)."""
    (cy, cp, cr), (sy, sp, sr) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


class Person:
    """One of several made-up people.

    Args:
        face: the canonical face.
        seed: who; 0 is the one of the README.
    """

    def __init__(self, face: CanonicalFace, seed: int = 0) -> None:
        rng = np.random.default_rng((seed, 0))
        character = CAST[seed % len(CAST)]
        traits = character.traits or {name: float(rng.uniform(-0.4, 0.9)) for name in TRAITS}
        self.seed, self.voice = seed, character.voice
        self._rig = FaceRig(face, traits)
        coarse = without_openings(face.triangles)
        self._refined = Refined(coarse, 468)
        self._rings = {name: parts.ring(self._refined, loop) for name, loop in _LOOPS.items()}
        skin = self._refined.curved(self._rig.rest)
        patches = _patches({name: skin[ring] for name, ring in self._rings.items()}, skin, character.hair)
        texels = self._refined.linear(face.uv * FACE_SIDE)
        self.surface = sew(skin, texels, self._refined.triangles, patches, TILES)
        self._rest = {name: patch.points.reshape(-1, 3).astype(np.float32) for name, patch in patches}
        self._dim()
        painter = FacePainter(self._rig.canonical, face.uv, coarse, character.palette, STYLES[character.hair], rng)
        named = dict(patches)
        self._neck_shape = named["neck"].points.shape
        self._atlas = atlas(painter.paint(), character.palette, STYLES[character.hair], named["skull"].points, rng)
        self._lamp = Lamp()
        self._backdrops: dict[int, np.ndarray] = {}

    def vertices(self, controls: np.ndarray) -> np.ndarray:
        """Face vertices [T,468,3] float32 u in head space for controls [T,C] (columns CONTROLS)."""
        return self._rig.shape(controls) / np.float32(CM_PER_U)

    def draw(
        self, vertices: np.ndarray, controls: np.ndarray, world_from_head: np.ndarray, camera: Camera,
        background: np.ndarray, samples: int = 2,
    ) -> np.ndarray:  # fmt: skip
        """One picture [H,W,3] uint8.

        Args:
            vertices: [468,3] u in head space.
            controls: [C].
            world_from_head: [7].
            camera: any; the filming camera is `filming_camera(size)`.
            background: linear light [3] or [H*samples,W*samples,3].
            samples: per side of a pixel.
        """
        points, shade = self._staged(vertices * np.float32(CM_PER_U), controls, world_from_head)
        width, height = camera.width * samples, camera.height * samples
        xy, depth_u = _project((points - _CAMERA_AT) * (_TO_OPENCV / CM_PER_U), camera, samples)
        light = np.empty((height * width, 3), np.float32)
        light.reshape(height, width, 3)[:] = background
        pixel, colour = self._shaded(points, shade, xy, depth_u, width, height)
        light[pixel] = colour
        return developed(_averaged(light.reshape(height, width, 3), samples))

    def shares(
        self, vertices: np.ndarray, controls: np.ndarray, world_from_head: np.ndarray, camera: Camera, samples: int = 2
    ) -> dict[str, np.ndarray]:
        """How much [H,W] 0..1 of each pixel of `draw` shows "head", "hair", "torso" and "mouth" (its interior).

        Skull and hair are both "hair", neck and ears "head".
        """
        points, _ = self._staged(vertices * np.float32(CM_PER_U), controls, world_from_head)
        width, height = camera.width * samples, camera.height * samples
        xy, depth_u = _project((points - _CAMERA_AT) * (_TO_OPENCV / CM_PER_U), camera, samples)
        front, corners = self._front(xy, depth_u, width, height)
        kinds = np.zeros(len(points), np.int8)
        for name, span in self.surface.spans.items():
            kinds[span] = _KINDS.get(name, _KINDS["hair"] if name.startswith("hair") else 0)
        kind = kinds[corners[front.slot, 0]]
        made = {}
        for number, name in enumerate(("head", "hair", "torso", "mouth")):
            there = np.zeros(height * width, np.float32)
            there[front.pixel[kind == number]] = 1
            made[name] = _averaged(there.reshape(height, width), samples)
        return made

    def backdrop(self, size: int) -> np.ndarray:
        """A room out of focus: linear light [size,size,3]."""
        if size not in self._backdrops:
            self._backdrops[size] = self._room(size)
        return self._backdrops[size]

    def room(self, background: np.ndarray, samples: int = 2) -> np.ndarray:
        """The picture [H,W,3] uint8 that `draw` would give if nobody were there."""
        return developed(_averaged(background, samples))

    def _room(self, size: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, 4))
        y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j]
        room = np.stack([0.62 - 0.17 * y, 0.66 - 0.18 * y, 0.66 - 0.15 * y], -1)
        window = np.exp(-(((x - 0.08) / 0.35) ** 2) - ((y - 0.25) / 0.45) ** 2)[..., None]
        room += window * np.array([0.13, 0.10, 0.045])
        for _ in range(11):
            across, down, radius = rng.uniform(0, 1), rng.uniform(0, 0.8), rng.uniform(0.05, 0.2)
            disc = (1.15 - np.hypot(x - across, y - down) / radius).clip(0, 1)[..., None]
            room += _smoothstep(disc) * rng.uniform(-0.04, 0.07) * np.array([1.25, 1, 0.65])
        room *= 1 + 0.02 * cloud(rng, (size, size), 3, 2)[..., None]
        vignette = 1 - 0.35 * ((x - 0.5) ** 2 + (y - 0.45) ** 2)[..., None]
        return linear((room * vignette).clip(0, 1))

    def _dim(self) -> None:
        """Multiplies the surface's shade by how open each vertex is to the light."""
        surface = self.surface
        casts = np.ones(len(surface.points), bool)
        for name in _NO_SHADOW:
            casts[surface.spans[name]] = False
        casters = surface.triangles[casts[surface.triangles].all(1)]
        free = openness(surface.points, surface.normals(surface.points), casters, _KEY_LIGHT)
        lit = 0.28 + 0.72 * free**1.15
        for name in _UNLIT:
            lit[surface.spans[name]] = 1
        surface.shade *= lit

    def _staged(
        self, face: np.ndarray, controls: np.ndarray, world_from_head: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """All points [N,3] on the stage, and their shade [N]."""
        points = self.points_in_head(face, controls)
        quat = torch.from_numpy(np.asarray(world_from_head[:4], np.float64))
        rotation = (_TO_OPENCV[:, None] * matrix_from_quat(quat).numpy()).astype(np.float32)
        move = world_from_head[4:] * CM_PER_U * _TO_OPENCV + _CAMERA_AT
        still = 0.25 * (move - _NECK_PIVOT + rotation @ _NECK_PIVOT)  # the chest follows a shift a little
        posed = (points @ rotation.T + move).astype(np.float32)
        shirt, neck = self.surface.spans["shirt"], self.surface.spans["neck"]
        posed[shirt] = points[shirt] + still
        rigid = _smoothstep(np.linspace(-0.25, 1.75, self._neck_shape[0])).repeat(self._neck_shape[1])[:, None]
        posed[neck] = posed[neck] * (1 - rigid) + (points[neck] + still) * rigid
        return posed, self._shade_eyes(points)

    def points_in_head(self, face: np.ndarray, controls: np.ndarray) -> np.ndarray:
        """Every point of `surface` [N,3] in head space, moved by controls [C]; face [468,3], all in cm."""
        spans, points = self.surface.spans, self.surface.points.copy()
        points[: self._refined.total] = skin = _over_balls(self._refined.curved(face.astype(np.float32)))
        opening = float(controls[COLUMN["jaw"]])
        for name in ("teeth_lower", "tongue"):
            points[spans[name]] += swing_jaw(self._rest[name], 1.0, opening)
        points[spans["tongue"]] += np.array([0, 1.0, 0.9], np.float32) * controls[COLUMN["tongue"]]
        points[spans["bag"]] = parts.mouth_bag_rows(skin[self._rings["bag"]]).reshape(-1, 3)
        for name in ("pocket_right", "pocket_left"):
            points[spans[name]] = parts.eye_pocket_rows(skin[self._rings[name]]).reshape(-1, 3)
        gaze = GAZE_RAD * controls[[COLUMN["gaze_x"], COLUMN["gaze_y"]]]
        look = _rotation(gaze[0], -gaze[1], 0.0).astype(np.float32)
        for side, name in enumerate(("eye_right", "eye_left")):
            points[spans[name]] = self._eye @ look.T + EYE_CENTRES[side]
        columns = len(self._rings["skull"])
        skull = points[spans["skull"]]  # a view
        skull[:columns] = skin[self._rings["skull"]]
        soft = skull[columns : 4 * columns]
        low = ((-2 - soft[:, 1]) / 6).clip(0, 1) * np.repeat(parts.SKULL_SOFT_ROWS, columns)
        soft += swing_jaw(soft, low, opening)
        return points

    @property
    def _eye(self) -> np.ndarray:
        return self._rest["eye_right"] - EYE_CENTRES[0]

    def _shade_eyes(self, points: np.ndarray) -> np.ndarray:
        """The surface's shade with the shadow of the lids, which stays where it is when the eyes turn."""
        shade = self.surface.shade.copy()
        for side, name in enumerate(("eye_right", "eye_left")):
            off = points[self.surface.spans[name]] - EYE_CENTRES[side]
            lid = _smoothstep(((off[:, 1] - 0.05) / 0.55).clip(0, 1))
            corner = _smoothstep(((np.abs(off[:, 0]) - 0.55) / 0.7).clip(0, 1))
            shade[self.surface.spans[name]] = 0.92 * (1 - 0.62 * lid) * (1 - 0.45 * corner)
        return shade

    def _shaded(
        self, points: np.ndarray, shade: np.ndarray, xy: np.ndarray, depth_u: np.ndarray, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Covered pixels [P] and their linear light [P,3]."""
        surface, level = self.surface, self._level(max(width, height))
        front, corners = self._front(xy, depth_u, width, height)
        values = np.concatenate([surface.uv, surface.normals(points), shade[:, None]], 1)
        seen = front.interpolate(values[corners])
        paint = level.texels.take(level.at(seen[:, :2]), 0)
        light = self._lamp(seen[:, 2:5]) * seen[:, 5:]
        return front.pixel, paint[:, :3] * light[:, :3] + paint[:, 3:] * light[:, 3:]

    def _front(self, xy: np.ndarray, depth_u: np.ndarray, width: int, height: int) -> tuple[raster.Cover, np.ndarray]:
        """What is nearest at each covered pixel, and the corners [K,3] of its triangles."""
        surface, level = self.surface, self._level(max(width, height))
        triangles, cut_out = surface.triangles, surface.cut_out
        behind = depth_u < _NEAR_U
        if behind.any():
            ahead = ~behind[triangles].any(1)
            triangles, cut_out = triangles[ahead], cut_out[ahead]
        fragments = raster.cover(xy, triangles, width, height)
        corners = triangles[fragments.triangle]
        texel = surface.uv[corners]
        fragments = raster.without(
            fragments, cut_out[fragments.triangle], lambda some: ~level.solid[level.at(some.interpolate(texel))]
        )
        front, _ = raster.nearest(fragments, 1 / depth_u[corners], width * height)
        return front, corners

    def _level(self, side: int) -> Level:
        """The atlas at about two texels per sample: finer would flicker."""
        wanted = 1024 // max(side, 1)
        return self._atlas[min(len(self._atlas) - 1, max(0, wanted.bit_length() - 1))]


def _project(points_u: np.ndarray, camera: Camera, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples [N,2] and depths [N] (u) of world points [N,3]."""
    cam_from_world = camera.cam_from_world.numpy().astype(np.float32)
    K = camera.K.numpy().astype(np.float32)
    seen = points_u @ cam_from_world[:3, :3].T + cam_from_world[:3, 3]
    depth = seen[:, 2]
    safe = np.where(depth < _NEAR_U, np.float32(_NEAR_U), depth)
    xy = seen[:, :2] / safe[:, None] * K[[0, 1], [0, 1]] + K[:2, 2]
    return samples * xy, safe


def _over_balls(skin: np.ndarray) -> np.ndarray:
    """The refined face with the midpoints of the lids lifted onto the eyeballs; the 468 stay where they are."""
    for centre in EYE_CENTRES:
        spoke = skin[468:] - centre
        length = np.sqrt((spoke * spoke).sum(1))
        sunk = np.nonzero((length < EYE_RADIUS + _LID_CM) & (spoke[:, 2] > 0))[0]
        skin[468 + sunk] = centre + spoke[sunk] * ((EYE_RADIUS + _LID_CM) / length[sunk, None])
    return skin


def _averaged(light: np.ndarray, samples: int) -> np.ndarray:
    """Means over blocks of samples; numpy adds strided pictures many times faster than it reduces short axes."""
    total = light[::samples, ::samples].copy()
    for offset in range(1, samples * samples):
        total += light[offset // samples :: samples, offset % samples :: samples]
    total /= samples * samples
    return total


def _patches(loops: dict[str, np.ndarray], skin: np.ndarray, style: str) -> list[tuple[str, Patch]]:
    """Everything but the face at rest; loops: points of _LOOPS."""
    skull = parts.skull(loops["skull"])
    eye = parts.eyeball()
    head = np.concatenate([skin, skull.points.reshape(-1, 3)])
    named = [
        ("skull", skull),
        ("neck", parts.neck()),
        ("shirt", parts.shirt()),
        ("ear_right", parts.ear(-1)),
        ("ear_left", parts.ear(1)),
        *((name, _moved(eye, centre)) for name, centre in zip(("eye_right", "eye_left"), EYE_CENTRES, strict=True)),
        ("pocket_right", parts.eye_pocket(loops["pocket_right"], False)),
        ("pocket_left", parts.eye_pocket(loops["pocket_left"], True)),
        ("bag", parts.mouth_bag(loops["bag"])),
        ("teeth_upper", parts.upper_teeth()),
        ("teeth_lower", parts.lower_teeth()),
        ("tongue", parts.tongue()),
    ]
    return named + hair(STYLES[style], head)


def _moved(patch: Patch, by: np.ndarray) -> Patch:
    return Patch(patch.points + by, patch.tile, patch.shade, patch.inside_out, patch.uv, patch.cut_out, patch.welded)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
