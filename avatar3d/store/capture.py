# SPDX-License-Identifier: Apache-2.0
"""Captures in a work folder: frames and masks as memory maps, sound, landmarks, pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np

from avatar3d.errors import InputError
from avatar3d.records import Capture, Landmarks, Sound
from avatar3d.store.files import checked, load_arrays, read_json, replacing, write_arrays, write_json
from avatar3d.store.work import WORK_VERSION, Work


def save_sound(path: Path, sound: Sound) -> None:
    """Writes 16-bit PCM."""
    import soundfile

    with replacing(path) as part:
        soundfile.write(part, np.clip(sound.samples, -1, 1), sound.rate, subtype="PCM_16")


def load_sound(path: Path) -> Sound:
    """Reads a WAV written by `save_sound`."""
    import soundfile

    samples, rate = soundfile.read(path, dtype="float32")
    return Sound(samples, rate)


def save_picture(path: Path, rgb: np.ndarray, quality: int | None = None) -> None:
    """Writes [H,W,3] or [H,W,4] uint8 as the format of the suffix; `quality` 0..100 where that loses something."""
    with replacing(path) as part:
        if quality is None:
            imageio.imwrite(part, rgb)
        else:
            imageio.imwrite(part, rgb, quality=quality)


def load_picture(path: Path) -> np.ndarray:
    """Reads a picture as [H,W,3] uint8."""
    return imageio.imread(path, plugin="pillow", mode="RGB")


def save_capture(work: Work, capture: Capture, landmarks: Landmarks, about: Mapping[str, Any]) -> None:
    """Writes sound, landmarks and description; the frames are already in `work.frames` (see `frames_writer`).

    Args:
        about: what else is worth keeping in capture.json, as JSON values: crop box, source size, warnings.
    """
    if capture.sound is not None:
        save_sound(work.audio, capture.sound)
    arrays = {"points": landmarks.points, "scores": landmarks.scores, "found": landmarks.found}
    write_arrays(work.landmarks, arrays)
    write_json(
        work.capture_json,
        {
            "version": WORK_VERSION,
            "frames": len(capture.frames),
            "height": capture.frames.shape[1],
            "width": capture.frames.shape[2],
            "fps": capture.fps,
            "cuts": list(capture.cuts),
            "source_hash": capture.source_hash,
            "sound": capture.sound is not None,
            **about,
        },
    )


@contextmanager
def frames_writer(path: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """A uint8 memory map of `shape` to fill; it takes its place at `path` when the block ends without an error."""
    with replacing(path) as part:
        array = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
        _reserve(part)
        yield array
        array.flush()


def _reserve(path: Path) -> None:
    """Claims the whole size of a mapped file: running out of room later would kill the process without a word."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def load_capture(work: Work) -> Capture:
    """The capture of a work folder; frames and masks stay on disk and are mapped."""
    about = checked(read_json(work.capture_json), WORK_VERSION, work.capture_json)
    frames = _load_map(work.frames)
    expected = (about["frames"], about["height"], about["width"], 3)
    if frames.shape != expected:
        raise InputError(
            f"{work.frames}: shape {frames.shape}, capture.json says {expected}", "delete the folder and prepare again"
        )
    return Capture(
        frames=frames,
        sound=_sound_in_step(work) if about["sound"] else None,
        fps=about["fps"],
        cuts=tuple(about["cuts"]),
        source_hash=about["source_hash"],
        masks=_load_map(work.masks) if work.masks.exists() else None,
        background=load_picture(work.background) if work.background.exists() else None,
    )


def _sound_in_step(work: Work) -> Sound:
    sound = load_sound(work.audio)
    return sound.earlier(read_json(work.sync)["late_s"]) if work.sync.exists() else sound


def load_landmarks(work: Work) -> Landmarks:
    """The landmarks of a work folder."""
    arrays, _ = load_arrays(work.landmarks)
    return Landmarks(arrays["points"], arrays["scores"], arrays["found"])


def _load_map(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file", "run `avatar3d prepare` again") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error})", "delete it and run `avatar3d prepare` again") from error
