# SPDX-License-Identifier: Apache-2.0
"""`avatar3d bake`: a linear avatar of another kind's, and honest figures of the loss."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from made_up import COUNTS, MadeUp, make

from avatar3d.avatar.linear import LinearHead
from avatar3d.avatar.triplane import TriplaneHead, TriplaneSettings
from avatar3d.avatars import Avatar, open_avatar, save_avatar
from avatar3d.errors import InputError
from avatar3d.recipes.bake import bake, summary


@pytest.fixture(scope="module")
def made_up(face_task: Path) -> MadeUp:
    return make(face_task, frames=33)


@pytest.fixture(scope="module")
def folder(made_up: MadeUp, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An avatar whose field moves it, if without sense."""
    settings = TriplaneSettings(COUNTS, expression=2)
    head = TriplaneHead.from_track(made_up.capture, made_up.track, made_up.triangles, settings)
    for name in ("face/planes", "mouth/planes"):
        head.parts[name] = torch.randn(head.parts[name].shape, generator=torch.Generator().manual_seed(0))
    path = tmp_path_factory.mktemp("baking") / "me.avatar"
    save_avatar(path, Avatar(head, None, made_up.track.motion, {"name": "me"}))
    return path


def test_the_baked_avatar_is_linear_and_says_what_it_lost(folder: Path) -> None:
    figures = bake(folder)
    avatar = open_avatar(folder.with_name("me_baked.avatar"))
    assert isinstance(avatar.head, LinearHead)
    assert avatar.about["name"] == "me"
    assert avatar.about["baked_from"] == "triplane"
    assert avatar.about["baking"]["displacement_p99_mm"] == figures["displacement_p99_mm"]
    assert 0 < figures["displacement_mm"] < figures["displacement_p99_mm"] < figures["moved_p99_mm"]
    assert figures["psnr_full"] == [None, None]
    assert summary(figures)[0][1].startswith(figures["avatar"])


def test_a_linear_avatar_is_refused(folder: Path, made_up: MadeUp) -> None:
    path = folder.with_name("plain.avatar")
    save_avatar(path, Avatar(made_up.truth, None, made_up.track.motion))
    with pytest.raises(InputError, match="linear"):
        bake(path)


def test_an_avatar_for_another_blur_is_refused(folder: Path) -> None:
    path = folder.with_name("old.avatar")
    shutil.copytree(folder, path)
    manifest = json.loads((path / "avatar.json").read_text())
    manifest["rasterizer"]["blur_px2"] = 0.3
    (path / "avatar.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"blurs by 0\.3 px.2, this one does by 0\.1; create the avatar again"):
        open_avatar(path)


def test_a_folder_in_use_is_left_alone(folder: Path, tmp_path: Path) -> None:
    used = tmp_path / "used.avatar"
    used.mkdir()
    (used / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="no place for an avatar"):
        bake(folder, used)
    with pytest.raises(InputError, match="no place for an avatar"):
        bake(folder, tmp_path / "plain")
    assert [file.name for file in used.iterdir()] == ["mine.txt"]
