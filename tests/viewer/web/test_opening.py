# SPDX-License-Identifier: Apache-2.0
"""Avatars open from a folder behind http, from one HTML file on disk, from a zip and from a dropped folder; and what
people read where they do not."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import people
import pytest
from sights import Site, message, picture, shot

from avatar3d.avatars import Avatar
from avatar3d.store import AvatarFolder
from avatar3d.viewer.page import INDEX, Said, write_single_page

DRAWN = 0.02  # standard deviation of a picture that shows more than one colour


def zipped(folder: Path, out: Path, root: str) -> Path:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*"):
            archive.write(file, root + file.relative_to(folder).as_posix())
    return out


def shows_the_head(page: Any) -> bool:
    return float(picture(page)[..., 0].std()) > DRAWN and "1,500 splats" in message(page)


def test_a_folder_behind_a_web_server_and_nothing_else_is_asked(
    visit: Callable[..., Any], site: Site, folder: Path
) -> None:
    asked: list[str] = []
    page = visit("about:blank", wait=False)
    page.context.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site.address}?size=128")
    page.evaluate("() => avatarPlayer.ready")
    assert shows_the_head(page)
    page.evaluate("() => avatarPlayer.voice")
    page.click("#play")
    page.wait_for_function("() => avatarPlayer.playback.time > 0.1")
    files = {"avatar.json", *AvatarFolder(folder).read_manifest()["files"]}
    outside = {url for url in asked if not url.startswith("data:") and not url.startswith("blob:")}
    assert outside == {f"{site.address}?size=128", *(site.address + name for name in files)}
    shot(page, "folder")


def test_one_file_on_disk(visit: Callable[..., Any], folder: Path, made: Avatar, tmp_path: Path) -> None:
    write_single_page(tmp_path / "me.html", folder, Said(made.clip, people.tone()))
    asked: list[str] = []
    page = visit("about:blank", wait=False)
    page.context.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "me.html").as_uri())
    page.evaluate("() => avatarPlayer.ready")
    assert shows_the_head(page)
    assert page.input_value("#clip") == "said"
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [(tmp_path / "me.html").as_uri()]
    shot(page, "html")


@pytest.mark.parametrize("root", ["", "me.avatar/"])
def test_a_zip_is_opened_on_a_page_from_disk(
    visit: Callable[..., Any], folder: Path, tmp_path: Path, root: str
) -> None:
    shutil.copy(folder / INDEX, tmp_path / INDEX)
    page = visit((tmp_path / INDEX).as_uri())
    assert "cannot read the files beside it" in page.inner_text("#trouble")
    shot(page, "from_disk")
    page.set_input_files("#file", zipped(folder, tmp_path / "me.zip", root))
    page.wait_for_function("() => avatarPlayer.stage")
    assert shows_the_head(page) and page.is_hidden("#trouble")


def test_a_chosen_folder(visit: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / INDEX, tmp_path / INDEX)
    page = visit((tmp_path / INDEX).as_uri())
    page.set_input_files("#folder", folder)
    page.wait_for_function("() => avatarPlayer.stage")
    assert shows_the_head(page)


def test_another_avatar_takes_the_place_of_the_first(page: Any, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.avatar"
    shutil.copytree(folder, other)
    about = json.loads((other / "avatar.json").read_text())
    about["about"]["name"] = "somebody else"
    (other / "avatar.json").write_text(json.dumps(about))
    page.set_input_files("#file", zipped(other, tmp_path / "other.zip", ""))
    page.wait_for_function("() => document.getElementById('message').textContent.includes('somebody else')")
    assert float(picture(page)[..., 0].std()) > DRAWN


@pytest.mark.parametrize("name", ["splats.ply", "rig.safetensors", "clips/capture.safetensors", "background.png"])
@pytest.mark.parametrize("damage", ["short", "missing"])
def test_damage_is_named(
    visit: Callable[..., Any], serve: Callable[[Path], Site], folder: Path, tmp_path: Path, name: str, damage: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    data = (broken / name).read_bytes()
    (broken / name).unlink()
    if damage == "short":
        (broken / name).write_bytes(data[: len(data) // 2])
    page = visit(serve(broken).address)
    told = page.inner_text("#trouble")
    assert name in told and ("damaged" in told if damage == "short" else "missing" in told)
    shot(page, "damaged")


def test_other_kinds_of_head_are_refused_in_words(
    visit: Callable[..., Any], serve: Callable[[Path], Site], folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    about = json.loads((other / "avatar.json").read_text())
    about["head"]["part"] = "triplane"
    (other / "avatar.json").write_text(json.dumps(about))
    page = visit(serve(other).address)
    assert "this one is triplane" in page.inner_text("#trouble")


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_avatar_is_refused_and_the_old_one_stays(page: Any, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.zip").write_bytes(content)
    page.set_input_files("#file", tmp_path / "odd.zip")
    page.wait_for_function("() => /damaged|no avatar.json/.test(document.getElementById('message').textContent)")
    assert page.is_hidden("#trouble") and float(picture(page)[..., 0].std()) > DRAWN


def test_a_browser_without_webgl2_is_told_so(browser: Any, site: Site) -> None:
    context = browser.new_context()
    context.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page = context.new_page()
    page.goto(f"{site.address}?size=64")
    page.evaluate("() => avatarPlayer.ready")
    assert "offers no WebGL2" in page.inner_text("#trouble")
    assert page.get_attribute("#trouble", "role") == "alert"
    shot(page, "no_webgl2")
    context.close()
