# SPDX-License-Identifier: Apache-2.0
"""eval.mp4: the held-out part as it was filmed, and beside it what every head makes of it, with the sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from avatar3d import media
from avatar3d.recipes._judging import HeldOut, Spectator
from avatar3d.recipes._sheets import labelled
from avatar3d.records import Sound

_QUALITY = 20


@contextmanager
def side_by_side(path: Path, unseen: HeldOut, shown: Mapping[str, str]) -> Iterator[Spectator]:
    """Writes a film of what it is shown, moment by moment.

    Args:
        shown: label of each production to show, by the key under which its frames come.
    """
    capture = unseen.capture
    height, width = capture.frames.shape[1:3]
    strip = labelled_row([np.zeros((height, width, 3), np.uint8)] * (len(shown) + 1), ["", *shown.values()])
    with media.VideoWriter(path, strip.shape[1], strip.shape[0], capture.fps, heard(unseen), quality=_QUALITY) as film:

        def watch(index: int, moment: Mapping[str, np.ndarray]) -> None:
            film.write(labelled_row([unseen.real(index), *(moment[key] for key in shown)], ["real", *shown.values()]))

        yield watch


def labelled_row(pictures: Sequence[np.ndarray], labels: Sequence[str]) -> np.ndarray:
    """Pictures [H,W,3] uint8 side by side, each under its label."""
    return np.concatenate([labelled(picture, label) for picture, label in zip(pictures, labels, strict=True)], 1)


def heard(unseen: HeldOut) -> Sound | None:
    """The sound of the held-out part."""
    sound, fps = unseen.capture.sound, unseen.capture.fps
    if sound is None:
        return None
    stop = round((unseen.start + unseen.count) / fps * sound.rate)
    return Sound(sound.samples[round(unseen.start / fps * sound.rate) : stop], sound.rate)
