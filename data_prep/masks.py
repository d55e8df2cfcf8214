# SPDX-License-Identifier: Apache-2.0
"""Person masks and the empty room, without a network: what moves, what stays, and where a tracked head can be.

What a scene teaches is learned once (`_scene`); each frame is then decided at a small size, steadied over its
neighbours in time, and given a soft edge at its own size (`_matte`). Shots of one room share what was learned.

What it cannot know: a room that is never uncovered. Behind a torso that does not move the plate is a guess from the
surroundings, and clothes of the background's colour may be lost at the outline. The camera must stand still in a shot.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np

from avatar3d.data_prep._matte import matte
from avatar3d.data_prep._plate import plate, resized
from avatar3d.data_prep._rooms import rooms
from avatar3d.data_prep._scene import Decided, Heard, Scene, decide, learn, solid, unheard
from avatar3d.data_prep._silhouette import Place, places_of
from avatar3d.data_prep._still import reduced
from avatar3d.records import Capture, Progress, Track, Watch, unwatched
from avatar3d.store import Work, file_hash, frames_writer, key_of, let_go, load_capture, load_picture, save_picture
from avatar3d.threads import torch_threads, usable_cores

_VERSION = 3
_BLOCK = 96  # frames that one thread works through
_SIDE = 0.25  # share of each neighbour in time in a frame's log odds


@dataclass(frozen=True)
class Network:
    """A part of `segment`, loaded."""

    chance: Callable[[np.ndarray], np.ndarray]  # of the person [h,w] 0..1 in a picture [H,W,3] uint8
    key: str  # name and hash: another network makes other masks


def masks(
    capture: Capture, track: Track, work: Work, watch: Watch = unwatched, network: Network | None = None
) -> Capture:
    """Writes the person's alpha of every frame and the background plate, and returns the capture with both.

    The track has been saved to `work` before; nothing is done where the masks were made from the same one. Memory does
    not grow with the length.

    Args:
        network: what else is asked who is in a picture; None: nobody.
    """
    seen_by = () if network is None else (network.key,)
    key = key_of("masks", _VERSION, capture.source_hash, capture.frames.shape, file_hash(work.track_file), *seen_by)
    heard = unheard if network is None else partial(_heard, capture, network)
    if (kept := masks_of(work, capture, key)) is not None:
        return kept
    with frames_writer(work.masks, capture.frames.shape[:3]) as alpha, torch_threads(1):
        groups = sorted(rooms(capture, track), key=_length, reverse=True)
        done = 0
        for number, shots in enumerate(groups):
            seen = _seen(capture, track, shots, heard)
            if number == 0:
                save_picture(work.background, seen.plate)
            for block in _in_threads(capture, track, seen, shots, alpha):
                done += block
                let_go(capture.frames)
                let_go(alpha)
                watch(Progress("masks", done / len(alpha)))
    work.finish("masks", key)
    return dataclasses.replace(
        capture, masks=np.load(work.masks, mmap_mode="r"), background=load_picture(work.background)
    )


def masks_of(work: Work, capture: Capture, key: str) -> Capture | None:
    """The capture with the masks and the room that a work folder keeps under `key`; None where it keeps others."""
    if work.key("masks") != key or not (work.masks.is_file() and work.background.is_file()):
        return None
    made = load_capture(work)
    return dataclasses.replace(capture, masks=made.masks, background=made.background)


@dataclass(frozen=True)
class _Room:
    scene: Scene
    plate: np.ndarray  # [H,W,3] uint8
    heard: Heard


def _length(shots: list[slice]) -> int:
    return sum(shot.stop - shot.start for shot in shots)


def _seen(capture: Capture, track: Track, shots: list[slice], heard: Heard = unheard) -> _Room:
    """What the shots of one room teach."""
    scene = learn(capture, track, np.concatenate([np.arange(shot.start, shot.stop) for shot in shots]), heard)
    places = places_of(track, scene.samples, scene.scale)
    person = [
        solid(_decided(capture, scene, int(frame), place, heard).odds)
        for frame, place in zip(scene.samples, places, strict=True)
    ]
    return _Room(scene, plate(capture.frames, scene.samples, np.stack(person)), heard)


def _decided(capture: Capture, scene: Scene, frame: int, place: Place, heard: Heard) -> Decided:
    small = reduced(capture.frames[frame], scene.scale)
    return decide(scene, small, place, heard(frame, *small.shape[:2]))


def _heard(capture: Capture, network: Network, frame: int, height: int, width: int) -> np.ndarray:
    """What a network says of a frame, as log odds [h,w]."""
    chance = np.clip(resized(network.chance(capture.frames[frame]), height, width), 0.02, 0.98)
    return np.log(chance / (1 - chance))


def _in_threads(capture: Capture, track: Track, room: _Room, shots: list[slice], alpha: np.ndarray) -> Iterator[int]:
    """Fills the alpha of some shots, block by block; yields how many frames each had."""
    blocks = iter(
        (shot, slice(start, min(start + _BLOCK, shot.stop)))
        for shot in shots
        for start in range(shot.start, shot.stop, _BLOCK)
    )

    def fill(job: tuple[slice, slice]) -> int:
        for frame, picture in _matted(capture, track, room, *job):
            alpha[frame] = picture
        return job[1].stop - job[1].start

    cores = usable_cores()
    with ThreadPoolExecutor(cores) as pool:
        # a few at a time: whoever stops the work waits for what is under way, not for the whole capture
        while some := list(islice(blocks, 2 * cores)):
            yield from pool.map(fill, some)


def _matted(capture: Capture, track: Track, room: _Room, shot: slice, block: slice) -> Iterator[tuple[int, np.ndarray]]:
    """Every frame of a block with its alpha [H,W] uint8; neighbours in time may lie outside of it, not of the shot."""
    scene = room.scene
    around = np.clip(np.arange(block.start - 1, block.stop + 1), shot.start, shot.stop - 1)
    places = places_of(track, around, scene.scale)
    decided = (
        _decided(capture, scene, int(frame), place, room.heard) for frame, place in zip(around, places, strict=True)
    )
    before, here = next(decided), next(decided)
    for frame, after in zip(range(block.start, block.stop), decided, strict=True):
        odds = (1 - 2 * _SIDE) * here.odds + _SIDE * (before.odds + after.odds)
        yield frame, matte(solid(odds), here.picture, capture.frames[frame], room.plate, here.light)
        before, here = here, after
