# SPDX-License-Identifier: Apache-2.0
"""An avatar as files of other programs: what is in them, in which space, and one line where it cannot be."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import made_up
import numpy as np
import pytest
import torch

from avatar3d import cli
from avatar3d.avatars import Avatar, open_avatar, save_avatar
from avatar3d.data_prep.exchange import live_link
from avatar3d.motion._head_motion import usual_pose
from avatar3d.ops import splat_reference
from avatar3d.player import Player
from avatar3d.recipes.export_avatar import Shown, carried, export_avatar, named_of_work, splats_of
from avatar3d.records import Gaussians, Sound
from avatar3d.render.reference import Reference
from avatar3d.splat_files.ply import Ply
from avatar3d.splat_files.spz import Spz
from avatar3d.store import AvatarFolder


@pytest.fixture(scope="module")
def made(face_task: Path) -> Avatar:
    return made_up.avatar(face_task)


@pytest.fixture(scope="module")
def folder(face_task: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.saved_avatar(face_task, tmp_path_factory.mktemp("avatar"))


def view(avatar: Avatar, head_space: Gaussians) -> torch.Tensor:
    """[H,W,3] as the camera that filmed sees the head in its usual pose."""
    pose = torch.from_numpy(usual_pose(avatar.clip))
    return Reference()(carried(head_space, pose), avatar.head.camera).over(torch.full((3,), 0.5))


def apart_db(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * (a - b).square().mean().clamp_min(1e-12).log10())


@pytest.mark.parametrize(("part", "least_db"), [(Ply(), 90), (Spz(), 45)])
def test_the_neutral_head_comes_back_alike(part: Ply | Spz, least_db: float, folder: Path, tmp_path: Path) -> None:
    avatar = open_avatar(folder)
    figures = export_avatar(folder, tmp_path / f"head{part.suffixes[0]}")
    assert figures["splats"] == len(avatar.head.tensors()["means"])
    neutral = view(avatar, splats_of(avatar, Shown()))
    assert apart_db(view(avatar, part.read(tmp_path / f"head{part.suffixes[0]}")), neutral) > least_db
    assert apart_db(neutral, torch.full((3,), 0.5)) < 30  # there is something to see


@pytest.mark.parametrize("space", ["head", "world"])
def test_a_frame_of_the_clip_is_what_the_player_shows(space: str, folder: Path) -> None:
    avatar = open_avatar(folder)
    found = splats_of(avatar, Shown(frame=9, space=space))  # type: ignore[arg-type]
    back = carried(found, torch.tensor([0.0, 1, 0, 0, 0, 0, 0]))
    if space == "head":
        back = carried(found, torch.from_numpy(avatar.clip.head[9]))
    drawn = Reference()(back, avatar.head.camera).over(avatar.head.background)
    shown = Player(avatar.head, Reference()).image(avatar.head.encode(avatar.clip)[9], avatar.head.camera)
    assert apart_db(drawn, shown.over(avatar.head.background)) > 60


def test_the_world_has_y_up_and_the_camera_looks_back(folder: Path) -> None:
    avatar = open_avatar(folder)
    world = splats_of(avatar, Shown(space="world")).means
    assert (world[:, 2] < 0).all()
    neutral = splats_of(avatar, Shown()).means
    top, chin = neutral[:, 1].argmax(), neutral[:, 1].argmin()
    assert world[top, 1] > world[chin, 1]


def test_a_pose_is_named_by_expressions(folder: Path) -> None:
    avatar = open_avatar(folder)
    neutral, posed = (splats_of(avatar, Shown(pose=pose)) for pose in ("jawOpen=0", "jawOpen=1, mouthPucker=0.5"))
    assert (neutral.means - posed.means).norm(dim=1).max() > 0.01


def test_narrower_splats_look_alike_under_a_wider_blur(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    avatar = open_avatar(folder)
    plain, narrow = splats_of(avatar, Shown()), splats_of(avatar, Shown(blur_px2=0.3))
    true = view(avatar, plain)
    monkeypatch.setattr(splat_reference, "BLUR_PX2", 0.3)
    before, after = apart_db(view(avatar, plain), true), apart_db(view(avatar, narrow), true)
    assert after > before + 15, (before, after)


def test_a_clip_as_csv_moves_the_head_as_before(made: Avatar, tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(1)
    told = made.head.tensors() | {"arkit_map": 2 * torch.randn(53, 2, generator=g)}
    avatar = replace(made, head=type(made.head).restore(made.head.config(), told))
    save_avatar(tmp_path / "told.avatar", avatar)
    figures = export_avatar(tmp_path / "told.avatar", tmp_path / "clip.csv")
    back = live_link.read(tmp_path / "clip.csv")
    assert figures["frames"] == len(back) == len(avatar.clip)
    np.testing.assert_allclose(back.blink, avatar.clip.blink.clip(0, 1), atol=1e-5)
    codes, again = (avatar.head.encode(one)[:, :2] for one in (avatar.clip, replace(back, head=avatar.clip.head)))
    assert float((codes - again).square().mean().sqrt()) < 0.05 * float(codes.std())


def test_pages_are_one_file_or_a_folder(folder: Path, tmp_path: Path) -> None:
    export_avatar(folder, tmp_path / "clip.html")
    figures = export_avatar(folder, tmp_path / "site", "web")
    assert figures["frames"] == 22
    site, alone = (path.read_text() for path in (tmp_path / "site" / "index.html", tmp_path / "clip.html"))
    # the folder's page reads the avatar beside it; the file has all of it inside
    assert "<html" in site and "<html" in alone and len(site) < len(alone)


def test_a_page_keeps_the_avatars_own_files_and_its_clips_their_sound(folder: Path, tmp_path: Path) -> None:
    spoken = shutil.copytree(folder, tmp_path / "spoken.avatar")
    AvatarFolder(spoken).add_clip("sample", open_avatar(folder).clip, Sound(np.ones(24_000, np.float32), 24_000))
    export_avatar(spoken, tmp_path / "site", "web")
    names = AvatarFolder(spoken).read_manifest()["files"]
    assert any(name.endswith(".flac") for name in names)
    for name in ("avatar.json", *names):
        assert (tmp_path / "site" / name).read_bytes() == (spoken / name).read_bytes()


def test_a_work_folder_is_not_written_as_an_avatars_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(tmp_path), "-o", str(tmp_path / "head.spz")]) == 2
    assert "name the avatar in it" in capsys.readouterr().err and not list(tmp_path.iterdir())
    assert (
        named_of_work(tmp_path / "clip.csv", tmp_path) == "csv" and named_of_work(tmp_path / "data", tmp_path) is None
    )


def test_what_stands_there_is_kept_until_the_new_file_is_whole(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "head.ply").write_text("old")
    code = cli.main(["export", str(folder), "-o", str(tmp_path / "head.ply"), "--frame", "22"])
    assert code == 2 and (tmp_path / "head.ply").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-o", "head.stl"], "no format by this ending"),
        (["-o", "head.ply", "--format", "spz"], "end it in .spz"),
        (["-o", "head.ply", "--format", "colmap"], "choose one of: glb, ply, spz, usd, csv, html, web"),
        (["-o", "head.ply", "--frame", "22"], "choose 0 to 21"),
        (["-o", "head.ply", "--frame", "1", "--pose", "jawOpen=1"], "no --pose with it"),
        (["-o", "head.ply", "--pose", "jawOpne=1"], "no expression named 'jawOpne'"),
        (["-o", "head.ply", "--pose", "jawOpen=wide"], "has no score"),
        (["-o", "head.ply", "--pose", "jawOpen=nan"], "scores beyond 2"),
        (["-o", "head.ply", "--blur", "-1"], "--blur -1"),
        (["-o", "clip.csv", "--frame", "1"], "say nothing of csv"),
    ],
)
def test_wrong_wishes_are_told(
    words: list[str], told: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(folder), words[0], str(tmp_path / words[1]), *words[2:]]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and "; " in err and told in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "told"), [(["--format", "ply"], "'ply' for a work folder"), (["--space", "world"], "of a work folder")]
)
def test_a_work_folder_has_no_splats(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(tmp_path), "-o", str(tmp_path / "a.ply"), *words]) == 2
    assert told in capsys.readouterr().err


def test_numbers_of_the_neutral_head_are_its_own(made: Avatar) -> None:
    np.testing.assert_array_equal(splats_of(made, Shown()).means, made.head.tensors()["means"])
