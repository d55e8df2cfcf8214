# SPDX-License-Identifier: Apache-2.0
"""Avatars of several kinds of head, made of one work folder: they stand beside one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import COUNTS, make

from avatar3d.avatar._radiance_fit import RadianceFitSettings
from avatar3d.avatar.linear import LinearSettings
from avatar3d.avatar.radiance import RadianceSettings
from avatar3d.avatar.rigged import RiggedSettings
from avatar3d.avatars import open_avatar
from avatar3d.errors import InputError
from avatar3d.player import Player
from avatar3d.recipes import train
from avatar3d.recipes._page import write_talking_page
from avatar3d.recipes._renderer import renderer_of
from avatar3d.recipes.bake import bake
from avatar3d.recipes.create import CreateSettings, create_from
from avatar3d.recipes.export_avatar import export_avatar
from avatar3d.recipes.info import info, report
from avatar3d.recipes.small import compact
from avatar3d.recipes.train import TrainSettings
from avatar3d.store import Work, frames_writer, save_capture, save_track
from avatar3d.store.capture import save_picture
from avatar3d.viewer.scene import Footage, Request, Scene

FEW_RAYS = RadianceFitSettings(samples=4000)
FOUR_STEPS = {
    "linear": {"quick": TrainSettings(None, 4, head=LinearSettings(COUNTS))},
    "rigged": {"quick": TrainSettings(None, 4, head=RiggedSettings(COUNTS))},
    "radiance": {"quick": TrainSettings(None, 4, head=RadianceSettings(COUNTS, cells=24, fit=FEW_RAYS))},
}
SOURCE = {"source": {"name": "me.mp4"}}


@pytest.fixture(scope="module")
def made(face_task: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Work, dict[str, dict[str, Any]]]:
    """A work folder, and what `create_from` tells of each kind of head, made in turn."""
    made_up, work = make(face_task), Work(tmp_path_factory.mktemp("kinds"))
    with frames_writer(work.frames, made_up.capture.frames.shape) as frames:
        frames[:] = made_up.capture.frames
    np.save(work.masks, np.full(made_up.capture.frames.shape[:3], 255, np.uint8))
    save_picture(work.background, made_up.capture.frames[0])
    save_capture(work, made_up.capture, made_up.track.landmarks, SOURCE)
    save_track(work, made_up.track)
    for stage in ("capture", "track", "masks"):
        work.finish(stage, "made up")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "PRESETS", FOUR_STEPS)
        told = {kind: create_from(work, CreateSettings(head=kind, preset="quick")) for kind in FOUR_STEPS}
        # a second turn finds everything done
        before = {path: path.stat().st_mtime_ns for path in work.path.glob("*.avatar/avatar.json")}
        for kind in FOUR_STEPS:
            create_from(work, CreateSettings(head=kind, preset="quick"))
        assert {path: path.stat().st_mtime_ns for path in before} == before
    return work, told


def test_each_kind_has_its_run_and_its_avatar(made: tuple[Work, dict[str, dict[str, Any]]]) -> None:
    work, told = made
    assert [Path(told[kind]["avatar"]).name for kind in FOUR_STEPS] == [
        "me.avatar",
        "me_rigged.avatar",
        "me_radiance.avatar",
    ]
    for kind, figures in told.items():
        assert type(open_avatar(Path(figures["avatar"])).head).__module__ == f"avatar3d.avatar.{kind}"
        assert (work.run(kind) / "head.safetensors").is_file()
        assert figures["head"]["steps"] == 4
        assert all(Path(sample).is_file() for sample in figures["samples"])


def test_a_head_that_pages_cannot_play_has_a_film_alone_until_it_is_baked(
    made: tuple[Work, dict[str, dict[str, Any]]], tmp_path: Path
) -> None:
    _, told = made
    suffixes = {kind: [Path(sample).suffix for sample in figures["samples"]] for kind, figures in told.items()}
    assert suffixes == {"linear": [".mp4", ".html"], "rigged": [".mp4"], "radiance": [".mp4"]}
    assert not any("avatar3d bake" in warning for warning in told["linear"]["warnings"])
    assert any("avatar3d bake" in warning for warning in told["rigged"]["warnings"])
    avatar = open_avatar(Path(told["rigged"]["avatar"]))
    with pytest.raises(InputError, match="linear heads only, not RiggedHead"):
        write_talking_page(tmp_path / "page.html", avatar, avatar.clip, None)
    for name in ("page.html", "web"):
        with pytest.raises(InputError, match=r"linear heads only, not rigged.*avatar3d bake"):
            export_avatar(Path(told["rigged"]["avatar"]), tmp_path / name, name.removeprefix("page."))
    assert not list(tmp_path.iterdir())
    baked = bake(Path(told["rigged"]["avatar"]), tmp_path / "flat.avatar")
    assert baked["from"] == "rigged"
    assert baked["displacement_p99_mm"] < baked["moved_p99_mm"]
    write_talking_page(tmp_path / "page.html", open_avatar(tmp_path / "flat.avatar"), avatar.clip, None)
    assert (tmp_path / "page.html").is_file()


def test_a_nerf_head_is_drawn_by_a_server_and_has_no_splats_to_give_away(
    made: tuple[Work, dict[str, dict[str, Any]]], tmp_path: Path
) -> None:
    _, told = made
    path = Path(told["radiance"]["avatar"])
    assert any("avatar3d view" in warning for warning in told["radiance"]["warnings"])
    assert not (path / "splats.ply").exists()
    assert info(path)["gaussians"] is None and "radiance" in report(info(path))
    avatar = open_avatar(path)
    with pytest.raises(InputError, match=r"linear heads only, not RadianceHead.*avatar3d view"):
        write_talking_page(tmp_path / "page.html", avatar, avatar.clip, None)
    for name in ("splats.ply", "me.glb", "me.spz"):
        with pytest.raises(InputError, match="no splats"):
            export_avatar(path, tmp_path / name)
    with pytest.raises(InputError, match="cannot be baked"):
        bake(path, tmp_path / "flat.avatar")
    with pytest.raises(InputError, match="made compact"):
        compact(path, tmp_path / "small.avatar")
    assert not list(tmp_path.iterdir())
    export_avatar(path, tmp_path / "motion.csv")
    scene = Scene(Footage(avatar.clip, avatar.head.camera), renderer_of, {"it": lambda: avatar.head})
    assert scene.picture(Request("it", 3, 48, 40)).shape == (40, 48, 3)
    with pytest.raises(InputError, match="renderer native: draws Gaussians"):
        Player(avatar.head, renderer_of(avatar.head, "native")).frame(avatar.head.encode(avatar.clip)[0])
