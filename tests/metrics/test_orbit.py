# SPDX-License-Identifier: Apache-2.0
"""A ball whose every pixel is computed, solid or spoilt in one known way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from avatar3d.face.groups import OVAL
from avatar3d.geometry import intrinsics, matrix_from_quat, project
from avatar3d.metrics.orbit import (
    VIEWS_DEG,
    OrbitFigures,
    as_json,
    head_region,
    orbit_figures,
    outstanding,
    seen_from,
    solid_region,
    turned_by,
)
from avatar3d.records import Camera, Gaussians, Image, Motion

SIDE, RADIUS, DISTANCE = 96, 1.0, 5.0
FRONT = np.array([0, 1, 0, 0, 0, 0, DISTANCE], np.float32)  # head space's y up and z out, in OpenCV's axes


def camera() -> Camera:
    return Camera(intrinsics(200.0, SIDE, SIDE), torch.eye(4), SIDE, SIDE)


def motion() -> Motion:
    nothing = np.zeros((1, 4), np.float32)
    return Motion(nothing[:, :1], nothing[:, :2], nothing, FRONT[None].copy(), 25.0)


def face() -> np.ndarray:
    """[468,3]: on the front of the ball, the outline on a circle, the chin lowest."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(468, 3))
    points[:, 2] = np.abs(points[:, 2]) + 1
    angle = np.pi / 2 - np.linspace(0, 2 * np.pi, len(OVAL), endpoint=False)
    points[list(OVAL)] = np.stack([np.cos(angle), np.sin(angle), np.full(len(OVAL), 0.9)], 1)
    return (0.7 * RADIUS * points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


class Ball:
    """Its pose is its code."""

    def __init__(self) -> None:
        self.camera = camera()
        self.background = torch.zeros(SIDE, SIDE, 3)

    def encode(self, moved: Motion, cuts: Any = ()) -> Tensor:
        return torch.from_numpy(moved.head)

    def pose(self, code: Tensor) -> Gaussians:
        return Gaussians(code, code, code, code, code, code)


@dataclass
class Drawn:
    """Casts a ray through every pixel."""

    alpha: float = 1.0
    specks: float = 0.0  # share of the pixels of a view from the side that are red
    hue: float = 0.0  # added to blue beside the front
    swimming: bool = False  # the texture stays where the picture is

    def __call__(self, gaussians: Gaussians, seen: Camera) -> Image:
        pose = gaussians.means
        at, view = np.mgrid[0:SIDE, 0:SIDE] + 0.5, seen.cam_from_world.double().numpy()
        rays = np.stack([(at[1] - SIDE / 2) / 200, (at[0] - SIDE / 2) / 200, np.ones((SIDE, SIDE))], -1)
        centre = view[:3, :3] @ pose[4:].double().numpy() + view[:3, 3]
        a, b = (rays**2).sum(-1), rays @ centre
        root = b**2 - a * (centre @ centre - RADIUS**2)
        hit = root > 0
        depth = (b - np.sqrt(root.clip(0))) / a
        cam_from_head = view[:3, :3] @ matrix_from_quat(pose[:4]).double().numpy()
        skin = (rays * depth[..., None] - centre) @ cam_from_head
        colour = 0.5 + 0.3 * np.sin(6 * (rays * 5 if self.swimming else skin))
        if (cam_from_head @ [0, 0, 1.0])[2] > -0.999:
            colour[..., 2] += self.hue
            colour[np.random.default_rng(1).random((SIDE, SIDE)) < self.specks] = [1, 0, 0]
        alpha = torch.from_numpy(hit * self.alpha).float()
        rgb = torch.from_numpy(colour).float() * alpha[..., None]
        return Image(rgb, alpha, torch.from_numpy(depth).float() * alpha)


def judged(drawn: Drawn, find: Any = None) -> dict[str, OrbitFigures]:
    return dict(orbit_figures(Ball(), drawn, motion(), face(), find))  # type: ignore[arg-type]


@pytest.mark.parametrize("turned", ["camera", "head"])
def test_a_solid_ball_is_without_fault_whatever_turns(turned: str) -> None:
    found = judged(Drawn())[turned]
    assert found.alpha_inside == pytest.approx(1) and found.see_through_pct == 0
    assert found.change_per_deg > 1 and found.unexplained < 0.05
    assert found.speckle < 2 and found.strange_pct < 5
    assert found.found is found.shape_pct_iod is found.shape_front_pct_iod is None


def test_what_shines_through_is_counted() -> None:
    found = judged(Drawn(alpha=0.9))["camera"]
    assert found.alpha_inside == pytest.approx(0.9) and found.see_through_pct == 100


def test_colours_that_do_not_stay_on_the_surface_are_unexplained() -> None:
    assert judged(Drawn(swimming=True))["camera"].unexplained > 0.5


def test_specks_are_counted_in_two_hundredths() -> None:
    clean, specked = (judged(Drawn(specks=share))["camera"].speckle for share in (0.0, 0.02))
    assert specked - clean == pytest.approx(0.02 / 0.005, rel=0.25)


def test_colours_that_the_front_has_not_are_strange() -> None:
    assert judged(Drawn(hue=0.5))["camera"].strange_pct > 40


def test_a_face_found_askew_is_told_by_its_shape() -> None:
    still = motion().head[0]
    wanted = [seen_from(camera(), still[4:], *at) for at in ((0.0, 0.0), *VIEWS_DEG)]
    shown = [project(_world(view), view.K).numpy() for view in wanted]
    iod = float(np.linalg.norm(shown[0][33] - shown[0][263]))
    answers = iter([shown[0], *(points + 7 for points in shown[1:3]), None, *(_wide(p, 0.02 * iod) for p in shown[4:])])
    once = orbit_figures(Ball(), Drawn(), motion(), face(), lambda _: next(answers, None))["camera"]  # type: ignore[arg-type]
    assert once.found == pytest.approx(0.9)
    assert once.shape_front_pct_iod == pytest.approx(0, abs=1e-3)
    assert once.shape_pct_iod == pytest.approx(2 * 7 / 9, rel=1e-3)


def test_turning_the_head_or_the_camera_shows_the_same_side() -> None:
    moved = turned_by(motion(), 20.0, -10.0)
    by_camera = Drawn()(Ball().pose(torch.from_numpy(FRONT)), seen_from(camera(), FRONT[4:], 20.0, -10.0))
    by_head = Drawn()(Ball().pose(torch.from_numpy(moved.head[0])), camera())
    torch.testing.assert_close(by_camera.rgb, by_head.rgb, atol=1e-4, rtol=0)
    # the nose at the front of the ball goes to the left when its right side, as the picture has it, comes to show
    nose = torch.tensor([[0.0, 0.0, DISTANCE - RADIUS]])
    view = seen_from(camera(), FRONT[4:], 20.0)
    assert project(nose @ view.cam_from_world[:3, :3].T + view.cam_from_world[:3, 3], view.K)[0, 0] < SIDE / 2 - 5


def test_a_head_is_larger_than_its_bones_but_ends_at_the_chin() -> None:
    bones, head = (region(face(), FRONT, camera()) for region in (solid_region, head_region))
    assert bones.sum() > 500 and head[bones].mean() > 0.95 and head.sum() > 1.5 * bones.sum()
    lowest = [int(np.flatnonzero(region.any(1))[-1]) for region in (bones, head)]
    assert lowest[1] <= lowest[0] + 6


def test_only_single_pixels_of_another_hue_stand_out() -> None:
    flat = np.full((20, 20, 3), 50.0, np.float32)
    flat[10, 10, 1] = 90
    flat[5, 5] = 200  # a glint is no speck
    flat[:, 15:, 2] = 200  # nor is an edge
    expected = np.zeros((20, 20))
    expected[10, 10] = 40
    np.testing.assert_array_equal(outstanding(flat), expected)


def test_one_frame_is_judged_and_its_figures_are_plain() -> None:
    two = replace(motion(), head=np.repeat(FRONT[None], 2, 0), expression=np.zeros((2, 1), np.float32))
    with pytest.raises(ValueError, match="one frame"):
        orbit_figures(Ball(), Drawn(), two, face())  # type: ignore[arg-type]
    plain = as_json(judged(Drawn()))  # type: ignore[arg-type]
    assert list(plain) == ["camera", "head"] and plain["camera"]["alpha_inside"] == pytest.approx(1)
    assert plain["head"]["found"] is None


def _world(view: Camera) -> Tensor:
    points = torch.from_numpy(face() * [1, -1, -1]).float() + torch.from_numpy(FRONT[4:])
    return points @ view.cam_from_world[:3, :3].T + view.cam_from_world[:3, 3]


def _wide(points: np.ndarray, by_px: float) -> np.ndarray:
    """Every other point moved to the one side, the others to the other."""
    signs = np.where(np.arange(len(points)) % 2, 1.0, -1.0)
    return points + np.stack([signs * by_px, np.zeros(len(points))], 1)
