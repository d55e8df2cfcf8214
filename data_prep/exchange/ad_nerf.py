# SPDX-License-Identifier: Apache-2.0
"""The data folder of AD-NeRF and its family: RAD-NeRF, ER-NeRF, SyncTalk, TalkingGaussian, GeneFace.

transforms_train.json and transforms_val.json hold focal_len, cx, cy (px) and per frame img_id, aud_id and
transform_matrix: head_from_cam in OpenGL's camera axes, metres, so that x_px = cx - f X/Z and y_px = cy + f Y/Z with
Z < 0. The tracker's own file, track_params.pt, holds focal, euler [T,3] rad (R = Rx Ry Rz, Rx and Ry clockwise) and
trans [T,3] (1 = 10 cm); it is read without running what a pickle may contain. Source: the family's process.py.
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar3d.data_prep.exchange._parsing import COLOURS, torso_of
from avatar3d.data_prep.exchange._transforms import cam_from_head, camera_of, read_frames
from avatar3d.data_prep.exchange.views import (
    Foreign,
    Views,
    check_sizes,
    masks_of,
    picture_size,
    pinhole,
    rigid,
    save_frame,
    save_pictures,
    views_of,
)
from avatar3d.data_prep.quality import picture_of
from avatar3d.data_prep.regions import regions
from avatar3d.errors import InputError
from avatar3d.face.groups import IBUG
from avatar3d.geometry import camera_from, camera_to
from avatar3d.records import Capture, Track, Watch, unwatched
from avatar3d.store import save_sound, write_json

NAME = "ad-nerf"
_M_PER_U = 0.1
_PICTURES = ("ori_imgs", "gt_imgs", "com_imgs", "head_imgs")  # whole pictures first
_ENDINGS = (".jpg", ".png")
_FOLDERS = ("ori_imgs", "gt_imgs", "torso_imgs", "parsing")


def read(folder: Path) -> Foreign:
    """Poses, pictures, parsing and sound; the splits' order is by img_id.

    Without transforms_*.json, track_params.pt is read.

    Raises:
        InputError: a file is missing or says what cannot be used (see `views`).
    """
    if not (folder / "transforms_train.json").is_file() and (folder / "track_params.pt").is_file():
        return _from_params(folder)
    frames = read_frames(folder, "img_id")
    numbers = np.array([_img_id(row, frames.source) for row in frames.rows], np.int64)
    order = np.argsort(numbers, kind="stable")
    rows, numbers = [frames.rows[at] for at in order], numbers[order]
    names = [f"img_id {number}" for number in numbers]
    pictures = _pictures(folder, numbers)
    K, width, height = camera_of(frames, rows, names, pictures[0])
    check_sizes(pictures, width, height)
    held_out = np.array(frames.held_out)[order]
    return _foreign(folder, Views(numbers, cam_from_head(frames, rows, names), K, width, height, held_out), pictures)


def write(folder: Path, capture: Capture, track: Track, watch: Watch = unwatched) -> int:
    """All that their trainers read and that can be made without their networks; returns how many frames have poses.

    ori_imgs (with 68 landmarks a frame as .lms), gt_imgs (the room replaced by its plate), torso_imgs (RGBA), parsing
    (TalkingGaussian's colours, from `regions`), bc.jpg, aud.wav, transforms_train.json
    and transforms_val.json. Pictures are written for every frame, so that rows of other files keep their places; poses
    only for frames to be trusted.

    What is theirs to make: au.csv (OpenFace), aud_*.npy (their speech network), teeth_mask (TalkingGaussian's
    segmenter). TalkingGaussian takes the optical axis for the picture's middle whatever cx and cy say.
    """
    views, masks = views_of(track, _M_PER_U), masks_of(capture)
    assert capture.background is not None  # comes with the masks
    plate = capture.background
    for name in _FOLDERS:
        (folder / name).mkdir(parents=True)
    save_frame(folder / "bc.jpg", plate)
    if capture.sound is not None:
        save_sound(folder / "aud.wav", capture.sound)

    def save(frame: int) -> None:
        picture, mask = capture.frames[frame], masks[frame]
        points = picture_of(replace(track, motion=track.motion[frame : frame + 1]))[0]
        parts = regions(picture, mask, points).argmax(0).astype(np.uint8)
        alpha = mask[..., None] / np.float32(255)
        composed = (picture * alpha + plate * (1 - alpha) + np.float32(0.5)).astype(np.uint8)
        save_frame(folder / "ori_imgs" / f"{frame}.jpg", picture)
        save_frame(folder / "gt_imgs" / f"{frame}.jpg", composed)
        save_frame(folder / "parsing" / f"{frame}.png", COLOURS[parts])
        save_frame(folder / "torso_imgs" / f"{frame}.png", torso_of(composed, parts))
        np.savetxt(folder / "ori_imgs" / f"{frame}.lms", points[list(IBUG)], "%f")

    save_pictures(range(len(capture.frames)), save, len(capture.frames), watch)
    matrices = camera_to("nerfstudio", torch.from_numpy(views.cam_from_head)).tolist()
    for split, chosen in (("train", ~views.held_out), ("val", views.held_out)):
        write_json(folder / f"transforms_{split}.json", _split(views, matrices, np.flatnonzero(chosen)))
    return len(views)


def _split(views: Views, matrices: list[Any], rows: np.ndarray) -> dict[str, Any]:
    frame = views.frame.tolist()
    return {
        "focal_len": views.K[0, 0],
        "cx": views.K[0, 2],
        "cy": views.K[1, 2],
        "w": views.width,
        "h": views.height,
        "frames": [{"img_id": frame[at], "aud_id": frame[at], "transform_matrix": matrices[at]} for at in rows],
    }


def _foreign(folder: Path, views: Views, pictures: tuple[Path, ...]) -> Foreign:
    parsing = tuple(folder / "parsing" / f"{number}.png" for number in views.frame)
    sound = folder / "aud.wav"
    return Foreign(
        NAME,
        folder,
        views,
        pictures,
        masks=parsing if all(path.is_file() for path in parsing) else None,
        sound=sound if sound.is_file() else None,
    )


def _img_id(row: Any, source: Path) -> int:
    value = row["img_id"]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{source}: img_id is {value!r}, not a number of a picture", "export the folder again")
    return value


def _pictures(folder: Path, numbers: np.ndarray) -> tuple[Path, ...]:
    for name in _PICTURES:
        for ending in _ENDINGS:
            paths = tuple(folder / name / f"{number}{ending}" for number in numbers)
            if paths[0].is_file():
                return paths
    raise InputError(f"{folder}: no pictures in {', '.join(_PICTURES)}", "copy the folder again, with its pictures")


def _from_params(folder: Path) -> Foreign:
    source = folder / "track_params.pt"
    focal, euler, trans = _params(source)
    numbers = np.arange(len(euler))
    pictures = _pictures(folder, numbers)
    width, height = picture_size(pictures[0])
    check_sizes(pictures, width, height)
    K = pinhole(focal, focal, width / 2, height / 2, (), "the camera", source)
    view = np.tile(np.eye(4), (len(euler), 1, 1))
    view[:, :3, :3], view[:, :3, 3] = rotation_from_euler(euler), trans
    poses = rigid(view, [f"frame {number}" for number in numbers], source)
    held_out = numbers >= len(numbers) * 10 // 11  # as their process.py splits
    poses = camera_from("opengl", torch.from_numpy(poses)).numpy()
    return _foreign(folder, Views(numbers, poses, K, width, height, held_out), pictures)


def _params(source: Path) -> tuple[float, np.ndarray, np.ndarray]:
    """Focal length px, euler [T,3] rad and trans [T,3] of a track_params.pt."""
    try:
        params = torch.load(source, map_location="cpu", weights_only=True)
        values = [np.asarray(params[key], np.float64) for key in ("focal", "euler", "trans")]
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, ValueError, OSError, EOFError) as error:
        raise InputError(
            f"{source}: no focal, euler and trans can be read from this file ({str(error).splitlines()[0]})",
            "run the tracker again, or give its transforms_train.json",
        ) from error
    focal, euler, trans = values
    if euler.ndim != 2 or euler.shape != trans.shape or euler.shape[1] != 3 or not focal.size:
        raise InputError(f"{source}: euler {euler.shape} and trans {trans.shape} do not agree", "track the video again")
    return float(focal.reshape(-1)[0]), euler, trans


def rotation_from_euler(euler: np.ndarray) -> np.ndarray:
    """R [T,3,3] = Rx Ry Rz of the family's angles [T,3] rad; Rx and Ry turn clockwise, Rz the usual way."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(euler).T, np.sin(euler).T
    one, zero = np.ones_like(cx), np.zeros_like(cx)
    about_x = np.array([[one, zero, zero], [zero, cx, sx], [zero, -sx, cx]])
    about_y = np.array([[cy, zero, -sy], [zero, one, zero], [sy, zero, cy]])
    about_z = np.array([[cz, -sz, zero], [sz, cz, zero], [zero, zero, one]])
    x, y, z = (np.moveaxis(matrix, -1, 0) for matrix in (about_x, about_y, about_z))
    return x @ y @ z
