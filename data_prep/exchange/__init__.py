# SPDX-License-Identifier: Apache-2.0
"""Other tools' folders in and out. A format is one file with NAME, `read` and `write`; they meet in `views`.

Live Link Face is a motion without pictures: its `read` gives a Motion, so it is no reader of folders.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from avatar3d.data_prep.exchange import ad_nerf, colmap, live_link, nerfstudio, vhap
from avatar3d.data_prep.exchange.views import Foreign, Views, views_of
from avatar3d.errors import InputError
from avatar3d.records import Capture, Track, Watch
from avatar3d.store import read_json

__all__ = ["READERS", "WRITERS", "Foreign", "Views", "read", "recognised", "views_of"]

Reader = Callable[[Path], Foreign]
Writer = Callable[[Path, Capture, Track, Watch], int]

READERS: dict[str, Reader] = {part.NAME: part.read for part in (nerfstudio, ad_nerf, vhap, colmap)}
WRITERS: dict[str, Writer] = {part.NAME: part.write for part in (nerfstudio, ad_nerf, vhap, colmap, live_link)}


def read(folder: Path, tool: str | None = None, camera: int | None = None) -> Foreign:
    """What another tool left in a folder.

    Args:
        tool: a name in READERS; None: what the folder looks like.
        camera: which of several cameras, where the format has several.

    Raises:
        InputError: no folder, no known format, or what the format's reader cannot use.
    """
    if live_link.is_recording(folder) or (folder.is_dir() and any(map(live_link.is_recording, folder.glob("*.csv")))):
        raise InputError(
            f"{folder}: a motion that Live Link Face has recorded, no capture",
            "let an avatar do it: talk --motion FILE",
        )
    if not folder.is_dir():
        what = "not a folder" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {what}", "name the folder that the other tool has written")
    name = tool or recognised(folder)
    if name not in READERS:
        raise InputError(f"no format named {name!r}", f"choose one of: {', '.join(READERS)}")
    if name == vhap.NAME:
        return vhap.read(folder, camera)
    if camera is not None:
        raise InputError(f"{folder}: the {name} format has no cameras to choose from", "leave --view out")
    return READERS[name](folder)


def recognised(folder: Path) -> str:
    """The format whose files are in a folder.

    Raises:
        InputError: none that is known here.
    """
    if (folder / "track_params.pt").is_file():
        return ad_nerf.NAME
    for name in ("transforms.json", "transforms_train.json", "transforms_val.json"):
        if (folder / name).is_file():
            return _of_transforms(folder / name)
    if colmap.model_folder(folder) is not None:
        return colmap.NAME
    raise InputError(
        f"{folder}: no transforms.json, transforms_train.json, track_params.pt or COLMAP model in this folder",
        "name the folder that the other tool has written, or its kind with --format",
    )


def _of_transforms(path: Path) -> str:
    about = read_json(path)
    rows = about.get("frames") if isinstance(about, dict) else None
    first = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
    if "img_id" in first:
        return ad_nerf.NAME
    return vhap.NAME if "timestep_index" in first else nerfstudio.NAME
