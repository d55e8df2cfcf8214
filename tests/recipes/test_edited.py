# SPDX-License-Identifier: Apache-2.0
"""Splats that were edited elsewhere come back on their rig; others are refused by name."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import made_up
import pytest
import torch

from avatar3d import cli
from avatar3d.avatars import Avatar, open_avatar
from avatar3d.errors import InputError
from avatar3d.player import Player
from avatar3d.recipes.edited import put_back
from avatar3d.recipes.export_avatar import export_avatar
from avatar3d.records import Gaussians
from avatar3d.render.native import Native
from avatar3d.splat_files.ply import Ply
from avatar3d.splat_files.spz import Spz


@pytest.fixture(scope="module")
def folder(face_task: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.saved_avatar(face_task, tmp_path_factory.mktemp("avatar"))


def frame_db(a: Avatar, b: Avatar, frame: int = 9) -> float:
    first, second = (
        torch.from_numpy(Player(one.head, Native()).frame(one.head.encode(one.clip)[frame])).double() for one in (a, b)
    )
    return float(-10 * (first - second).square().mean().div(255**2).clamp_min(1e-12).log10())


@pytest.mark.parametrize("suffix", [".ply", ".spz"])
def test_unedited_splats_change_nothing(suffix: str, folder: Path, tmp_path: Path) -> None:
    export_avatar(folder, tmp_path / f"head{suffix}")
    words = ["import", tmp_path / f"head{suffix}", "--into", folder, "-o", tmp_path / "new.avatar", "--quiet"]
    assert cli.main([str(word) for word in words]) == 0
    before, after = open_avatar(folder), open_avatar(tmp_path / "new.avatar")
    assert frame_db(before, after) > (60 if suffix == ".ply" else 45)
    assert after.about["edited"]["file"] == f"head{suffix}" and after.about["name"] == "made"
    assert torch.equal(before.head.tensors()["tables"], after.head.tensors()["tables"])


@pytest.mark.parametrize("part", [Ply(), Ply(y_down=False)])
def test_paint_stays_while_the_head_moves_whichever_way_up(part: Ply, folder: Path, tmp_path: Path) -> None:
    export_avatar(folder, tmp_path / "head.ply")
    plain = Ply().read(tmp_path / "head.ply")
    some = torch.arange(len(plain.means)) < 900
    red = torch.where(some[:, None], torch.tensor([1.0, 0, 0]), plain.colours)
    part.write(tmp_path / "red.ply", replace(plain, colours=red))
    figures = put_back(tmp_path / "red.ply", folder, tmp_path / "red.avatar")
    assert figures["splats"] == len(some) and figures["moved"] == 0 and 800 < figures["recoloured"] <= 900
    before, after = open_avatar(folder), open_avatar(tmp_path / "red.avatar")
    assert frame_db(before, after) < 30
    after.head.tensors()["colours"].copy_(before.head.tensors()["colours"])
    assert frame_db(before, after) > 60  # only the paint differed


def test_other_splats_are_refused(folder: Path, tmp_path: Path) -> None:
    export_avatar(folder, tmp_path / "head.spz")
    plain = Spz().read(tmp_path / "head.spz")
    order = torch.randperm(len(plain.means), generator=torch.Generator().manual_seed(0))
    fewer, mixed = (
        Gaussians(*(getattr(plain, field.name)[rows] for field in fields(Gaussians))) for rows in (order[1:], order)
    )
    for name, splats, told in (("fewer", fewer, "transparent"), ("mixed", mixed, "the order of the splats")):
        Spz().write(tmp_path / f"{name}.spz", splats)
        with pytest.raises(InputError, match=told):
            put_back(tmp_path / f"{name}.spz", folder, tmp_path / "new.avatar")
    export_avatar(folder, tmp_path / "frame.glb")
    with pytest.raises(InputError, match=r"\.ply, \.spz"):
        put_back(tmp_path / "frame.glb", folder, tmp_path / "new.avatar")
    with pytest.raises(InputError, match=r"ends in \.avatar"):
        put_back(tmp_path / "head.spz", folder, tmp_path / "new")
    assert not list(tmp_path.glob("new*"))


def test_splats_alone_are_no_avatar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["import", str(tmp_path / "scan.ply"), "-o", str(tmp_path / "me")]) == 2
    assert "--into" in capsys.readouterr().err
