# SPDX-License-Identifier: Apache-2.0
"""From any video of one person to a Capture: one square around the head at a constant frame rate, with landmarks."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d import media
from avatar3d.data_prep._crop import SIZES, Crop, check_faces, check_picture, choose_crop, rival_share
from avatar3d.data_prep._cuts import find_cuts, picture_changes
from avatar3d.data_prep._room import check_room, disk_bytes, usual_size
from avatar3d.data_prep._scan import scan
from avatar3d.data_prep.landmarks import detect
from avatar3d.errors import InputError
from avatar3d.records import FPS, SAMPLE_RATE, Capture, Landmarks, Progress, Sound, Watch, unwatched
from avatar3d.store import (
    Work,
    file_hash,
    frames_writer,
    key_of,
    let_go,
    load_capture,
    load_landmarks,
    save_capture,
    streamed,
    sweep,
)
from avatar3d.store.mapped import EVERY

_VERSION = 2  # of this stage: a change of what it makes must not be mistaken for what an earlier one made
_ADVISED_S = 60.0
_SILENT_DB = -60.0


@dataclass(frozen=True)
class CaptureSettings:
    """How a video becomes a Capture."""

    size: int | None = None
    """Side of the working frames in px: 128, 256, 384 or 512; None: the largest that needs no enlarging and whose
    frames take at most 16 GB (512 px up to 13 minutes, 384 up to 24, else 256)."""
    min_seconds: float = 5.0
    """Shorter videos are refused."""
    max_seconds: float | None = None
    """Only the video's beginning is used, up to here; None: all of it."""


def capture(
    video: Path,
    work: Work,
    model: Path,
    settings: CaptureSettings = CaptureSettings(),
    watch: Watch = unwatched,
) -> tuple[Capture, Landmarks]:
    """Cuts a video to the head, finds landmarks and cuts, and keeps all of it in the work folder.

    What an earlier call with the same video and settings finished is read back; an interrupted call leaves no half
    files behind. Nothing is written before the video is known to be usable.

    Args:
        video: any file that FFmpeg decodes.
        work: frames.npy, audio.wav, landmarks.safetensors and capture.json go there; capture.json also holds `crop`,
            `source`, `warnings`, `other_faces` (the share of the video with a second large one) and `bad_frames` (those
            without a face).
        model: face_landmarker.task.

    Raises:
        InputError: not a video, too short, no face, several faces, a face below 64 px, or no room to write.
    """
    _check_settings(settings)
    info = media.probe(video)
    check_picture(info.width, info.height, video)
    _check_length(video, info.seconds, settings)
    source_hash = file_hash(video)
    key = key_of("capture", _VERSION, source_hash, asdict(settings))
    if (finished := made_by(work, key)) is not None:
        return finished

    looked = scan(video, info, model, settings.max_seconds, watch)
    _check_length(video, looked.seconds, settings)
    warnings = [*looked.damage, *check_faces(looked.seen, video)]
    count = round(looked.seconds * FPS)
    crop = choose_crop(looked.seen, info.width, info.height, settings.size or usual_size(count))
    if settings.size is None:
        warnings += _warn_of_shrinking(crop, choose_crop(looked.seen, info.width, info.height, SIZES[-1]), count)
    frames_key = key_of("frames", _VERSION, source_hash, asdict(crop), count)
    written = work.key("frames") == frames_key and work.frames.is_file()
    check_room(work.path, disk_bytes(count, crop.size, written))
    sound = sound_of(video, count)
    with disk_in_words(work):
        begin_folder(work)
        if not written:
            work.finish("frames", "")
        stream = _read(work) if written else _written(video, work, crop, count, watch)
        with closing(stream) as pictures:
            changes = picture_changes(pictures)
        work.finish("frames", frames_key)
        frames = np.load(work.frames, mmap_mode="r")
        landmarks = detect(frames, model, watch)
        made = Capture(frames, sound, FPS, find_cuts(changes, landmarks.points), source_hash)
        about = {
            "source": {"name": video.name, **asdict(info)},
            "crop": asdict(crop),
            "other_faces": rival_share(looked.seen),
            "warnings": warnings,
        }
        return kept(work, key, made, landmarks, about)


def made_by(work: Work, key: str) -> tuple[Capture, Landmarks] | None:
    """What an earlier call with the same key finished."""
    files = (work.frames, work.landmarks, work.capture_json)
    if work.key("capture") != key or not all(path.is_file() for path in files):
        return None
    return load_capture(work), load_landmarks(work)


def kept(
    work: Work, key: str, made: Capture, landmarks: Landmarks, about: Mapping[str, Any]
) -> tuple[Capture, Landmarks]:
    """A capture whose frames are written, with the rest of it kept beside them and noted as finished.

    Args:
        about: what else capture.json tells; "warnings" get those of any capture, and "bad_frames" are added.
    """
    told = {
        "warnings": [*about["warnings"], *_warnings_of(made, landmarks)],
        "bad_frames": np.flatnonzero(~landmarks.found).tolist(),
    }
    save_capture(work, made, landmarks, {**about, **told})
    work.finish("capture", key)
    return load_capture(work), landmarks


def _written(video: Path, work: Work, crop: Crop, count: int, watch: Watch) -> Generator[np.ndarray, None, None]:
    """The frames one by one; when the last is through, they are in frames.npy."""
    size = None if crop.side == crop.size else (crop.size, crop.size)
    pictures = islice(media.frames(video, FPS, box=crop.box, size=size), count)
    with frames_writer(work.frames, (count, crop.size, crop.size, 3)) as array:
        index = 0
        for index, picture in enumerate(pictures):
            array[index] = picture
            if index % EVERY == 0:
                let_go(array)
                watch(Progress("frames", index / count, f"{index} of {count}"))
            yield picture
        for missing in range(index + 1, count):  # a file that ends a few frames early shows its last picture
            array[missing] = array[index]
            yield array[index]
    watch(Progress("frames", 1.0, f"{count} of {count}"))


def _read(work: Work) -> Generator[np.ndarray, None, None]:
    """The frames that an interrupted call wrote."""
    yield from streamed(np.load(work.frames, mmap_mode="r"))


def begin_folder(work: Work) -> None:
    """Makes the folder, and has what it holds of an earlier capture no longer count as finished."""
    work.path.mkdir(parents=True, exist_ok=True)
    sweep(work.path)
    if work.key("capture") is not None:
        work.finish("capture", "")
    # they belong to the frames that are about to be replaced
    work.masks.unlink(missing_ok=True)
    work.background.unlink(missing_ok=True)
    work.sync.unlink(missing_ok=True)


@contextmanager
def disk_in_words(work: Work) -> Iterator[None]:
    """Turns what the disk refuses into words."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{work.path}: cannot be written ({error.strerror or error})", "make room there or name another folder"
        ) from error


def sound_of(path: Path, frames: int, start_s: float = 0.0) -> Sound | None:
    """The sound of a file from `start_s` on, exactly as long as the frames; None where it has none."""
    heard = media.sound(path, SAMPLE_RATE)
    if heard is None:
        return None
    samples = heard.samples[round(start_s * SAMPLE_RATE) :][: round(frames / FPS * SAMPLE_RATE)]
    missing = round(frames / FPS * SAMPLE_RATE) - len(samples)
    return Sound(np.pad(samples, (0, missing)), SAMPLE_RATE)


def _warn_of_shrinking(crop: Crop, full: Crop, count: int) -> list[str]:
    if crop.size == full.size:
        return []
    gigabytes = disk_bytes(count, full.size) / 1e9
    return [
        f"{count / FPS / 60:.0f} minutes are kept at {crop.size} px a side to spare the disk; "
        f"--size {full.size} keeps all that the video shows, and takes {gigabytes:.0f} GB"
    ]


def _warnings_of(made: Capture, landmarks: Landmarks) -> list[str]:
    """What a user should know of a capture."""
    count, sound, warnings = len(made.frames), made.sound, []
    if count < (_ADVISED_S - 1) * FPS:
        warnings.append(f"{count / FPS:.1f} s of video; {_ADVISED_S:.0f} s or more give a better avatar")
    if sound is None:
        warnings.append("no audio track: the avatar will have no voice of its own")
    elif _loudness_db(sound) < _SILENT_DB:
        warnings.append("the sound is silent: the avatar will have no voice of its own")
    lost = int((~landmarks.found).sum())
    if lost:
        warnings.append(f"no face in {lost} of {count} frames; they are left out")
    return warnings


def _loudness_db(sound: Sound) -> float:
    power = float(np.mean(np.square(sound.samples, dtype=np.float64))) if len(sound.samples) else 0.0
    return 10 * float(np.log10(max(power, 1e-20)))


def _check_settings(settings: CaptureSettings) -> None:
    if settings.size is not None and settings.size not in SIZES:
        raise InputError(f"size {settings.size}: not a working size", f"take one of {', '.join(map(str, SIZES))}")


def _check_length(video: Path, seconds: float, settings: CaptureSettings) -> None:
    used_s = min(seconds, settings.max_seconds or seconds)
    if used_s < settings.min_seconds:
        raise InputError(
            f"{video}: {used_s:.1f} s of video, {settings.min_seconds:g} s are needed", "film 1 to 5 minutes"
        )
