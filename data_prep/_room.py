# SPDX-License-Identifier: Apache-2.0
"""Room on the disk: how large a long capture's frames may be, and whether its folder holds them."""

from __future__ import annotations

import shutil
from pathlib import Path

from avatar3d.data_prep._crop import SIZES
from avatar3d.errors import InputError

_MOST_BYTES = 16e9  # of frames, unless the user asks for their size
_SMALLEST = 256  # px a side: for its length alone no capture is made smaller
_CHANNELS = 3 + 1  # of the frames and of their masks
_BESIDE = 8_000  # bytes a frame of landmarks, sound and track
_MARGIN = 200e6  # bytes for reports and whatever else is written at the same time


def usual_size(frames: int) -> int:
    """The largest side, px, at which so many frames take no more room than a capture should."""
    fitting = (size for size in reversed(SIZES) if frames * 3 * size**2 <= _MOST_BYTES and size >= _SMALLEST)
    return next(fitting, _SMALLEST)


def disk_bytes(frames: int, size: int, written: bool = False) -> float:
    """What a work folder takes when it is prepared to the end; `written`: without the frames themselves."""
    return frames * ((1 if written else _CHANNELS) * size**2 + _BESIDE) + _MARGIN


def check_room(folder: Path, needed: float) -> None:
    """Refuses to begin what the disk cannot hold.

    Raises:
        InputError: says how much is needed, and how much there is.
    """
    there = next((parent for parent in (folder, *folder.absolute().parents) if parent.is_dir()), None)
    free = float("inf") if there is None else shutil.disk_usage(there).free
    if needed > free:
        raise InputError(
            f"{folder}: {needed / 1e9:.1f} GB of disk are needed, {free / 1e9:.1f} GB are free",
            "make room there, name another folder, or choose a smaller --size",
        )
