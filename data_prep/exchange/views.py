# SPDX-License-Identifier: Apache-2.0
"""What all formats meet in: one camera as a head sees it, frame by frame, and the files that belong to it.

Each format is one file with a reader and a writer over these nouns, so that n formats are n files and not n times n.
Everything is float64: a pose that is rounded on its way cannot be compared to 1e-4 px.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from avatar3d.errors import InputError
from avatar3d.geometry import matrix_from_pose
from avatar3d.records import Capture, Progress, Track, Watch

_RIGID = 1e-3  # how far R^T R may be from the identity: writers that keep three digits stay below
_SQUARE = 2e-3  # relative difference of the two focal lengths
_REPORT_EVERY = 25  # frames


@dataclass(frozen=True)
class Views:
    """One camera around a still head, frame by frame."""

    frame: np.ndarray  # [T] int64 rising frame numbers of the film
    cam_from_head: (
        np.ndarray
    )  # [T,4,4] float64 rigid; camera axes are OpenCV's, the head's axes and unit the tool's own
    K: np.ndarray  # [3,3] float64 px
    width: int  # px
    height: int  # px
    held_out: np.ndarray  # [T] bool, frames that training is not to see

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class Foreign:
    """What another tool left in a folder; rows as in `views`."""

    tool: str  # the format's name
    folder: Path
    views: Views
    pictures: tuple[Path, ...]
    masks: tuple[Path, ...] | None = None  # alpha of the person, or AD-NeRF's parsing in colours
    sound: Path | None = None
    # [T,3,P] float64: the head moves by hinge @ p in the camera's axes, for P numbers p that the folder does not tell
    hinge: np.ndarray | None = None


def views_of(track: Track, units_per_u: float = 1.0) -> Views:
    """The trusted frames of a track, in head space (x to the person's left, y up, z out of the face).

    Args:
        units_per_u: how many of the other tool's units are 10 cm.
    """
    camera = track.camera
    cam_from_world = camera.cam_from_world.double()
    cam_from_head = (cam_from_world @ matrix_from_pose(torch.from_numpy(track.motion.head).double())).numpy()
    cam_from_head[:, :3, 3] *= units_per_u
    frame = np.flatnonzero(track.confidence > 0)
    return Views(
        frame=frame,
        cam_from_head=cam_from_head[frame],
        K=camera.K.double().numpy(),
        width=camera.width,
        height=camera.height,
        held_out=frame >= track.fitted_frames,
    )


def rigid(matrices: Sequence[Sequence[Sequence[float]]] | np.ndarray, names: Sequence[str], source: Path) -> np.ndarray:
    """Poses [T,4,4] float64 as a file has them, checked; rotations are made exactly orthogonal.

    Args:
        names: what to call each frame in a complaint.

    Raises:
        InputError: no frame, a pose that is not 3 or 4 rows of 4 numbers, not finite, or not rigid.
    """
    if not len(matrices):
        raise InputError(f"{source}: no frames", "name a folder whose tracking has succeeded")
    poses = np.tile(np.eye(4), (len(matrices), 1, 1))
    for pose, matrix, name in zip(poses, matrices, names, strict=True):
        pose[:3] = _four_columns(matrix, name, source)[:3]
    rotation = poses[:, :3, :3]
    off = np.abs(np.swapaxes(rotation, 1, 2) @ rotation - np.eye(3)).max((1, 2))
    wrong = np.flatnonzero((off > _RIGID) | (np.linalg.det(rotation) < 0))
    if len(wrong):
        raise InputError(
            f"{source}: the pose of {names[wrong[0]]} is no rotation and shift (it scales, shears or mirrors)",
            "export rigid poses",
        )
    u, _, v = np.linalg.svd(rotation)
    poses[:, :3, :3] = u @ v
    return poses


def _four_columns(matrix: Sequence[Sequence[float]] | np.ndarray, name: str, source: Path) -> np.ndarray:
    try:
        values = np.asarray(matrix, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: the pose of {name} is no matrix of numbers", "export it again") from error
    if values.shape not in ((3, 4), (4, 4)):
        raise InputError(f"{source}: the pose of {name} has shape {values.shape}, not 4x4", "export it again")
    if not np.isfinite(values).all():
        raise InputError(
            f"{source}: the pose of {name} holds NaN or infinity", "leave that frame out, or track it again"
        )
    return values


def pinhole(
    fx: float, fy: float, cx: float, cy: float, distortion: Sequence[float], name: str, source: Path
) -> np.ndarray:
    """K [3,3] of an undistorted camera with square pixels.

    Raises:
        InputError: lens distortion, pixels that are not square, or a focal length that is not positive.
    """
    if any(distortion):
        raise InputError(
            f"{source}: {name} has lens distortion ({', '.join(f'{value:g}' for value in distortion)})",
            "undistort the pictures first, for example with `colmap image_undistorter`",
        )
    if not (np.isfinite([fx, fy, cx, cy]).all() and fx > 0 and fy > 0):
        raise InputError(f"{source}: {name} has focal length {fx:g}, {fy:g} px", "export the camera again")
    if abs(fx - fy) > _SQUARE * max(fx, fy):
        raise InputError(
            f"{source}: {name} has pixels that are not square (focal length {fx:g} and {fy:g} px)",
            "resize the pictures so that both are the same",
        )
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def one_camera(cameras: Iterable[tuple[str, np.ndarray]], source: Path) -> np.ndarray:
    """The K [3,3] that all frames share.

    Raises:
        InputError: a frame has another one (a zooming lens).
    """
    pairs = list(cameras)
    first_name, first = pairs[0]
    for name, K in pairs:
        if np.abs(K - first).max() > 1e-3 * first[0, 0]:
            raise InputError(
                f"{source}: {name} has focal length {K[0, 0]:g} px, {first_name} {first[0, 0]:g} px, or another axis",
                "film and track with one focal length",
            )
    return first


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in px.

    Raises:
        InputError: no such file, or no picture.
    """
    try:
        with PillowImage.open(path) as picture:
            return picture.size
    except FileNotFoundError as error:
        raise InputError(f"{path}: this picture is missing", "copy the folder again, whole") from error
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{path}: not a picture ({error})", "copy the folder again, whole") from error


def check_sizes(pictures: Sequence[Path], width: int, height: int) -> None:
    """Refuses pictures that are missing or not of the camera's size.

    Raises:
        InputError: names the first one.
    """
    for path in pictures:
        size = picture_size(path)
        if size != (width, height):
            raise InputError(
                f"{path}: {size[0]}x{size[1]} px, the camera has {width}x{height} px", "give pictures of one size"
            )


def in_order(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """How file names follow each other: (order [T], frame numbers [T] of the names so ordered).

    Numbers at the end of the names are frame numbers where most follow one another by one; otherwise only their order
    counts, since a tool that was given every tenth frame still made one film of them.
    """
    digits = [_last_number(name) for name in names]
    numbers = np.array([-1 if value is None else value for value in digits], np.int64)
    if (numbers < 0).any() or len(set(numbers.tolist())) < len(numbers):
        return np.array(sorted(range(len(names)), key=names.__getitem__), np.int64), np.arange(len(names))
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    steps = np.diff(numbers)
    return order, numbers if not len(steps) or np.median(steps) == 1 else np.arange(len(names))


def _last_number(name: str) -> int | None:
    digits = ""
    for letter in reversed(Path(name).stem):
        if letter.isdigit():
            digits = letter + digits
        elif digits:
            break
    return int(digits) if digits else None


def save_pictures(frames: Iterable[int], write: Callable[[int], None], count: int, watch: Watch) -> None:
    """Calls `write` for every frame and tells how far it is."""
    for index, frame in enumerate(frames):
        write(frame)
        if index % _REPORT_EVERY == 0:
            watch(Progress("export", index / max(count, 1), f"{index} of {count} frames"))
    watch(Progress("export", 1.0))


def save_frame(path: Path, picture: np.ndarray) -> None:
    """Writes [H,W,3], [H,W,4] or [H,W] uint8 as the format of the suffix; JPEG at the quality that their tools use."""
    if path.suffix == ".jpg":
        PillowImage.fromarray(picture).save(path, quality=97, subsampling=0)
    else:
        PillowImage.fromarray(picture).save(path, compress_level=3)  # half the time of the usual 6, 2 % larger


def masks_of(capture: Capture) -> np.ndarray:
    """[T,H,W] uint8 alpha of the person.

    Raises:
        InputError: the work folder has none yet.
    """
    if capture.masks is None:
        raise InputError("this capture has no masks", "run `avatar3d prepare` with the video again")
    return capture.masks
