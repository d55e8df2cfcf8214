# SPDX-License-Identifier: Apache-2.0
"""What the JSON files of the NeRF family have in common: cameras and frames under many names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar3d.data_prep.exchange.views import in_order, one_camera, picture_size, pinhole, rigid
from avatar3d.errors import InputError
from avatar3d.geometry import camera_from
from avatar3d.store import read_json

_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_MODELS = ("", "OPENCV", "PINHOLE", "SIMPLE_PINHOLE")
_SPLITS = ("train", "val", "test")
_PICTURES = ("", ".png", ".jpg", ".jpeg")  # Blender's files leave the ending out


@dataclass(frozen=True)
class Frames:
    """The frames of one or several transforms files, in the order of their splits."""

    about: Mapping[str, Any]  # what stands above the frames
    rows: tuple[Mapping[str, Any], ...]
    held_out: tuple[bool, ...]
    source: Path  # the file to name in a complaint


def read_frames(folder: Path, key: str) -> Frames:
    """Frames of `transforms.json`, or else of transforms_train, _val and _test.json, each frame once.

    Where only the splits say which frames are held out, they are asked too.

    Args:
        key: the entry that tells frames apart, for example "file_path".

    Raises:
        InputError: no such file, no frames, or a frame without `key`.
    """
    whole = folder / "transforms.json"
    splits = {split: folder / f"transforms_{split}.json" for split in _SPLITS}
    splits = {split: path for split, path in splits.items() if path.is_file()}
    trained: set[Any] = set()
    if "train" in splits:
        trained = {row[key] for row in _rows(read_json(splits["train"]), key, splits["train"])}
    sources = [whole] if whole.is_file() else list(splits.values())
    if not sources:
        raise InputError(f"{folder}: no transforms.json in this folder", "name the folder that the tracker has written")
    files = [read_json(source) for source in sources]
    rows: dict[Any, Mapping[str, Any]] = {}
    for about, source in zip(files, sources, strict=True):
        for row in _rows(about, key, source):
            rows.setdefault(row[key], row)
    if not rows:
        raise InputError(f"{sources[0]}: no frames", "name a folder whose tracking has succeeded")
    held_out = tuple(bool(trained) and name not in trained for name in rows)
    return Frames(files[0], tuple(rows.values()), held_out, sources[0])


def _rows(about: Any, key: str, source: Path) -> Sequence[Mapping[str, Any]]:
    rows = about.get("frames") if isinstance(about, dict) else None
    if not isinstance(rows, list):
        raise InputError(f"{source}: no list of frames in this file", "name the folder that the tracker has written")
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or key not in row or "transform_matrix" not in row:
            raise InputError(f"{source}: frame {index} has no {key} or no transform_matrix", "export the folder again")
    return rows


def cam_from_head(frames: Frames, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> np.ndarray:
    """[T,4,4] float64 of the rows' transform_matrix, which is world_from_cam in OpenGL's axes.

    A world that a tool has turned or shifted (`applied_transform`) stays so: which axes a head has is found later.
    """
    stored = rigid([row["transform_matrix"] for row in rows], names, frames.source)
    return camera_from("nerfstudio", torch.from_numpy(stored)).numpy()


def camera_of(
    frames: Frames, rows: Sequence[Mapping[str, Any]], names: Sequence[str], picture: Path
) -> tuple[np.ndarray, int, int]:
    """K [3,3], width and height px that all rows share; what a row says counts more than what stands above."""
    model = frames.about.get("camera_model", "")
    if model not in _MODELS:
        raise InputError(f"{frames.source}: camera model {model}", "undistort the pictures to a pinhole camera first")
    size = picture_size(picture)
    cameras = []
    for row, name in zip(rows, names, strict=True):
        said = {**frames.about, **row}
        width, height = (_number(said, side, frames.source, usual) for side, usual in zip("wh", size, strict=True))
        if (round(width), round(height)) != size:
            raise InputError(
                f"{frames.source}: {name} has {width:g}x{height:g} px by this file, {size[0]}x{size[1]} px in truth",
                "give the pictures that were tracked",
            )
        fx, fy = _focals(said, width, height, frames.source)
        cx, cy = _number(said, "cx", frames.source, width / 2), _number(said, "cy", frames.source, height / 2)
        lens = [_number(said, key, frames.source, 0.0) for key in _DISTORTION]
        cameras.append((name, pinhole(fx, fy, cx, cy, lens, name, frames.source)))
    return one_camera(cameras, frames.source), *size


def _focals(said: Mapping[str, Any], width: float, height: float, source: Path) -> tuple[float, float]:
    """Focal lengths px, from whichever of the family's words is there."""
    if "focal_len" in said:
        focal = _number(said, "focal_len", source)
        return focal, focal
    found = {}
    for axis, side in (("x", width), ("y", height)):
        if f"fl_{axis}" in said:
            found[axis] = _number(said, f"fl_{axis}", source)
        elif f"camera_angle_{axis}" in said:
            found[axis] = side / (2 * math.tan(_number(said, f"camera_angle_{axis}", source) / 2))
    if not found:
        raise InputError(f"{source}: no focal length (fl_x, focal_len or camera_angle_x)", "export the cameras again")
    either = next(iter(found.values()))
    return found.get("x", either), found.get("y", either)


def _number(said: Mapping[str, Any], key: str, source: Path, usual: float | None = None) -> float:
    value = said.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{source}: {key} is {value!r}, not a number", "export the folder again")
    return float(value)


def found_picture(folder: Path, name: str) -> Path:
    """The picture that a file calls `name`, whose ending may be left out."""
    for ending in _PICTURES:
        path = folder / f"{name}{ending}"
        if path.is_file():
            return path
    return folder / name


def ordered(frames: Frames, names: Sequence[str]) -> tuple[list[Mapping[str, Any]], np.ndarray, np.ndarray]:
    """Rows in the order of time, their frame numbers [T], and which are held out [T]."""
    order, numbers = in_order(names)
    return [frames.rows[at] for at in order], numbers, np.array(frames.held_out)[order]
