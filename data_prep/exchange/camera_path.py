# SPDX-License-Identifier: Apache-2.0
"""nerfstudio's camera_path.json, as its viewer and its Blender add-on write it.

`camera_path` lists a moment a frame: `camera_to_world`, 16 numbers row by row in OpenGL's camera axes (x right, y up, z
backward), and `fov`, the vertical field of view in degrees; above stand `fps` or `seconds`, `render_width`,
`render_height`, `is_cycle`. The world is that of the data folder, as `export --format nerfstudio` writes it: head space
in u. A viewer that has turned and scaled the data says so in dataparser_transforms.json (`transform` [3,4], `scale`);
where that stands beside the path it is undone. Source: nerfstudio's documentation and files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar3d.camera_path import CameraPath
from avatar3d.data_prep.exchange.views import rigid
from avatar3d.errors import InputError
from avatar3d.geometry import camera_from, invert, pose_from_matrix
from avatar3d.store import read_json

TRANSFORMS = "dataparser_transforms.json"
_AGAIN = "write the camera path again"
_USUAL_FPS = 24.0  # nerfstudio's own
_SIDES_PX = (16, 4096)


def read(path: Path) -> CameraPath:
    """The path in a file.

    Raises:
        InputError: no such file, another kind of file or of camera, or a number that cannot be used.
    """
    about = read_json(path)
    rows = about.get("camera_path") if isinstance(about, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: no list camera_path in this file", "export it from nerfstudio's viewer")
    kind = about.get("camera_type", "perspective")
    if kind != "perspective":
        raise InputError(f"{path}: a camera of type {kind!r}", "choose perspective")
    names = [f"moment {index}" for index in range(len(rows))]
    matrices = [_square(row.get("camera_to_world"), name, path) for row, name in zip(rows, names, strict=True)]
    poses = rigid(_undone(np.array(matrices), path), names, path)
    cam_from_head = camera_from("nerfstudio", torch.from_numpy(poses))
    fov = [_number(row, "fov", path, 1e-3, 179) for row in rows]
    low, high = _SIDES_PX
    return CameraPath(
        head_from_camera=invert(pose_from_matrix(cam_from_head)).float(),
        tangents=torch.tensor([math.tan(math.radians(value) / 2) for value in fov]),
        fps=_rate(about, len(rows), path),
        width=round(_number(about, "render_width", path, low, high)),
        height=round(_number(about, "render_height", path, low, high)),
        cycle=bool(about.get("is_cycle", False)),
    )


def _rate(about: Mapping[str, Any], count: int, path: Path) -> float:
    """Moments per second: what `seconds` makes of their number, or else `fps`."""
    if about.get("seconds"):
        return count / _number(about, "seconds", path, 1e-3, 1e6)
    return _number({"fps": _USUAL_FPS, **about}, "fps", path, 1e-3, 1e4)


def _undone(matrices: np.ndarray, path: Path) -> np.ndarray:
    """[M,4,4] world_from_cam of the data folder, where the viewer's world is another one."""
    beside = path.with_name(TRANSFORMS)
    if not beside.is_file():
        return matrices
    about = read_json(beside)
    if not isinstance(about, dict):
        raise InputError(f"{beside}: no transform in this file", "take it from nerfstudio's outputs, or remove it")
    (turned,) = rigid([about.get("transform", [])], ["transform"], beside)
    moved = matrices.copy()
    moved[:, :3, 3] /= _number(about, "scale", beside, 1e-9, 1e9)
    return np.linalg.inv(turned) @ moved


def _square(numbers: Any, name: str, path: Path) -> np.ndarray:
    try:
        matrix = np.array(numbers, np.float64).reshape(4, 4)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: camera_to_world of {name} is not 16 numbers", _AGAIN) from error
    return matrix


def _number(said: Mapping[str, Any], key: str, path: Path, least: float, most: float) -> float:
    value = said.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InputError(f"{path}: {key} is {value!r}", f"{_AGAIN}, with one of {least:g} to {most:g}")
    return float(value)
