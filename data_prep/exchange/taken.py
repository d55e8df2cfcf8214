# SPDX-License-Identifier: Apache-2.0
"""From another tool's folder to a Capture of ours: one square around the head at FPS, with their poses beside it."""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from avatar3d.data_prep._crop import Crop, check_faces, check_picture, choose_crop
from avatar3d.data_prep._cuts import find_cuts, picture_changes
from avatar3d.data_prep._room import check_room, disk_bytes, usual_size
from avatar3d.data_prep.capture import begin_folder, disk_in_words, kept, made_by, sound_of
from avatar3d.data_prep.exchange._parsing import alpha_of_parsing
from avatar3d.data_prep.exchange.hinge import settled
from avatar3d.data_prep.exchange.views import Foreign
from avatar3d.data_prep.landmarks import Face, Landmarker, detect
from avatar3d.errors import InputError
from avatar3d.face.canonical import CanonicalFace
from avatar3d.face.rigid import rigid_weights
from avatar3d.geometry import pose_from_matrix
from avatar3d.records import FPS, Capture, KnownPoses, Landmarks, Progress, Watch, unwatched
from avatar3d.store import (
    Work,
    file_hash,
    frames_writer,
    key_of,
    let_go,
    read_json,
    streamed,
)
from avatar3d.store.mapped import EVERY

_VERSION = 1
_LOOKED_AT = 100  # pictures that say where the face is
_LONGER_SIDE = 960  # px of these
_SHORTEST_S = 5.0
_GAP = -1


@dataclass(frozen=True)
class TakeSettings:
    """How another tool's folder becomes a Capture."""

    size: int | None = None
    """Side of the working frames in px: 128, 256, 384 or 512; None: as `prepare` chooses it."""
    fps: float = FPS
    """Frames per second of the pictures; no format says it."""
    sound: Path | None = None
    """The film's sound, whose beginning is frame 0; None: the folder's own, if it has one."""


def source_hash(foreign: Foreign) -> str:
    """sha256 of the poses, the camera, and the names and sizes of all pictures."""
    digest = hashlib.sha256(foreign.tool.encode())
    for array in (foreign.views.frame, foreign.views.cam_from_head, foreign.views.K):
        digest.update(np.ascontiguousarray(array).tobytes())
    for path in foreign.pictures:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()


def take(
    foreign: Foreign, work: Work, model: Path, settings: TakeSettings = TakeSettings(), watch: Watch = unwatched
) -> tuple[Capture, Landmarks]:
    """Cuts their pictures to the head and finds landmarks, as `capture` does of a video.

    Frames at FPS from their first number to their last; where a number is missing, the picture before it is repeated
    and counts as one without a face, so that the sound stays in step. What an earlier call finished is read back.

    Args:
        work: the same files as of `capture`.
        model: face_landmarker.task.

    Raises:
        InputError: too short, no face, several faces, a face below 64 px, a damaged picture, or no room to write.
    """
    sound_file = settings.sound or foreign.sound
    spoken = None if sound_file is None else file_hash(sound_file)
    key = key_of("take", _VERSION, source_hash(foreign), settings.size, settings.fps, spoken)
    if (finished := made_by(work, key)) is not None:
        return finished
    views, name = foreign.views, foreign.folder
    check_picture(views.width, views.height, name)
    rows = rows_at(views.frame, settings.fps)
    if len(rows) < _SHORTEST_S * FPS:
        raise InputError(
            f"{name}: {len(rows) / FPS:.1f} s of pictures, {_SHORTEST_S:g} s are needed",
            "track more of the film, or say its rate with --fps",
        )
    seen = _faces(foreign, model, watch)
    warnings = check_faces(seen, name)
    crop = choose_crop(seen, views.width, views.height, settings.size or usual_size(len(rows)))
    check_room(work.path, disk_bytes(len(rows), crop.size))
    start_s = float(views.frame[0]) / settings.fps
    sound = None if sound_file is None else sound_of(sound_file, len(rows), start_s)
    with disk_in_words(work):
        begin_folder(work)
        work.finish("frames", "")
        _write(foreign, rows, crop, work, watch)
        frames = np.load(work.frames, mmap_mode="r")
        landmarks = _without(detect(frames, model, watch), rows == _GAP)
        cuts = find_cuts(picture_changes(streamed(frames)), landmarks.points)
        made = Capture(frames, sound, FPS, cuts, source_hash(foreign))
        about = {
            "source": {"name": name.resolve().name, "tool": foreign.tool, "width": views.width, "height": views.height},
            "crop": asdict(crop),
            "warnings": warnings,
        }
        return kept(work, key, made, landmarks, about)


def rows_at(frame: np.ndarray, fps: float) -> np.ndarray:
    """[F] which row of the tool's each of our frames shows, -1 where it has none, from its first number to its last."""
    count = round((frame[-1] - frame[0] + 1) * FPS / fps)
    wanted = np.minimum(np.rint(frame[0] + np.arange(count) * fps / FPS).astype(np.int64), frame[-1])
    at = np.searchsorted(frame, wanted)
    return np.where(frame[at] == wanted, at, _GAP)


def known_poses(
    foreign: Foreign, work: Work, landmarks: Landmarks, face: CanonicalFace, settings: TakeSettings = TakeSettings()
) -> KnownPoses:
    """Their camera and poses for the frames of the work folder that `take` has made; NaN in gaps.

    What the folder leaves open (`Foreign.hinge`) is found from the landmarks.
    """
    crop = read_json(work.capture_json)["crop"]
    scale = crop["size"] / crop["side"]
    K = foreign.views.K.copy()
    K[:2, 2] -= crop["left"], crop["top"]
    K[:2] *= scale
    rows = rows_at(foreign.views.frame, settings.fps)
    poses = foreign.views.cam_from_head[rows]
    if foreign.hinge is not None:
        points = np.where((rows == _GAP)[:, None, None], np.nan, landmarks.points[:, : len(face.vertices), :2])
        poses = settled(poses, foreign.hinge[rows], K, points.astype(np.float64), rigid_weights(face) > 0.5)
    moved = pose_from_matrix(torch.from_numpy(poses)).numpy()
    moved[rows == _GAP] = np.nan
    return KnownPoses(torch.from_numpy(K), moved)


def their_masks(foreign: Foreign, work: Work, settings: TakeSettings = TakeSettings()) -> bool:
    """Writes their masks over those of the work folder, where they have any (also as pictures' alpha); says so."""
    paths = foreign.masks or (foreign.pictures if _has_alpha(foreign.pictures[0]) else None)
    if paths is None:
        return False
    about = read_json(work.capture_json)
    crop = Crop(**about["crop"])
    ours = np.load(work.masks, mmap_mode="r")
    with frames_writer(work.masks, ours.shape) as alpha:
        for frame, row in enumerate(rows_at(foreign.views.frame, settings.fps)):
            alpha[frame] = ours[frame] if row == _GAP else _alpha(paths[row], crop, foreign.tool == "ad-nerf")
            if frame % EVERY == 0:
                let_go(alpha)
                let_go(ours)
    return True


def _write(foreign: Foreign, rows: np.ndarray, crop: Crop, work: Work, watch: Watch) -> None:
    with frames_writer(work.frames, (len(rows), crop.size, crop.size, 3)) as array:
        last = np.empty(0)
        for frame, row in enumerate(rows):
            if row != _GAP:
                with _opened(foreign.pictures[row]) as picture:
                    last = np.asarray(_cropped(_on_white(picture), crop))
            array[frame] = last
            if frame % EVERY == 0:
                let_go(array)
                watch(Progress("frames", frame / len(rows), f"{frame} of {len(rows)}"))
    watch(Progress("frames", 1.0, f"{len(rows)} of {len(rows)}"))


def _faces(foreign: Foreign, model: Path, watch: Watch) -> list[list[Face]]:
    """Faces of pictures evenly spread over the film, px of the pictures."""
    count = len(foreign.pictures)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).astype(int)).tolist()
    seen = []
    with Landmarker(model) as landmarker:
        for index, row in enumerate(chosen):
            with _opened(foreign.pictures[row]) as picture:
                shown = _on_white(picture)
                scale = max(1.0, max(shown.size) / _LONGER_SIDE)
                small = shown.resize(
                    (round(shown.width / scale), round(shown.height / scale)), PillowImage.Resampling.BOX
                )
                found = landmarker.find(np.asarray(small))
            seen.append([Face(face.points * np.float32(scale), face.scores) for face in found])
            watch(Progress("looking for the face", (index + 1) / len(chosen)))
    return seen


def _opened(path: Path) -> PillowImage.Image:
    try:
        picture = PillowImage.open(io.BytesIO(path.read_bytes()))  # so that a damaged file is not left open
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InputError(f"{path}: not a picture, or damaged ({error})", "copy the folder again, whole") from error
    return picture


def _on_white(picture: PillowImage.Image) -> PillowImage.Image:
    """RGB; what is transparent becomes white, as these tools show it."""
    if not _transparent(picture):
        return picture.convert("RGB")
    white = PillowImage.new("RGBA", picture.size, "white")
    return PillowImage.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


def _transparent(picture: PillowImage.Image) -> bool:
    return "A" in picture.getbands() or "transparency" in picture.info


def _has_alpha(path: Path) -> bool:
    with _opened(path) as picture:
        return _transparent(picture)


def _alpha(path: Path, crop: Crop, parsing: bool) -> np.ndarray:
    """[size,size] uint8 alpha of the person, from any kind of mask."""
    with _opened(path) as picture:
        if _transparent(picture):
            mask = picture.convert("RGBA").getchannel("A")
        elif parsing:
            mask = PillowImage.fromarray(alpha_of_parsing(np.asarray(picture.convert("RGB"))))
        else:
            mask = picture.convert("L")
        return np.asarray(_cropped(mask, crop))


def _cropped(picture: PillowImage.Image, crop: Crop) -> PillowImage.Image:
    if crop.side == crop.size:
        return picture.crop(crop.box)
    return picture.resize((crop.size, crop.size), PillowImage.Resampling.BOX, box=crop.box)


def _without(landmarks: Landmarks, lost: np.ndarray) -> Landmarks:
    points, scores = landmarks.points.copy(), landmarks.scores.copy()
    points[lost], scores[lost] = np.nan, np.nan
    return Landmarks(points, scores, landmarks.found & ~lost)
