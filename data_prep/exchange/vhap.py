# SPDX-License-Identifier: Apache-2.0
"""VHAP's export, the data folder of GaussianAvatars and its followers: cameras, pictures, masks and FLAME parameters.

transforms.json and its splits are the NeRF family's (world_from_cam in OpenGL's axes, metres) with timestep_index and
camera_index per frame, fg_mask_path and flame_param_path. In one .npz per timestep `rotation` and `neck_pose` (rotation
vectors [1,3]) turn the head about FLAME's joints J0 and J1 and `translation` [1,3] m shifts it:

    world = R (N (x - J1) + J1 - J0) + J0 + translation

Where the joints lie only the licensed model tells, so they come out as a `hinge`: x is counted from J1, and J1 - J0 and
J0 are six numbers that are found from the pictures. Source: VHAP's export_as_nerf_dataset.py, GaussianAvatars' lbs.py.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar3d.data_prep.exchange._transforms import (
    Frames,
    cam_from_head,
    camera_of,
    found_picture,
    read_frames,
)
from avatar3d.data_prep.exchange.views import (
    Foreign,
    Views,
    check_sizes,
    masks_of,
    rigid,
    save_frame,
    save_pictures,
    views_of,
)
from avatar3d.errors import InputError
from avatar3d.geometry import camera_to, matrix_from_quat, quat_from_rotvec
from avatar3d.records import Capture, Track, Watch, unwatched
from avatar3d.store import write_json

NAME = "vhap"
_M_PER_U = 0.1
_CAMERA_ID = "00"


def read(folder: Path, camera: int | None = None) -> Foreign:
    """Cameras and the head's pose, pictures and masks of one camera; shape and expression stay behind.

    Args:
        camera: a camera_index; None where there is one camera only.

    Raises:
        InputError: several cameras and none chosen, a file is missing or says what cannot be used (see `views`).
    """
    frames = read_frames(folder, "file_path")
    chosen = _of_camera(frames, camera)
    numbers = np.array([_whole(row, "timestep_index", frames.source) for row in chosen], np.int64)
    order = np.argsort(numbers, kind="stable")
    rows = [chosen[at] for at in order]
    numbers = _film_numbers(rows, numbers[order], frames.source)
    names = [str(row["file_path"]) for row in rows]
    pictures = tuple(found_picture(folder, name) for name in names)
    K, width, height = camera_of(frames, rows, names, pictures[0])
    check_sizes(pictures, width, height)
    masks = None
    if all("fg_mask_path" in row for row in rows):
        masks = tuple(found_picture(folder, str(row["fg_mask_path"])) for row in rows)
        check_sizes(masks, width, height)
    poses, hinge = cam_from_head(frames, rows, names), None
    if any("flame_param_path" in row for row in rows):
        poses, hinge = _with_flame(folder, frames, rows, names, poses)
    held = dict(zip((id(row) for row in frames.rows), frames.held_out, strict=True))
    held_out = np.array([held[id(row)] for row in rows])
    return Foreign(NAME, folder, Views(numbers, poses, K, width, height, held_out), pictures, masks, hinge=hinge)


def write(folder: Path, capture: Capture, track: Track, watch: Watch = unwatched) -> int:
    """transforms.json with its three splits, images/ and fg_masks/ of every frame to be trusted; returns how many.

    The head stands still in metres and the camera moves. No flame_param is written: its numbers mean something only
    with the licensed model, which this program does not need. So GaussianAvatars opens the folder as a static scene,
    and VHAP's own fit has to be run for FLAME's parameters. val is empty, as VHAP's is for one camera.
    """
    views, masks = views_of(track, _M_PER_U), masks_of(capture)
    for name in ("images", "fg_masks"):
        (folder / name).mkdir(parents=True)
    step = {frame: index for index, frame in enumerate(views.frame.tolist())}

    def save(frame: int) -> None:
        save_frame(folder / f"images/{_stem(step[frame])}.png", capture.frames[frame])
        save_frame(folder / f"fg_masks/{_stem(step[frame])}.png", masks[frame])

    save_pictures(views.frame.tolist(), save, len(views), watch)
    camera = _intrinsics(views)
    matrices = camera_to("nerfstudio", torch.from_numpy(views.cam_from_head)).tolist()
    rows = [
        {
            "timestep_index": index,
            "timestep_index_original": frame,
            "timestep_id": f"{frame:06d}",
            "camera_index": 0,
            "camera_id": _CAMERA_ID,
            **camera,
            "transform_matrix": matrices[index],
            "file_path": f"images/{_stem(index)}.png",
            "fg_mask_path": f"fg_masks/{_stem(index)}.png",
        }
        for frame, index in step.items()
    ]
    splits = {"": np.ones(len(rows), bool), "_train": ~views.held_out, "_val": np.zeros(len(rows), bool)}
    for name, kept in (splits | {"_test": views.held_out}).items():
        indices = np.flatnonzero(kept).tolist()
        about = {**camera, "timestep_indices": indices, "camera_indices": [0] if indices else []}
        write_json(folder / f"transforms{name}.json", {**about, "frames": [rows[index] for index in indices]})
    return len(views)


def _stem(index: int) -> str:
    return f"{index:05d}_{_CAMERA_ID}"


def _intrinsics(views: Views) -> dict[str, Any]:
    fx, fy = views.K[0, 0], views.K[1, 1]
    return {
        "cx": views.K[0, 2],
        "cy": views.K[1, 2],
        "fl_x": fx,
        "fl_y": fy,
        "h": views.height,
        "w": views.width,
        "camera_angle_x": 2 * float(np.arctan(views.width / (2 * fx))),
        "camera_angle_y": 2 * float(np.arctan(views.height / (2 * fy))),
    }


def _of_camera(frames: Frames, camera: int | None) -> list[Mapping[str, Any]]:
    index = [_whole(row, "camera_index", frames.source, 0) for row in frames.rows]
    there = sorted(set(index))
    if camera is None and len(there) > 1:
        raise InputError(
            f"{frames.source}: {len(there)} cameras ({', '.join(map(str, there))})",
            "choose the one in front of the face with --view",
        )
    wanted = there[0] if camera is None else camera
    if wanted not in there:
        raise InputError(f"{frames.source}: no camera {wanted}", f"choose one of {', '.join(map(str, there))}")
    return [row for row, at in zip(frames.rows, index, strict=True) if at == wanted]


def _film_numbers(rows: Sequence[Mapping[str, Any]], steps: np.ndarray, source: Path) -> np.ndarray:
    """The numbers in the film that was tracked, where every frame says them and they count frame by frame."""
    if not all("timestep_index_original" in row for row in rows):
        return steps
    film = np.array([_whole(row, "timestep_index_original", source) for row in rows], np.int64)
    apart = np.diff(film)
    return film if not len(apart) or (apart.min() > 0 and np.median(apart) == 1) else steps


def _whole(row: Mapping[str, Any], key: str, source: Path, usual: int | None = None) -> int:
    value = row.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{source}: {key} is {value!r}, not a whole number", "export the folder again")
    return value


def _with_flame(
    folder: Path, frames: Frames, rows: Sequence[Mapping[str, Any]], names: Sequence[str], cam_from_world: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """cam_from_head [T,4,4], the head counted from its neck joint, and the hinge [T,3,6] of J1 - J0 and J0."""
    parameters = [_flame(folder, row, name, frames.source) for row, name in zip(rows, names, strict=True)]
    rotation, neck, shift = (np.stack(values) for values in zip(*parameters, strict=True))
    turned, nodded = (matrix_from_quat(quat_from_rotvec(torch.from_numpy(value))).numpy() for value in (rotation, neck))
    world_from_head = np.concatenate([turned @ nodded, shift[..., None]], -1)
    poses = cam_from_world @ rigid(world_from_head, names, folder / "flame_param")
    view = cam_from_world[:, :3, :3]
    return poses, np.concatenate([view @ turned, view], -1)


def _flame(folder: Path, row: Mapping[str, Any], name: str, source: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """rotation, neck_pose and translation [3] of one frame."""
    if "flame_param_path" not in row:
        raise InputError(f"{source}: {name} has no flame_param_path, others have", "export the folder again")
    path = folder / str(row["flame_param_path"])
    try:
        with np.load(path, allow_pickle=False) as file:
            values = [np.asarray(file[key], np.float64).reshape(-1) for key in ("rotation", "neck_pose", "translation")]
    except FileNotFoundError as error:
        raise InputError(f"{path}: this file is missing", "copy the folder again, whole") from error
    except (KeyError, ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path}: not FLAME parameters ({error})", "export the folder again") from error
    if any(value.shape != (3,) or not np.isfinite(value).all() for value in values):
        raise InputError(f"{path}: rotation, neck_pose and translation are not three numbers each", "track it again")
    return values[0], values[1], values[2]
