# SPDX-License-Identifier: Apache-2.0
"""The judge of views knows what it looks at: the person itself, put in place of the head, is without fault."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from avatar3d import assets
from avatar3d.data_prep.synthetic import Film, Person, film
from avatar3d.face.canonical import load_canonical
from avatar3d.recipes import bench_views as recipe
from avatar3d.recipes.bench_views import ViewsSettings, bench_views, judged_around, report_views
from avatar3d.records import Camera, Landmarks, Motion, Track

SIDE = 72


@pytest.fixture(scope="module")
def filmed(face_task: Path) -> Film:
    return film(Person(load_canonical(face_task), 1), 0.6, SIDE, 3, furthest_deg=10.0)


def tracked(filmed: Film) -> Track:
    """The truth as a track: one component of the basis per frame."""
    frames = len(filmed)
    points = np.zeros((frames, 478, 3), np.float32)
    points[:, :468, :2] = filmed.truth.landmarks
    nothing = np.zeros((frames, 4), np.float32)
    motion = Motion(np.eye(frames, dtype=np.float32), nothing[:, :2], nothing, filmed.truth.world_from_head, 25.0)
    return Track(
        filmed.truth.camera, np.zeros((468, 3), np.float32), filmed.truth.vertices.transpose(1, 2, 0), motion,
        Landmarks(points, np.zeros((frames, 52), np.float32), np.ones(frames, bool)), np.ones(frames, np.float32),
        frames * 2 // 3, True, np.zeros((53, frames), np.float32),
    )  # fmt: skip


class Itself:
    """Draws the film."""

    def __init__(self, head: Any, _: Any) -> None:
        self.filmed: Film = head.filmed

    def frame(self, code: torch.Tensor, camera: Camera, room: torch.Tensor) -> np.ndarray:
        np.testing.assert_array_equal((room * 255).round().byte().numpy(), self.filmed.room(camera))
        return self.filmed.frame(int(code.argmax()), camera)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, face_task: Path) -> None:
    monkeypatch.setattr(recipe, "Player", Itself)
    monkeypatch.setattr(recipe, "VIEWS_DEG", ((0.0, 0.0), (30.0, 0.0), (0.0, -20.0)))
    monkeypatch.setattr(recipe, "_FRAMES", 1)
    monkeypatch.setattr(assets, "find", lambda *_: face_task)
    monkeypatch.setattr(assets, "state", lambda *_: {"where": "absent"})


def stand_in(filmed: Film) -> Any:
    return SimpleNamespace(filmed=filmed, encode=lambda motion: torch.from_numpy(motion.expression))


def test_the_person_itself_is_without_fault_from_every_side(filmed: Film) -> None:
    rows, sheet = judged_around(stand_in(filmed), tracked(filmed), filmed)
    assert [(row["yaw_deg"], row["pitch_deg"]) for row in rows] == [(0, 0), (30, 0), (0, -20)]
    assert all(row["psnr_head"] > 30 and row["psnr_face"] > 30 and row["lpips_head"] is None for row in rows)
    assert sheet.shape[1] == 3 * SIDE


def test_a_head_without_depth_is_found_out_from_the_side(filmed: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    class Flat(Itself):
        def frame(self, code: torch.Tensor, camera: Camera, room: torch.Tensor) -> np.ndarray:
            return self.filmed.frame(int(code.argmax()))

    monkeypatch.setattr(recipe, "Player", Flat)
    rows, _ = judged_around(stand_in(filmed), tracked(filmed), filmed)
    assert rows[0]["psnr_head"] > 30 and rows[1]["psnr_head"] < 22


def test_every_person_is_filmed_trained_and_judged(
    filmed: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, int | None]] = []

    def train(work: Any, head: str, settings: Any, watch: Any) -> tuple[Any, dict[str, Any]]:
        asked.append((settings.budget_s, settings.steps))
        return stand_in(filmed), {}

    monkeypatch.setattr(recipe, "film", lambda *_, **__: filmed)
    monkeypatch.setattr(recipe, "prepare", lambda *_, **__: SimpleNamespace(track=tracked(filmed)))
    monkeypatch.setattr(recipe, "train", train)
    figures = bench_views(tmp_path, ViewsSettings(people=(1, 2), steps=7))
    assert asked == [(None, 7)] * 2 and [row["person"] for row in figures["rows"]] == [1, 1, 1, 2, 2, 2]
    assert (tmp_path / "person2.mp4").is_file() and (tmp_path / "person1" / "runs" / "linear" / "views.png").is_file()
    assert report_views(figures).count("\n") == 6
