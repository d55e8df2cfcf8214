# SPDX-License-Identifier: Apache-2.0
"""Tracks in a work folder, and motions in files of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar3d.records import Camera, Motion, Track
from avatar3d.store.capture import load_landmarks
from avatar3d.store.files import checked, load_arrays, write_arrays
from avatar3d.store.work import WORK_VERSION, Work


def motion_arrays(motion: Motion) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A Motion as named arrays and JSON values."""
    arrays = {name: getattr(motion, name) for name in ("expression", "blink", "gaze", "head")}
    if motion.body is not None:
        arrays["body"] = motion.body
    return arrays, {"fps": motion.fps, "basis": motion.basis}


def motion_from(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Motion:
    """The Motion that `motion_arrays` took apart."""
    face = arrays["expression"], arrays["blink"], arrays["gaze"]
    return Motion(*face, arrays["head"], float(about["fps"]), about["basis"], arrays.get("body"))


def save_motion(path: Path, motion: Motion, key: str = "") -> None:
    """Writes a Motion as safetensors; `key` says what it was made from."""
    arrays, about = motion_arrays(motion)
    write_arrays(path, arrays, about | {"key": key})


def load_motion(path: Path) -> Motion:
    """Reads a Motion written by `save_motion`."""
    return motion_from(*load_arrays(path))


def load_motion_made_from(path: Path, key: str | None) -> Motion | None:
    """The Motion of a file, if there is one and it was written under `key`."""
    if not path.exists():
        return None
    arrays, about = load_arrays(path)
    return motion_from(arrays, about) if about.get("key") == key else None


def save_track(work: Work, track: Track) -> None:
    """Writes track.safetensors (the landmarks stay in their own file)."""
    arrays, about = motion_arrays(track.motion)
    camera = track.camera
    arrays |= {
        "K": camera.K.numpy(),
        "cam_from_world": camera.cam_from_world.numpy(),
        "neutral": track.neutral,
        "basis": track.basis,
        "confidence": track.confidence,
        "arkit_map": track.arkit_map,
    }
    if track.fault is not None:
        arrays["fault"] = track.fault
    about |= {
        "version": WORK_VERSION,
        "width": camera.width,
        "height": camera.height,
        "fitted_frames": track.fitted_frames,
        "focal_observable": track.focal_observable,
        "face_model": track.face_model,
    }
    write_arrays(work.track_file, arrays, about)


def load_track(work: Work) -> Track:
    """The track of a work folder."""
    arrays, about = load_arrays(work.track_file)
    checked(about, WORK_VERSION, work.track_file)
    # the motion's own "basis" is a word in `about`; the rig's basis is an array
    return Track(
        camera=Camera(
            torch.from_numpy(arrays["K"]), torch.from_numpy(arrays["cam_from_world"]), about["width"], about["height"]
        ),
        neutral=arrays["neutral"],
        basis=arrays["basis"],
        motion=motion_from(arrays, about),
        landmarks=load_landmarks(work),
        confidence=arrays["confidence"],
        fitted_frames=about["fitted_frames"],
        focal_observable=about["focal_observable"],
        arkit_map=arrays["arkit_map"],
        face_model=about.get("face_model", "personal"),
        fault=arrays.get("fault"),
    )
