# SPDX-License-Identifier: Apache-2.0
"""How a head holds up from sides that no frame showed: there is no truth to compare with, but a solid thing has rules.

A solid head lets nothing shine through; from one view to the next its points move as their depth says and keep their
colour; no pixel of it stands out of its surroundings more than from the front, few have a colour that was nowhere to be
seen from there; and a face is found where it must be.
Two ways of looking are judged: the camera goes round a head that does nothing ("camera"), and the head turns before the
camera that filmed it ("head"), which also drives whatever the head has learned to do when it turns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import torch
from scipy.ndimage import median_filter
from scipy.spatial import ConvexHull, cKDTree
from torch import Tensor

from avatar3d.contracts import Draw, Head
from avatar3d.face.groups import OVAL
from avatar3d.geometry import apply_pose, matrix_from_quat, project, quat_from_rotvec, quat_multiply, turn_about
from avatar3d.metrics.motion import eye_distance
from avatar3d.metrics.regions import inside_polygon
from avatar3d.records import Camera, Image, Motion

Turned = Literal["camera", "head"]
Find = Callable[[np.ndarray], np.ndarray | None]  # picture [H,W,3] uint8 -> landmarks [478,2 or 3] px of its face

YAW_DEG, PITCH_DEG = 30.0, 20.0
VIEWS_DEG = (*((yaw, 0.0) for yaw in (-30.0, -20.0, -10.0, 10.0, 20.0, 30.0)),
             *((0.0, pitch) for pitch in (-20.0, -10.0, 10.0, 20.0)))  # fmt: skip
_STEP_DEG = 2.0  # to the neighbouring view that each is compared with
_GREY = 0.5
_OPAQUE = 0.98
_SKULL_DEPTH = 0.45  # how far behind the outline of the face a head is surely solid, in widths of the face
_SKULL_WIDTH = 0.9
_HEAD_DEPTH, _HEAD_SIZE = 0.8, 1.45  # the same for the whole head, which is so much larger than its bones
_CHIN = 152
_NEIGHBOURS_PX = 5
_RARE = 0.005  # the share of a frontal view's pixels that stand out most
_LEAST_OUTSTANDING = 2.0  # levels of 255: a smooth frontal view must not make a fault of every small difference
_STRANGE = 10.0  # levels of 255 in one of the colours
_PALETTE = 4000  # pixels of the front whose colours are known
_MESH = 468


@dataclass(frozen=True)
class OrbitFigures:
    """Over the views of VIEWS_DEG: means, but for specks and strange colours, of which the worst view counts.

    None: it cannot be said (nothing to find faces with, no face found).
    """

    alpha_inside: float  # alpha where a head is surely solid
    see_through_pct: float  # share of that region's pixels whose alpha is below .98
    change_per_deg: float  # difference to the view next to it, in levels of 255 per degree, in the whole head
    unexplained: float  # how much of that change is left once the pixels have moved as their depth says; solid: near 0
    speckle: float  # how often a pixel's hue stands out as only one in 200 does from the front; 1: as rarely as there
    strange_pct: float  # share of the head's pixels whose colour is not to be seen from the front
    found: float | None  # share of views in which a face is found
    shape_pct_iod: float | None  # rms distance of its landmarks from the tracked face, % of inter-ocular distance
    shape_front_pct_iod: float | None  # the same of the frontal view, where the tracker saw the face


@dataclass(frozen=True)
class _View:
    """One picture of the head over grey."""

    image: Image
    rgb: np.ndarray  # [H,W,3] float32 0..255
    camera: Camera  # in which the head stands still
    solid: np.ndarray  # [H,W] bool, where it must be opaque
    head: np.ndarray  # [H,W] bool, what it drew of itself, hair and ears included
    points: np.ndarray  # [V,2] px, the tracked face


def orbit_figures(
    head: Head, draw: Draw, motion: Motion, face: np.ndarray, find: Find | None = None
) -> dict[Turned, OrbitFigures]:
    """The figures of one moment, with the camera turned and with the head turned.

    Args:
        motion: of one frame, best one whose head is held as it usually is.
        face: [468,3] u in head space, the tracked face of that frame.
        find: finds landmarks; without it `found` and the shape are None.
    """
    if len(motion) != 1:
        raise ValueError(f"motion: one frame expected, got {len(motion)}")
    with torch.no_grad():
        look = _Look(head, draw, motion, face)
        front = look.view("camera", 0.0, 0.0)
        return {turned: _figures(look, turned, front, find) for turned in ("camera", "head")}


def as_json(figures: dict[Turned, OrbitFigures]) -> dict[str, dict[str, float | None]]:
    """Plain values, rounded."""
    rows = {turned: asdict(found) for turned, found in figures.items()}
    return {turned: {k: None if v is None else round(v, 4) for k, v in row.items()} for turned, row in rows.items()}


def seen_from(camera: Camera, centre: np.ndarray | Tensor, yaw_deg: float, pitch_deg: float = 0.0) -> Camera:
    """A camera carried round a point of the world [3] u, which it keeps in sight.

    Positive yaw shows the side of the head that is at the right of the picture, positive pitch shows it from above.
    """
    return replace(camera, cam_from_world=camera.cam_from_world @ turn_about(_turn(yaw_deg, pitch_deg), _point(centre)))


def turned_by(motion: Motion, yaw_deg: float, pitch_deg: float = 0.0) -> Motion:
    """A motion whose head turns about its own origin, so that the camera that films sees what `seen_from` shows."""
    turn = quat_from_rotvec(torch.tensor([0.0, math.radians(yaw_deg), 0.0]))
    turn = quat_multiply(quat_from_rotvec(torch.tensor([math.radians(pitch_deg), 0.0, 0.0])), turn)
    poses = torch.from_numpy(motion.head)
    quats = quat_multiply(turn.expand(len(poses), 4), poses[:, :4])
    return replace(motion, head=torch.cat([quats, poses[:, 4:]], 1).numpy())


def solid_region(face: np.ndarray, world_from_head: np.ndarray, camera: Camera) -> np.ndarray:
    """[H,W] bool: where a head is surely solid, seen by `camera`: the face, and the skull some way behind it.

    Args:
        face: [468,3] u in head space.
    """
    return _hull(np.concatenate([face, _skull(face, _SKULL_DEPTH)]), world_from_head, camera)


def head_region(face: np.ndarray, world_from_head: np.ndarray, camera: Camera) -> np.ndarray:
    """[H,W] bool: the head with its ears and most of its hair, down to the chin."""
    points = np.concatenate([face, _skull(face, _HEAD_DEPTH)])
    middle = (points.min(0) + points.max(0)) / 2
    middle[1] = face[_CHIN, 1]
    return _hull(middle + _HEAD_SIZE * (points - middle), world_from_head, camera)


def _skull(face: np.ndarray, depth: float) -> np.ndarray:
    """Points `depth` widths of the face behind the upper half of its outline; behind the chin there is no bone."""
    oval = face[list(OVAL)]
    upper = oval[oval[:, 1] > np.median(face[:, 1])]
    return (upper - oval.mean(0)) * [_SKULL_WIDTH, _SKULL_WIDTH, 1] + oval.mean(0) - [0, 0, depth * np.ptp(oval[:, 0])]


def _hull(points: np.ndarray, world_from_head: np.ndarray, camera: Camera) -> np.ndarray:
    corners = _seen(points, world_from_head, camera)
    y, x = np.ogrid[0 : camera.height, 0 : camera.width]
    return inside_polygon(corners[ConvexHull(corners).vertices], x + 0.5, y + 0.5)


def outstanding(rgb: np.ndarray) -> np.ndarray:
    """How far the hue of each pixel [H,W,3] is from the median of the 5 x 5 px around it: [H,W], in levels.

    Hue is red less green, and blue less their mean. Hair, lashes and teeth are fine light and dark in every good
    picture; fine colours are not.
    """
    red, green, blue = np.moveaxis(rgb, -1, 0)
    hue = np.stack([red - green, blue - (red + green) / 2], -1)
    return np.abs(hue - median_filter(hue, (_NEIGHBOURS_PX, _NEIGHBOURS_PX, 1))).max(2)


class _Look:
    """One moment of a head, seen from anywhere."""

    def __init__(self, head: Head, draw: Draw, motion: Motion, face: np.ndarray) -> None:
        self.head, self.draw, self.motion, self.face = head, draw, motion, face
        self.code = head.encode(motion)[0]

    def view(self, turned: Turned, yaw_deg: float, pitch_deg: float) -> _View:
        still = self.motion.head[0]
        camera = seen_from(self.head.camera, still[4:], yaw_deg, pitch_deg)
        code, filmed_by = self.code, camera
        if turned == "head":
            code, filmed_by = self.head.encode(turned_by(self.motion, yaw_deg, pitch_deg))[0], self.head.camera
        image = self.draw(self.head.pose(code), filmed_by)
        rgb = image.over(torch.full((3,), _GREY, device=image.rgb.device)).clamp(0, 1).mul(255).cpu().numpy()
        # a turned head before a still camera is a still head before a turned camera
        solid, around = (region(self.face, still, camera) for region in (solid_region, head_region))
        drawn = around & (image.alpha.cpu().numpy() > 0.5)
        return _View(image, rgb, camera, solid, drawn, _seen(self.face, still, camera))


def _figures(look: _Look, turned: Turned, front: _View, find: Find | None) -> OrbitFigures:
    usual = _Usual(front)
    rows = np.array([_row(view, beside, usual) for view, beside in _pairs(look, turned)])
    alpha, see_through, plain, left = rows[:, :4].mean(0)
    speckle, strange = rows[:, 4:].max(0)
    iod = eye_distance(front.points[None])
    distances: list[float | None] = []
    if find is not None:
        views = (look.view(turned, *at) for at in ((0.0, 0.0), *VIEWS_DEG))
        distances = [_shape_pct(view, find, iod) for view in views]
    sides = [distance for distance in distances[1:] if distance is not None]
    return OrbitFigures(
        alpha_inside=float(alpha),
        see_through_pct=float(100 * see_through),
        change_per_deg=float(plain / _STEP_DEG),
        unexplained=float(left / max(plain, 1e-9)),
        speckle=float(speckle / _RARE),
        strange_pct=float(100 * strange),
        found=len(sides) / len(VIEWS_DEG) if distances else None,
        shape_pct_iod=float(np.mean(sides)) if sides else None,
        shape_front_pct_iod=distances[0] if distances else None,
    )


def _pairs(look: _Look, turned: Turned) -> Iterator[tuple[_View, _View]]:
    """Every view and the one next to it, nearer to the front."""
    for yaw, pitch in VIEWS_DEG:
        nearer = [value - math.copysign(_STEP_DEG, value) if value else 0.0 for value in (yaw, pitch)]
        yield look.view(turned, yaw, pitch), look.view(turned, nearer[0], nearer[1])


def _row(view: _View, beside: _View, usual: _Usual) -> list[float]:
    """Alpha, see-through pixels, change, change that depth does not explain, outstanding and strange pixels."""
    solid, head = view.solid, view.head
    if not solid.any() or not head.any():
        return [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    alpha = view.image.alpha.cpu().numpy()[solid]
    change = np.abs(view.rgb - beside.rgb)[head].mean()
    left = np.abs(view.rgb - _moved(beside, view))[head].mean()
    speckle = (outstanding(view.rgb)[head] > usual.limit).mean()
    return [alpha.mean(), (alpha < _OPAQUE).mean(), change, left, speckle, usual.strange(view.rgb[head])]


class _Usual:
    """What is to be seen from the front."""

    def __init__(self, front: _View) -> None:
        there = front.rgb[front.head]
        self.colours = cKDTree(there[np.linspace(0, len(there) - 1, min(_PALETTE, len(there))).astype(int)])
        apart = outstanding(front.rgb)[front.head]
        self.limit = max(float(np.quantile(apart, 1 - _RARE)), _LEAST_OUTSTANDING)

    def strange(self, colours: np.ndarray) -> float:
        """Share of colours [N,3] that are far from all colours of the front."""
        apart, _ = self.colours.query(colours, p=np.inf, distance_upper_bound=_STRANGE)
        return float(np.isinf(apart).mean())


def _moved(source: _View, to: _View) -> np.ndarray:
    """[H,W,3]: what `source` shows where the depth of `to` says its pixels lie there."""
    K, height, width = to.camera.K.cpu(), to.camera.height, to.camera.width
    depth = (to.image.depth / to.image.alpha.clamp_min(1e-4)).cpu()
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    points = torch.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], torch.ones_like(x)], -1) * depth[..., None]
    source_from_to = source.camera.cam_from_world.cpu() @ torch.linalg.inv(to.camera.cam_from_world.cpu())
    there = project(points @ source_from_to[:3, :3].T + source_from_to[:3, 3], K)
    grid = there / torch.tensor([width, height]) * 2 - 1
    planes = torch.from_numpy(source.rgb).permute(2, 0, 1)[None]
    sampled = torch.nn.functional.grid_sample(planes, grid[None], padding_mode="border", align_corners=False)
    return sampled[0].permute(1, 2, 0).numpy()


def _shape_pct(view: _View, find: Find, iod: float) -> float | None:
    """Rms distance of a view's landmarks from the tracked face, both about their means."""
    found = find(view.rgb.round().astype(np.uint8))
    if found is None:
        return None
    apart = found[:_MESH, :2] - view.points
    return float(100 * np.sqrt(np.square(apart - apart.mean(0)).sum(1).mean()) / iod)


def _seen(points: np.ndarray, world_from_head: np.ndarray, camera: Camera) -> np.ndarray:
    """Pixels [N,2] of points [N,3] u in head space."""
    world = apply_pose(torch.from_numpy(world_from_head).float(), torch.from_numpy(points).float())
    view = camera.cam_from_world.cpu()
    return project(world @ view[:3, :3].T + view[:3, 3], camera.K.cpu()).numpy()


def _turn(yaw_deg: float, pitch_deg: float) -> Tensor:
    about_y = quat_from_rotvec(torch.tensor([0.0, math.radians(yaw_deg), 0.0]))
    about_x = quat_from_rotvec(torch.tensor([math.radians(pitch_deg), 0.0, 0.0]))
    return matrix_from_quat(quat_multiply(about_x, about_y))


def _point(centre: np.ndarray | Tensor) -> Tensor:
    return torch.as_tensor(centre, dtype=torch.float32)
