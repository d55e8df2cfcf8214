# SPDX-License-Identifier: Apache-2.0
"""`avatar3d import`: another tool's folder becomes a work folder with that tool's camera, poses and masks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from avatar3d import assets
from avatar3d.data_prep import exchange
from avatar3d.data_prep.exchange import Foreign
from avatar3d.data_prep.exchange.taken import TakeSettings, known_poses, source_hash, take, their_masks
from avatar3d.data_prep.masks import masks, masks_of
from avatar3d.data_prep.sync import in_step
from avatar3d.data_prep.track import TrackSettings
from avatar3d.recipes._clock import Clock
from avatar3d.recipes._masks import MaskChoice
from avatar3d.recipes.prepare import Prepared, begun_anew, finished, refuse_another, tracked, unmade_on_refusal
from avatar3d.records import Capture, Track, Watch, unwatched
from avatar3d.store import Work, key_of, sweep

_VERSION = 1  # of the masks


@dataclass(frozen=True)
class BringInSettings:
    """How another tool's folder is taken in."""

    tool: str | None = None  # a name in exchange.READERS; None: recognised by the files
    camera: int | None = None  # which of several
    take: TakeSettings = field(default_factory=TakeSettings)
    track: TrackSettings = field(default_factory=TrackSettings)
    restart: bool = False


def bring_in(
    folder: Path, out: Path, settings: BringInSettings = BringInSettings(), watch: Watch = unwatched
) -> Prepared:
    """As `prepare`, of a folder in which another tool has left pictures and where the camera stood.

    Camera and poses are theirs; only the head space they are told in is exchanged for ours (10 cm, MediaPipe's axes).
    The rig, its expressions, lids and gaze are measured as always. Their split into training and test is not taken:
    the last 1/11 of the frames is held out, as everywhere. Shape and expression codes of other face models stay behind.

    Raises:
        InputError: the folder cannot be used, or `out` holds the work of another video.
    """
    foreign = exchange.read(folder, settings.tool, settings.camera)
    model = assets.find(assets.FACE_LANDMARKER, watch)
    work = Work(out)
    refuse_another(folder.name, source_hash(foreign), work, settings.restart)
    with unmade_on_refusal(out), begun_anew(work, settings.restart):
        sweep(out)
        clock = Clock(work)
        with clock.timed("capture"):
            taken, landmarks = take(foreign, work, model, settings.take, watch)
        with clock.timed("track"):
            followed = tracked(
                work,
                taken,
                landmarks,
                settings.track,
                model,
                watch,
                lambda face: known_poses(foreign, work, landmarks, face, settings.take),
            )
        with clock.timed("sync"):
            taken = in_step(work, taken, followed)
    prepared = finished(work, taken, followed, watch, _Theirs(foreign, settings.take))
    split = foreign.views.held_out
    figures = prepared.figures | {
        "format": foreign.tool,
        "poses": len(foreign.views),
        "their_masks": work.key("masks") == _Theirs(foreign, settings.take).key(work),
        "their_held_out": int(np.count_nonzero(split)),
    }
    return dataclasses.replace(prepared, figures=figures)


@dataclass(frozen=True)
class _Theirs:
    """Masks: ours for the plate of the room, then theirs over them, where the folder has some."""

    foreign: Foreign
    settings: TakeSettings

    def __call__(self, taken: Capture, followed: Track, work: Work, watch: Watch) -> Capture:
        if (kept := masks_of(work, taken, self.key(work))) is not None:
            return kept
        with MaskChoice().loaded(watch) as network:
            taken = masks(taken, followed, work, watch, network)
        if not their_masks(self.foreign, work, self.settings):
            return taken
        work.finish("masks", self.key(work))
        return dataclasses.replace(taken, masks=np.load(work.masks, mmap_mode="r"))

    def key(self, work: Work) -> str:
        return key_of("their masks", _VERSION, work.key("capture"), work.key("track"))
