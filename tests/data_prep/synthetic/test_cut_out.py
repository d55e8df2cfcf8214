# SPDX-License-Identifier: Apache-2.0
"""Masks and regions of made-up people, whose every pixel is known, before rooms of several kinds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.data_prep.masks import masks
from avatar3d.data_prep.regions import Region, regions
from avatar3d.data_prep.synthetic import Person, film
from avatar3d.face.canonical import CanonicalFace
from avatar3d.records import FPS, Camera, Capture, Landmarks, Motion, Track
from avatar3d.store import Work, save_track

SIZE, SECONDS, EVERY = 128, 12.0, 10


@dataclass(frozen=True)
class Shown:
    frames: np.ndarray  # [T,H,W,3] uint8, before the room that belongs to the person
    shares: dict[str, np.ndarray]  # [T,H,W] 0..1
    points: np.ndarray  # [T,468,2] px
    track: Track

    @property
    def alpha(self) -> np.ndarray:
        return np.clip(sum(self.shares.values()), 0, 1)

    def before(self, room: np.ndarray) -> np.ndarray:
        """The same person in another room [H,W,3], with a camera's noise."""
        alpha = self.alpha[..., None]
        noise = np.random.default_rng(0).normal(0, 2, self.frames.shape)
        return np.clip(self.frames * alpha + (1 - alpha) * room + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module", params=[0, 2], ids=["crop", "bob"])
def shown(request: pytest.FixtureRequest, canonical: CanonicalFace) -> Shown:
    footage = film(Person(canonical, request.param), SECONDS, SIZE, seed=request.param)
    rows = np.arange(0, len(footage), EVERY)
    shares = [footage.shares(int(row)) for row in rows]
    truth, count = footage.truth, len(rows)
    points = np.full((count, 478, 3), SIZE / 2, np.float32)
    points[:, :468, :2] = truth.landmarks[rows]
    still = np.zeros((count, 4), np.float32)
    motion = Motion(still[:, :2], still[:, :2], still, truth.world_from_head[rows], FPS)
    track = Track(
        Camera(truth.camera.K, torch.eye(4), SIZE, SIZE),
        np.zeros((468, 3), np.float32),
        np.zeros((468, 3, 2), np.float32),
        motion,
        Landmarks(points, np.zeros((count, 52), np.float32), np.ones(count, bool)),
        np.ones(count, np.float32),
        count,
        True,
        np.zeros((53, 2), np.float32),
    )
    return Shown(
        np.stack([footage.frame(int(row)) for row in rows]),
        {name: np.stack([each[name] for each in shares]) for name in shares[0]},
        points[:, :468, :2],
        track,
    )


def shelves(brightness: float) -> np.ndarray:
    """[H,W,3] a room full of things."""
    rng = np.random.default_rng(3)
    room = np.full((SIZE, SIZE, 3), 120.0)
    for _ in range(45):
        (x, y), (across, down) = rng.integers(0, SIZE, 2), rng.integers(6, SIZE // 3, 2)
        room[y : y + down, x : x + across] = rng.uniform(10, 230, 3)
    return brightness * room


def overlap(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Intersection over union [T] of shares [T,H,W]."""
    return np.minimum(found, true).sum((1, 2)) / np.maximum(np.maximum(found, true).sum((1, 2)), 1)


def cut_out(shown: Shown, frames: np.ndarray, folder: Path) -> np.ndarray:
    work = Work(folder)
    save_track(work, shown.track)
    made = masks(Capture(frames, None, FPS, (), "made up"), shown.track, work).masks
    assert made is not None
    return np.asarray(made) / 255


@pytest.mark.parametrize(
    ("brightness", "least"), [(None, 0.955), (1.0, 0.93), (0.3, 0.92)], ids=["own", "full", "dark"]
)
def test_people_are_cut_out_of_their_rooms(
    shown: Shown, brightness: float | None, least: float, tmp_path: Path
) -> None:
    frames = shown.frames if brightness is None else shown.before(shelves(brightness))
    found = cut_out(shown, frames, tmp_path)
    assert overlap(found, shown.alpha).mean() > least
    assert np.abs(found - shown.alpha).mean() < 0.03


def test_parts_are_told_apart(shown: Shown) -> None:
    rows = range(0, len(shown.frames), 5)
    whole = (shown.alpha * 255).astype(np.uint8)
    found = np.stack([regions(shown.frames[row], whole[row], shown.points[row]) for row in rows]) / 255
    assert np.allclose(found.sum(1), 1)
    assert np.abs(found[:, Region.ROOM] - (1 - whole[list(rows)] / 255)).max() < 0.02
    head = found[:, Region.HEAD] + found[:, Region.NECK]
    for name, share, least in (
        ("head", head, 0.75),
        ("hair", found[:, Region.HAIR], 0.5),
        ("torso", found[:, Region.TORSO], 0.93),
    ):
        assert overlap(share, shown.shares[name][list(rows)]).min() > least, name
    mouth = shown.shares["mouth"][list(rows)]
    open_wide = mouth.sum((1, 2)) > 25
    assert open_wide.any() and overlap(found[:, Region.MOUTH], mouth)[open_wide].min() > 0.7


def test_a_bald_head_in_plain_clothes_has_no_hair(shown: Shown) -> None:
    picture = np.full((SIZE, SIZE, 3), 180, np.uint8)
    oval = shown.shares["head"][0] + shown.shares["mouth"][0]
    found = regions(picture, (oval * 255).astype(np.uint8), shown.points[0])
    assert found[Region.HAIR].sum() < 0.1 * found[Region.HEAD].sum()
