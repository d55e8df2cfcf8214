# SPDX-License-Identifier: Apache-2.0
"""COLMAP's sparse models, as text and as binary: cameras, images and points3D, as also 3DGS and gsplat read them.

An image holds cam_from_world as quaternion wxyz and translation, in OpenCV's axes; pixel centres lie at +0.5. Pictures
stand in images/ beside the model. Source: COLMAP's documentation, "Output Format".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch

from avatar3d.data_prep.exchange.views import (
    Foreign,
    Views,
    check_sizes,
    in_order,
    masks_of,
    one_camera,
    pinhole,
    rigid,
    save_frame,
    save_pictures,
    views_of,
)
from avatar3d.data_prep.quality import picture_of
from avatar3d.errors import InputError
from avatar3d.geometry import matrix_from_quat, quat_from_matrix
from avatar3d.records import Capture, Track, Watch, unwatched

NAME = "colmap"
T = TypeVar("T")
_MODELS = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")  # by their numbers in binary files
_OTHERS = {5: "OPENCV_FISHEYE", 6: "FULL_OPENCV", 7: "FOV", 8: "SIMPLE_RADIAL_FISHEYE", 9: "RADIAL_FISHEYE"}
_PARAMETERS = {"SIMPLE_PINHOLE": 3, "PINHOLE": 4, "SIMPLE_RADIAL": 4, "RADIAL": 5, "OPENCV": 8}
_PLACES = ("", "sparse/0", "sparse", "colmap/sparse/0")
_FULL = "%.17g"  # digits that bring a double back
_BLANK = "\n\n"


@dataclass(frozen=True)
class _Camera:
    model: str
    width: int
    height: int
    params: tuple[float, ...]


@dataclass(frozen=True)
class _Image:
    name: str
    camera: int
    quat: tuple[float, ...]  # wxyz
    shift: tuple[float, ...]


def model_folder(folder: Path) -> Path | None:
    """Where the sparse model of `folder` lies, or None."""
    for place in _PLACES:
        for ending in ("bin", "txt"):
            if all((folder / place / f"{name}.{ending}").is_file() for name in ("cameras", "images")):
                return folder / place
    return None


def read(folder: Path) -> Foreign:
    """Cameras and pictures of the model; images are put in the order of the numbers in their names.

    Raises:
        InputError: no model, a camera with lens distortion, a missing picture (see `views`).
    """
    model = model_folder(folder)
    if model is None:
        raise InputError(
            f"{folder}: no cameras and images (.bin or .txt) here or in sparse/0", "name the folder of a COLMAP model"
        )
    binary = (model / "images.bin").is_file() and (model / "cameras.bin").is_file()
    source = model / ("images.bin" if binary else "images.txt")
    cameras = _read_whole(model / f"cameras{source.suffix}", _cameras_binary if binary else _cameras_text)
    images = _read_whole(source, _images_binary if binary else _images_text)
    if not images:
        raise InputError(f"{source}: no frames", "name a model in which COLMAP has placed pictures")
    names = [image.name for image in images]
    order, numbers = in_order(names)
    images, names = [images[at] for at in order], [names[at] for at in order]
    K, width, height = _one_camera(cameras, images, source)
    pictures = tuple(_pictures_folder(folder, model) / name for name in names)
    check_sizes(pictures, width, height)
    masks = tuple(folder / "masks" / f"{name}.png" for name in names)
    return Foreign(
        NAME,
        folder,
        Views(numbers, _poses(images, source), K, width, height, np.zeros(len(images), bool)),
        pictures,
        masks if all(path.is_file() for path in masks) else None,
    )


def write(folder: Path, capture: Capture, track: Track, watch: Watch = unwatched) -> int:
    """images/, masks/ (NAME.png, as COLMAP wants them) and the model in sparse/0 as binary and text; returns frames.

    The world is head space in u (10 cm). points3D holds the mean face with colours of the first frame, for trainers
    that begin with a cloud; no point claims to have been matched.
    """
    views, masks = views_of(track), masks_of(capture)
    model = folder / "sparse" / "0"
    for place in (folder / "images", folder / "masks", model):
        place.mkdir(parents=True)

    def save(frame: int) -> None:
        save_frame(folder / "images" / _picture(frame), capture.frames[frame])
        save_frame(folder / "masks" / f"{_picture(frame)}.png", masks[frame])

    save_pictures(views.frame.tolist(), save, len(views), watch)
    quats = quat_from_matrix(torch.from_numpy(views.cam_from_head[:, :3, :3])).numpy()
    K = views.K
    camera = _Camera("PINHOLE", views.width, views.height, (K[0, 0], K[1, 1], K[0, 2], K[1, 2]))
    images = [
        _Image(_picture(frame), 1, tuple(quat), tuple(pose[:3, 3]))
        for frame, quat, pose in zip(views.frame.tolist(), quats, views.cam_from_head, strict=True)
    ]
    points, colours = track.neutral.astype(np.float64), _colours(capture, track, int(views.frame[0]))
    _write_binary(model, camera, images, points, colours)
    _write_text(model, camera, images, points, colours)
    return len(views)


def _picture(frame: int) -> str:
    return f"{frame:06d}.png"


def _pictures_folder(folder: Path, model: Path) -> Path:
    for place in (folder, model, model.parent, model.parent.parent):
        if (place / "images").is_dir():
            return place / "images"
    return folder


def _poses(images: list[_Image], source: Path) -> np.ndarray:
    quats = np.array([image.quat for image in images], np.float64)
    bad = np.flatnonzero(~np.isfinite(quats).all(1) | (np.abs(np.linalg.norm(quats, axis=1) - 1) > 1e-2))
    if len(bad):
        raise InputError(f"{source}: the quaternion of {images[bad[0]].name} is no rotation", "leave that frame out")
    rotation = matrix_from_quat(torch.from_numpy(quats)).numpy()
    shift = np.array([image.shift for image in images], np.float64)
    return rigid(np.concatenate([rotation, shift[..., None]], -1), [image.name for image in images], source)


def _one_camera(cameras: Mapping[int, _Camera], images: list[_Image], source: Path) -> tuple[np.ndarray, int, int]:
    used = []
    for image in images:
        if image.camera not in cameras:
            raise InputError(
                f"{source}: {image.name} names camera {image.camera}, which is not there", "export it again"
            )
        used.append(cameras[image.camera])
    sizes = {(camera.width, camera.height) for camera in used}
    if len(sizes) > 1:
        raise InputError(f"{source}: pictures of {len(sizes)} sizes", "give pictures of one size")
    pairs = ((image.name, _K(camera, image.name, source)) for image, camera in zip(images, used, strict=True))
    return one_camera(pairs, source), *sizes.pop()


def _K(camera: _Camera, name: str, source: Path) -> np.ndarray:
    p = camera.params
    if camera.model in ("PINHOLE", "OPENCV"):
        return pinhole(p[0], p[1], p[2], p[3], p[4:], f"the camera of {name}", source)
    return pinhole(p[0], p[0], p[1], p[2], p[3:], f"the camera of {name}", source)


def _camera(model: str, width: int, height: int, params: tuple[float, ...], source: Path) -> _Camera:
    if model not in _PARAMETERS:
        raise InputError(f"{source}: camera model {model}", "undistort the pictures first: `colmap image_undistorter`")
    if len(params) != _PARAMETERS[model]:
        raise InputError(f"{source}: {len(params)} parameters of a {model} camera", "export the model again")
    return _Camera(model, width, height, params)


def _read_whole(path: Path, parse: Callable[[Path], T]) -> T:
    """What `parse` makes of a file; a damaged one is said in words."""
    try:
        return parse(path)
    except (struct.error, ValueError, IndexError, UnicodeDecodeError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not COLMAP's format ({error})", "export the model again") from error


def _lines(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            yield line


def _cameras_text(path: Path) -> dict[int, _Camera]:
    cameras = {}
    for line in _lines(path):
        if words := line.split():
            params = tuple(float(word) for word in words[4:])
            cameras[int(words[0])] = _camera(words[1], int(words[2]), int(words[3]), params, path)
    return cameras


def _images_text(path: Path) -> list[_Image]:
    lines = list(_lines(path))
    while lines and not lines[-1].strip():
        lines.pop()
    images = []
    for line in lines[::2]:  # every second one holds the image's points, and may be empty
        words = line.split(maxsplit=9)
        numbers = tuple(float(word) for word in words[1:8])
        images.append(_Image(words[9].strip(), int(words[8]), numbers[:4], numbers[4:]))
    return images


def _cameras_binary(path: Path) -> dict[int, _Camera]:
    cameras = {}
    with path.open("rb") as file:
        for _ in range(*_unpacked(file, "<Q")):
            number, model, width, height = _unpacked(file, "<iiQQ")
            if not 0 <= model < len(_MODELS):
                name = _OTHERS.get(model, f"number {model}")
                raise InputError(f"{path}: camera model {name}", "undistort the pictures: `colmap image_undistorter`")
            params = _unpacked(file, f"<{_PARAMETERS[_MODELS[model]]}d")
            cameras[number] = _camera(_MODELS[model], width, height, params, path)
    return cameras


def _images_binary(path: Path) -> list[_Image]:
    images = []
    with path.open("rb") as file:
        for _ in range(*_unpacked(file, "<Q")):
            _, *numbers, camera = _unpacked(file, "<i7di")
            name = bytearray()
            while (letter := file.read(1)) != b"\0":
                if not letter:
                    raise ValueError("the file ends within a name")
                name += letter
            (count,) = _unpacked(file, "<Q")
            file.seek(24 * count, 1)  # x, y and the point's number
            images.append(_Image(name.decode(), camera, tuple(numbers[:4]), tuple(numbers[4:])))
    return images


def _unpacked(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _write_binary(model: Path, camera: _Camera, images: list[_Image], points: np.ndarray, colours: np.ndarray) -> None:
    with (model / "cameras.bin").open("wb") as file:
        file.write(struct.pack("<QiiQQ", 1, 1, _MODELS.index(camera.model), camera.width, camera.height))
        file.write(struct.pack("<4d", *camera.params))
    with (model / "images.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(images)))
        for number, image in enumerate(images, 1):
            file.write(struct.pack("<i7di", number, *image.quat, *image.shift, image.camera))
            file.write(image.name.encode() + b"\0" + struct.pack("<Q", 0))
    with (model / "points3D.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(points)))
        for number, (point, colour) in enumerate(zip(points, colours, strict=True), 1):
            file.write(struct.pack("<Q3d3BdQ", number, *point, *colour.tolist(), 0.0, 0))


def _write_text(model: Path, camera: _Camera, images: list[_Image], points: np.ndarray, colours: np.ndarray) -> None:
    params = " ".join(_FULL % value for value in camera.params)
    (model / "cameras.txt").write_text(f"1 {camera.model} {camera.width} {camera.height} {params}\n")
    lines = [
        f"{number} {' '.join(_FULL % value for value in (*image.quat, *image.shift))} {image.camera} {image.name}"
        for number, image in enumerate(images, 1)
    ]
    (model / "images.txt").write_text(_BLANK.join(lines) + _BLANK)
    rows = [
        f"{number} {' '.join(_FULL % value for value in point)} {' '.join(map(str, colour.tolist()))} 0"
        for number, (point, colour) in enumerate(zip(points, colours, strict=True), 1)
    ]
    (model / "points3D.txt").write_text("\n".join(rows) + "\n")


def _colours(capture: Capture, track: Track, frame: int) -> np.ndarray:
    """[468,3] uint8 of the rig's vertices, as one frame shows them."""
    seen = picture_of(track)[frame].astype(int)
    height, width = capture.frames.shape[1:3]
    return capture.frames[frame][seen[:, 1].clip(0, height - 1), seen[:, 0].clip(0, width - 1)]
