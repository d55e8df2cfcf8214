# SPDX-License-Identifier: Apache-2.0
"""nerfstudio's data format, and its relatives: instant-ngp's files and Blender's synthetic scenes.

transforms.json names a picture and a `transform_matrix` per frame: world_from_cam in OpenGL's camera axes (x right, y
up, z backward), fl_x, fl_y, cx, cy, w, h in px above the frames or in each. Source: nerfstudio's documentation, "Data
conventions"; the reader of GaussianAvatars.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from avatar3d.data_prep.exchange._transforms import (
    cam_from_head,
    camera_of,
    found_picture,
    ordered,
    read_frames,
)
from avatar3d.data_prep.exchange.views import Foreign, Views, check_sizes, masks_of, save_frame, save_pictures, views_of
from avatar3d.geometry import camera_to
from avatar3d.records import Capture, Track, Watch, unwatched
from avatar3d.store import write_json

NAME = "nerfstudio"
_MASKS = ("mask_path", "fg_mask_path")


def read(folder: Path) -> Foreign:
    """Cameras, pictures and masks; frames are put in the order of the numbers in their names.

    Raises:
        InputError: a file is missing or says what cannot be used (see `views`).
    """
    frames = read_frames(folder, "file_path")
    rows, numbers, held_out = ordered(frames, [str(row["file_path"]) for row in frames.rows])
    names = [str(row["file_path"]) for row in rows]
    pictures = tuple(found_picture(folder, name) for name in names)
    K, width, height = camera_of(frames, rows, names, pictures[0])
    check_sizes(pictures, width, height)
    masks = None
    word = next((word for word in _MASKS if all(word in row for row in rows)), None)
    if word is not None:
        masks = tuple(found_picture(folder, str(row[word])) for row in rows)
        check_sizes(masks, width, height)
    named = set(frames.about.get("train_filenames", names))
    held_out = held_out | np.array([name not in named for name in names])
    views = Views(numbers, cam_from_head(frames, rows, names), K, width, height, held_out)
    return Foreign(NAME, folder, views, pictures, masks)


def write(folder: Path, capture: Capture, track: Track, watch: Watch = unwatched) -> int:
    """transforms.json, images/ and masks/ of every frame to be trusted; returns how many.

    The world is head space in u (10 cm), so the camera moves. Held-out frames are named as `val_filenames`.
    """
    views, masks = views_of(track), masks_of(capture)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)

    def save(frame: int) -> None:
        save_frame(folder / _image(frame), capture.frames[frame])
        save_frame(folder / _mask(frame), masks[frame])

    save_pictures(views.frame.tolist(), save, len(views), watch)
    matrices = camera_to("nerfstudio", torch.from_numpy(views.cam_from_head)).tolist()
    write_json(
        folder / "transforms.json",
        {
            "camera_model": "OPENCV",
            "fl_x": views.K[0, 0],
            "fl_y": views.K[1, 1],
            "cx": views.K[0, 2],
            "cy": views.K[1, 2],
            "w": views.width,
            "h": views.height,
            "frames": [
                {"file_path": _image(frame), "mask_path": _mask(frame), "transform_matrix": matrix}
                for frame, matrix in zip(views.frame.tolist(), matrices, strict=True)
            ],
            "train_filenames": [_image(frame) for frame in views.frame[~views.held_out].tolist()],
            "val_filenames": [_image(frame) for frame in views.frame[views.held_out].tolist()],
        },
    )
    return len(views)


def _image(frame: int) -> str:
    return f"images/{frame:06d}.png"


def _mask(frame: int) -> str:
    return f"masks/{frame:06d}.png"
