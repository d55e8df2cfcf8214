# SPDX-License-Identifier: Apache-2.0
"""The player: an avatar in a browser, in 3D, that talks, listens and can be turned, without a server that computes.

It is one HTML file of plain JavaScript (`web/`). Beside an avatar's files, behind any web server, it plays these; with
an avatar inlined it opens from disk. Everything is deformed and drawn on the viewer's own GPU (WebGL2).
"""

from __future__ import annotations

import base64
import html
import io
import re
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from avatar3d.errors import InputError
from avatar3d.records import Motion, Sound
from avatar3d.store import AvatarFolder, replacing

INDEX = "index.html"
SAID = "said"  # name of the clip that a single page plays first
_MAIN = "player.js"
_IMPORT = re.compile(r'^import \{ ([^}]*) \} from "\./([\w.]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?(?:class|function|const) (\w+))", re.MULTILINE)
_PLAYED = "linear"  # the kind of head that a browser can evaluate


@dataclass(frozen=True)
class Said:
    """What an avatar does in a page before anybody asks for something else."""

    motion: Motion
    sound: Sound | None


def write_index(avatar: Path) -> None:
    """Writes the player beside an avatar's files: the folder, on any web server, is then the demo.

    avatar.json does not list it, so the avatar stays the same avatar when a later player takes its place.
    """
    with replacing(avatar / INDEX) as part:
        part.write_text(_page(_title(avatar), ""), encoding="utf-8")


def write_web_folder(path: Path, avatar: Path) -> None:
    """Writes a folder for a static web server: the files of an avatar folder, and the player.

    Raises:
        InputError: `avatar` is no avatar folder, is damaged, or its head is not linear.
    """
    names = _playable(avatar)
    with replacing(path) as part:
        for name in names:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(avatar / name, part / name)
        write_index(part)


def write_single_page(path: Path, avatar: Path, said: Said | None = None) -> None:
    """Writes one HTML file with an avatar folder in it, which opens from disk.

    Args:
        said: what it plays first; None: what the folder's clips hold.

    Raises:
        InputError: `avatar` is no avatar folder, is damaged, or its head is not linear.
    """
    _playable(avatar)
    with tempfile.TemporaryDirectory() as room:
        copy = Path(room) / "copy"
        write_web_folder(copy, avatar)
        if said is not None:
            AvatarFolder(copy).add_clip(SAID, said.motion, said.sound)
        packed = _zip(copy, _playable(copy))
    with replacing(path) as part:
        part.write_text(_page(_title(avatar), base64.b64encode(packed).decode("ascii")), encoding="utf-8")


def bundle() -> str:
    """The player's modules as one script. Each becomes a function that is called once, so that its names stay its own.

    A page from disk may load no module beside it.
    """
    sources: dict[str, str] = {}
    _gather(_MAIN, sources)
    return "\n".join(_wrapped(name, source) for name, source in sources.items())


def _gather(name: str, sources: dict[str, str]) -> None:
    """Adds a module to `sources` behind all that it imports."""
    source = _web(name)
    for _, imported in _IMPORT.findall(source):
        if imported not in sources:
            _gather(imported, sources)
    sources[name] = source


def _wrapped(name: str, source: str) -> str:
    names = ", ".join(name for _, name in _EXPORT.findall(source))
    body = _EXPORT.sub(r"\1", _IMPORT.sub(lambda match: f"const {{ {match[1]} }} = {_variable(match[2])};\n", source))
    return f"const {_variable(name)} = (() => {{\n{body}return {{ {names} }};\n}})();"


def _variable(module: str) -> str:
    return f"{module.removesuffix('.js')}_"


def _playable(avatar: Path) -> list[str]:
    """The files of an avatar that a browser can play."""
    folder = AvatarFolder(avatar)
    about: dict[str, Any] = folder.read_manifest()
    if about["head"]["part"] != _PLAYED:
        raise InputError(
            f"{avatar}: a page can play linear heads only, not {about['head']['part']}",
            "bake the avatar first (avatar3d bake); a NeRF head is drawn by a server: avatar3d view",
        )
    return [folder.manifest.name, *about["files"]]


def _title(avatar: Path) -> str:
    return str(AvatarFolder(avatar).read_manifest().get("about", {}).get("name", "avatar"))


def _zip(folder: Path, names: list[str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(folder / name, name)
    return file.getvalue()


def _page(title: str, avatar: str) -> str:
    values = {"title": html.escape(title), "style": _web("page.css"), "avatar": avatar, "script": bundle()}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], _web("page.html"))


def _web(name: str) -> str:
    return (resources.files("avatar3d.viewer") / "web" / name).read_text(encoding="utf-8")
