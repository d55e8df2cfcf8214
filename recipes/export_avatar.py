# SPDX-License-Identifier: Apache-2.0
"""`avatar3d export` of an avatar: its splats for other programs, its motion as a CSV, or itself as a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from avatar3d.avatars import Avatar, open_avatar
from avatar3d.choose import choose, names
from avatar3d.contracts import Head, WriteSplats
from avatar3d.errors import InputError
from avatar3d.face.arkit import SCORES, lids_of
from avatar3d.geometry import apply_pose, invert, quat_multiply
from avatar3d.motion._head_motion import usual_pose
from avatar3d.player import widened
from avatar3d.recipes._script import record
from avatar3d.recipes._text import size_mb
from avatar3d.records import BLUR_PX2, Gaussians, Motion, Posed
from avatar3d.store import SPLAT_TENSORS, AvatarFolder, replacing
from avatar3d.threads import torch_threads
from avatar3d.viewer.page import write_single_page, write_web_folder

ROOM = "avatar3d.splat_files"
_OTHERS = {"csv": ".csv", "html": ".html", "web": ""}  # the suffix of what is written
_OF_BOTH = "csv"  # also made of a work folder
_MOST_BLUR_PX2 = 10.0


@dataclass(frozen=True)
class Shown:
    """Which splats are written, and where; means nothing for the other formats."""

    frame: int | None = None  # of the avatar's own clip; None: the neutral head, or `pose`
    pose: str = ""  # ARKit's expressions and their scores, as "jawOpen=0.6,browInnerUp=1"
    space: Literal["head", "world"] = "head"  # world: about the camera that filmed, all axes y up
    blur_px2: float = BLUR_PX2  # what the program that is to draw them adds to each splat's variance in the picture


def is_avatar(path: Path) -> bool:
    """Whether a folder is an avatar."""
    return AvatarFolder(path).manifest.is_file()


def export_avatar(avatar: Path, out: Path, name: str | None = None, shown: Shown = Shown()) -> dict[str, Any]:
    """Writes `out`: one file, or for "web" a folder with index.html.

    Args:
        name: a part of avatar3d.splat_files, "csv", "html" or "web"; None: what the suffix of `out` says.

    Returns:
        "file", "format", "mb", and "splats" or "frames".

    Raises:
        InputError: not an avatar, no such format, a suffix that is another format's, or what `shown` says is not there.
    """
    name = named_by(out) if name is None else name
    if name in _OTHERS:
        only_of_splats(shown, name)
    part: WriteSplats | None = None if name in _OTHERS else _part(name)
    suffixes = (_OTHERS[name],) if part is None else part.suffixes
    if out.suffix.lower() not in suffixes or out.is_dir() != (out.exists() and name == "web"):
        raise InputError(f"{out}: no name for {name}", f"end it in {suffixes[0]}" if suffixes[0] else "name a folder")
    opened = open_avatar(avatar)
    about = str(opened.about.get("name", avatar.stem))
    told: dict[str, Any] = {"file": str(out), "format": name}
    with torch_threads(1), torch.no_grad(), replacing(out) as written:
        if part is not None:
            splats = splats_of(opened, shown)
            part.write(written, splats, f"{_words(about, shown)}; 1 unit = 10 cm unless the format has its own")
            told["splats"] = len(splats.means)
        else:
            _write_other(name, written, avatar, opened)
            told["frames"] = len(opened.clip)
    return told | {"mb": size_mb(out)}


def only_of_splats(shown: Shown, what: str) -> None:
    """Refuses wishes that mean nothing for what is written.

    Raises:
        InputError: `shown` has some.
    """
    if shown != Shown():
        raise InputError(
            f"--frame, --pose, --space and --blur say nothing of {what}",
            f"leave them out, or write an avatar's splats: {', '.join(names(ROOM))}",
        )


def named_of_work(out: Path, work: Path) -> str | None:
    """The format of a work folder that a file's suffix belongs to; None for a folder's name.

    Raises:
        InputError: the suffix is that of a file which is made of an avatar alone.
    """
    name = _by_ending().get(out.suffix.lower())
    if name not in (None, _OF_BOTH):
        raise InputError(
            f"{out}: this ending is of an avatar's formats, and {work} is a work folder",
            f"name the avatar in it, {work}/NAME.avatar, or choose a folder's name for the capture",
        )
    return name


def named_by(out: Path) -> str:
    """The format that a file's suffix belongs to.

    Raises:
        InputError: no format's.
    """
    known = _by_ending()
    if out.suffix.lower() not in known:
        raise InputError(f"{out}: no format by this ending", f"end it in {', '.join(known)}, or say --format")
    return known[out.suffix.lower()]


def _by_ending() -> dict[str, str]:
    """The names of formats by the suffixes of their files."""
    others = {suffix: name for name, suffix in _OTHERS.items() if suffix}
    return {suffix: name for name in names(ROOM) for suffix in choose(ROOM, name).suffixes} | others


def splats_of(avatar: Avatar, shown: Shown) -> Gaussians:
    """The splats of an avatar as `shown` says, with y up: x right, z to the viewer."""
    head, clip = avatar.head, avatar.clip
    only_with_splats(head)
    pose = torch.from_numpy(usual_pose(clip)).float()
    if shown.frame is not None:
        if shown.pose or not 0 <= shown.frame < len(clip):
            raise InputError(f"frame {shown.frame}", f"choose 0 to {len(clip) - 1}, and no --pose with it")
        pose = torch.from_numpy(clip.head[shown.frame]).float()
        there = _splats(head.pose(head.encode(clip)[shown.frame]))
        here = carried(there, invert(pose))
    elif shown.pose:
        there = _splats(head.pose(head.encode(_posed(shown.pose, pose))[0]))
        here = carried(there, invert(pose))
    else:
        tensors = head.tensors()
        here = Gaussians(**{name: tensors[name] for name in (*SPLAT_TENSORS, "group")})
        there = carried(here, pose)
    if shown.blur_px2 != BLUR_PX2:
        if not 0 <= shown.blur_px2 <= _MOST_BLUR_PX2:
            raise InputError(f"--blur {shown.blur_px2:g}", f"give 0 to {_MOST_BLUR_PX2:g} px^2; most programs add 0.3")
        sizes = widened(there, head.camera, BLUR_PX2 - shown.blur_px2).log_scales
        here, there = replace(here, log_scales=sizes), replace(there, log_scales=sizes)
    # our world is the camera's, y down
    return here if shown.space == "head" else carried(there, torch.tensor([0.0, 1, 0, 0, 0, 0, 0]))


def only_with_splats(head: Head) -> None:
    """Refuses heads that are not made of splats.

    Raises:
        InputError: this one is not.
    """
    if not set(SPLAT_TENSORS) <= head.tensors().keys():
        raise InputError(
            "this avatar's head is a radiance field, it has no splats",
            "it is drawn by a server (avatar3d view) and into videos (avatar3d talk); train another --head for splats",
        )


def _splats(posed: Posed) -> Gaussians:
    assert isinstance(posed, Gaussians)  # other heads were refused
    return posed


def carried(gaussians: Gaussians, b_from_a: torch.Tensor) -> Gaussians:
    """Gaussians of frame a in frame b; pose [7]."""
    turned = quat_multiply(b_from_a[:4].expand_as(gaussians.quats), gaussians.quats)
    return replace(gaussians, means=apply_pose(b_from_a, gaussians.means), quats=turned)


def summary(figures: Mapping[str, Any]) -> str:
    """One line of what was written."""
    what = f"{figures['splats']} splats" if "splats" in figures else f"{figures['frames']} frames"
    return f"{figures['file']}: {what}, {figures['mb']:g} MB"


def _part(name: str) -> WriteSplats:
    known = [*names(ROOM), *_OTHERS]
    if "." not in name and name not in known:
        raise InputError(f"no format named {name!r} for an avatar", f"choose one of: {', '.join(known)}")
    part: WriteSplats = choose(ROOM, name)()
    return part


def _posed(text: str, pose: torch.Tensor) -> Motion:
    """Two equal frames of a face with these expressions on a head that stands in `pose` [7]."""
    scores = np.zeros(len(SCORES), np.float32)
    remedy = "give ARKit's names with scores, as jawOpen=0.6,browInnerUp=1"
    for word in text.split(","):
        name, _, value = word.partition("=")
        if name.strip() not in SCORES[1:]:
            raise InputError(f"--pose: no expression named {name.strip()!r}", remedy)
        try:
            scores[SCORES.index(name.strip())] = float(value)
        except ValueError as error:
            raise InputError(f"--pose: {word.strip()!r} has no score", remedy) from error
    if not (np.isfinite(scores).all() and np.abs(scores).max() <= 2):
        raise InputError(f"--pose {text}: scores beyond 2", "give 0 to 1")
    rows = np.tile(scores, (2, 1))
    return Motion(rows, lids_of(rows), np.zeros((2, 4), np.float32), np.tile(pose.numpy(), (2, 1)), 25.0, "arkit")


def _words(about: str, shown: Shown) -> str:
    which = shown.pose or ("neutral" if shown.frame is None else f"frame {shown.frame}")
    return f"{about}, {which}, {shown.space} space, for a renderer that blurs by {shown.blur_px2:g} px^2"


def _write_other(name: str, out: Path, folder: Path, avatar: Avatar) -> None:
    if name == "csv":
        record(avatar, avatar.clip, out, "--format csv")
        return
    # the folder itself and not what was opened of it: its clips keep their sound, and a small avatar stays small
    write = write_web_folder if name == "web" else write_single_page
    write(out, folder)
