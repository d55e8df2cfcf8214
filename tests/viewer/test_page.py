# SPDX-License-Identifier: Apache-2.0
"""The player's file: whole in itself, safe against an avatar's own texts, and small; a browser tries it in web/."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from heads import head

from avatar3d.avatars import Avatar, save_avatar
from avatar3d.errors import InputError
from avatar3d.records import Motion, Sound
from avatar3d.store import AvatarFolder
from avatar3d.viewer.page import INDEX, Said, bundle, write_index, write_single_page, write_web_folder

MOST_SCRIPT_KB = 40  # gzipped


def motion() -> Motion:
    still = np.zeros((5, 7), np.float32)
    still[:, 0], still[:, 6] = 1, 3
    return Motion(still[:, :4], still[:, :2], still[:, :4], still, 25.0)


@pytest.fixture
def avatar(tmp_path: Path) -> Path:
    path = tmp_path / "me.avatar"
    save_avatar(path, Avatar(head(), None, motion(), {"name": "me </script><b>"}))
    return path


@pytest.fixture
def single(tmp_path: Path, avatar: Path) -> str:
    said = Said(motion(), Sound(np.zeros(4800, np.float32), 24_000))
    write_single_page(tmp_path / "me.html", avatar, said)
    return (tmp_path / "me.html").read_text()


def test_modules_become_one_small_script() -> None:
    script = bundle()
    assert not re.search(r"^\s*(import|export)\b", script, re.MULTILINE)
    assert script.index("class Refusal") < script.index("class SplatPainter") < script.index("class Player")
    assert len(gzip.compress(script.encode())) < MOST_SCRIPT_KB * 1000


def test_nothing_is_asked_of_other_servers(single: str) -> None:
    assert not re.search(r"https?://(?!localhost)", single)
    policy = re.search(r'content="(default-src[^"]*)"', single)
    assert policy is not None
    allowed = dict(part.strip().split(" ", 1) for part in policy[1].split(";"))
    assert allowed["default-src"] == "'none'"
    assert allowed["connect-src"] == "'self' ws: wss:"  # a socket is opened where its visitor names one


def test_texts_cannot_break_out_of_the_page(single: str) -> None:
    assert "</script><b>" not in single
    assert single.count("<script") == single.count("</script>") == 2


def test_a_single_page_holds_the_whole_avatar_and_what_it_says(single: str, avatar: Path) -> None:
    inlined = re.search(r'id="avatar">(.*?)</script>', single, re.DOTALL)
    assert inlined is not None
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(inlined[1]))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    listed = json.loads(files.pop("avatar.json"))["files"]
    assert listed == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert {"clips/said.safetensors", "clips/said.flac", *AvatarFolder(avatar).read_manifest()["files"]} == {*listed}


def test_a_web_folder_is_the_avatar_and_the_player(tmp_path: Path, avatar: Path) -> None:
    write_web_folder(tmp_path / "web", avatar)
    about = AvatarFolder(tmp_path / "web").read_manifest()
    files = {file.relative_to(tmp_path / "web").as_posix() for file in (tmp_path / "web").rglob("*") if file.is_file()}
    assert files == {"avatar.json", INDEX, *about["files"]}
    assert "<title>me &lt;/script&gt;&lt;b&gt;</title>" in (tmp_path / "web" / INDEX).read_text()


def test_the_player_beside_an_avatar_is_no_part_of_it(avatar: Path) -> None:
    before = AvatarFolder(avatar).read_manifest()
    write_index(avatar)
    assert (avatar / INDEX).is_file() and AvatarFolder(avatar).read_manifest() == before


def test_other_kinds_of_head_are_refused(tmp_path: Path, avatar: Path) -> None:
    about = json.loads((avatar / "avatar.json").read_text())
    about["head"]["part"] = "triplane"
    (avatar / "avatar.json").write_text(json.dumps(about))
    for write in (write_web_folder, write_single_page):
        with pytest.raises(InputError, match="linear heads only, not triplane"):
            write(tmp_path / "out", avatar)
        assert not (tmp_path / "out").exists()
