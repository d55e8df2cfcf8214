# SPDX-License-Identifier: Apache-2.0
"""`avatar3d export`: a prepared capture for other programs, as cameras that stand around a still head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage

from avatar3d.errors import InputError
from avatar3d.geometry import camera_to, matrix_from_pose
from avatar3d.recipes.prepare import reopened
from avatar3d.records import Progress, Track, Watch, unwatched
from avatar3d.store import Work, replacing, write_json

_REPORT_EVERY = 25


def export(work: Work, out: Path, watch: Watch = unwatched) -> dict[str, Any]:
    """Writes nerfstudio's data format: transforms.json, images/ and masks/ of every frame to be trusted.

    The world is the head's own space (u; x to the person's left, y up, z out of the face), so the camera moves. The
    frames that are held out from training are named as `val_filenames`.

    Args:
        out: a folder that does not exist yet, or is empty.

    Raises:
        InputError: the work folder is not prepared, or `out` is in use.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is in use", "name a new folder with -o")
    prepared = reopened(work)
    capture, track = prepared.capture, prepared.track
    assert capture.masks is not None  # `reopened` has looked
    chosen = np.flatnonzero(track.confidence > 0).tolist()
    with replacing(out) as part:
        for folder in ("images", "masks"):
            (part / folder).mkdir(parents=True)
        for index, frame in enumerate(chosen):
            PillowImage.fromarray(capture.frames[frame]).save(part / _image(frame))
            PillowImage.fromarray(capture.masks[frame]).save(part / _mask(frame))
            if index % _REPORT_EVERY == 0:
                watch(Progress("export", index / len(chosen), f"{index} of {len(chosen)} frames"))
        write_json(part / "transforms.json", _transforms(track, chosen))
    watch(Progress("export", 1.0))
    return {"folder": str(out), "frames": len(chosen), "left_out": len(capture.frames) - len(chosen)}


def _transforms(track: Track, chosen: list[int]) -> dict[str, Any]:
    camera = track.camera
    cam_from_head = camera.cam_from_world.double() @ matrix_from_pose(torch.from_numpy(track.motion.head).double())
    matrices = camera_to("nerfstudio", cam_from_head)
    return {
        "camera_model": "OPENCV",
        "fl_x": float(camera.K[0, 0]),
        "fl_y": float(camera.K[1, 1]),
        "cx": float(camera.K[0, 2]),
        "cy": float(camera.K[1, 2]),
        "w": camera.width,
        "h": camera.height,
        "frames": [
            {"file_path": _image(frame), "mask_path": _mask(frame), "transform_matrix": matrices[frame].tolist()}
            for frame in chosen
        ],
        "train_filenames": [_image(frame) for frame in chosen if frame < track.fitted_frames],
        "val_filenames": [_image(frame) for frame in chosen if frame >= track.fitted_frames],
    }


def _image(frame: int) -> str:
    return f"images/{frame:06d}.png"


def _mask(frame: int) -> str:
    return f"masks/{frame:06d}.png"
