# SPDX-License-Identifier: Apache-2.0
"""`avatar3d prepare`: a video becomes a work folder: frames, sound, landmarks, track, masks, report.html."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from avatar3d import assets, media
from avatar3d.data_prep.capture import CaptureSettings, capture
from avatar3d.data_prep.masks import masks
from avatar3d.data_prep.quality import track_quality
from avatar3d.data_prep.report import REPORT_VERSION, write_report
from avatar3d.data_prep.sync import in_step, in_words, kept_lag
from avatar3d.data_prep.track import TRACK_VERSION, TrackSettings, track
from avatar3d.errors import InputError
from avatar3d.face.canonical import CanonicalFace, load_canonical
from avatar3d.recipes._clock import Clock
from avatar3d.recipes._face import PERSON, FaceChoice
from avatar3d.recipes._masks import AUTO, MaskChoice
from avatar3d.records import Capture, KnownPoses, Landmarks, Track, Watch, unwatched
from avatar3d.store import Work, file_hash, key_of, load_capture, load_track, read_json, save_track, sweep

_NO_NETWORK = (
    f"{assets.SELFIE} could not be fetched: outlines come from movement alone, which may take bits of the room for the "
    f"person (avatar3d assets {assets.SELFIE})"
)
Matted = Callable[[Capture, Track, Work, Watch], Capture]


@dataclass(frozen=True)
class PrepareSettings:
    """How a video is prepared."""

    capture: CaptureSettings = field(default_factory=CaptureSettings)
    track: TrackSettings = field(default_factory=TrackSettings)
    face: FaceChoice = field(default_factory=FaceChoice)
    masks: MaskChoice = field(default_factory=MaskChoice)
    restart: bool = False  # do every stage again


@dataclass(frozen=True)
class Prepared:
    """A work folder that is ready for training."""

    work: Work
    capture: Capture  # with masks and background
    track: Track
    figures: dict[str, Any]  # "frames", "size_px", "seconds", "quality", "warnings" ...


def prepare(
    video: Path,
    out: Path,
    settings: PrepareSettings = PrepareSettings(),
    watch: Watch = unwatched,
) -> Prepared:
    """Does the stages whose inputs have changed; the others are read back.

    Raises:
        InputError: the video cannot be used, or `out` holds another video's work.
    """
    with settings.masks.loaded(watch) as network:
        work, taken, _, followed = measured(video, out, settings, watch)
        prepared = finished(work, taken, followed, watch, partial(masks, network=network))
    if network is None and settings.masks.name == AUTO:
        return replace(prepared, figures=prepared.figures | {"warnings": [*prepared.figures["warnings"], _NO_NETWORK]})
    return prepared


def finished(work: Work, taken: Capture, followed: Track, watch: Watch, matted: Matted = masks) -> Prepared:
    """The stages after the track: masks, by `matted`, and the report."""
    clock = Clock(work)
    with clock.timed("masks"):
        taken = matted(taken, followed, work, watch)
    figures = _figures(work, taken, followed)
    with clock.timed("report"):
        _reported(work, taken, followed, figures["quality"])
    return Prepared(work, taken, followed, figures | {"seconds": clock.costs["seconds"]})


def measured(video: Path, out: Path, settings: PrepareSettings, watch: Watch) -> tuple[Work, Capture, Landmarks, Track]:
    """The stages up to the track, with the sound in step with the picture.

    Raises:
        InputError: the video cannot be used, or `out` holds another video's work.
    """
    media.probe(video)
    model = assets.find("face_landmarker.task", watch)
    work = Work(out)
    settings.face.check(watch, thoroughly=work.key("track") is None)  # refused now, not after minutes of landmarks
    refuse_another(video.name, file_hash(video), work, settings.restart)
    with unmade_on_refusal(out), begun_anew(work, settings.restart):
        sweep(out)
        clock = Clock(work)
        with clock.timed("capture"):
            taken, landmarks = capture(video, work, model, settings.capture, watch)
        with clock.timed("track"):
            followed = tracked(work, taken, landmarks, settings.track, model, watch, chosen=settings.face)
        with clock.timed("sync"):
            taken = in_step(work, taken, followed)
    return work, taken, landmarks, followed


def reopened(work: Work) -> Prepared:
    """What `prepare` wrote to a work folder earlier.

    Raises:
        InputError: it is not there, or not whole.
    """
    taken, followed = load_capture(work), load_track(work)
    if taken.masks is None or taken.background is None:
        raise InputError(f"{work.path}: not prepared to the end", "run `avatar3d prepare` with the video again")
    return Prepared(work, taken, followed, _figures(work, taken, followed) | {"seconds": Clock(work).costs["seconds"]})


def tracked(
    work: Work,
    taken: Capture,
    landmarks: Landmarks,
    settings: TrackSettings,
    model: Path,
    watch: Watch,
    known: Callable[[CanonicalFace], KnownPoses] | None = None,
    chosen: FaceChoice = PERSON,
) -> Track:
    """The track of a capture: read back where capture and settings are those it was made from.

    Args:
        known: makes the poses that another tool measured, on which the capture's own key depends.
        chosen: the face model.
    """
    key = key_of("track", TRACK_VERSION, work.key("capture"), settings, *chosen.key())
    if work.key("track") == key and work.track_file.is_file():
        return load_track(work)
    face = load_canonical(model)
    poses = None if known is None else known(face)
    followed = track(taken, landmarks, face, settings, watch, poses, chosen.model(watch))
    save_track(work, followed)
    work.finish("track", key)
    return followed


@contextmanager
def unmade_on_refusal(folder: Path) -> Iterator[None]:
    """A folder that a refused or failed run has begun and left empty goes again."""
    begun = not folder.exists()
    try:
        yield
    except BaseException:
        if begun and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise


@contextmanager
def begun_anew(work: Work, restart: bool) -> Iterator[None]:
    """With `restart`, no stage counts as done; if the video is refused before a frame is written, all do as before."""
    keys = work.forget() if restart else {}
    try:
        yield
    except InputError:
        if work.key("frames") is None:
            for stage, key in keys.items():
                work.finish(stage, key)
        raise


def summary(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The figures that a person wants to see first."""
    quality = figures["quality"]
    return [
        ("frames", f"{figures['frames']} of {figures['size_px']} px, {figures['frames'] / figures['fps']:.1f} s"),
        ("landmark error px", quality["landmark_rms_px"]),
        ("frames left out", len(quality["bad_frames"])),
        ("sound", figures["sync"]),
        ("focal length px", f"{quality['focal_px']:.0f}{'' if quality['focal_observable'] else ' (usual one taken)'}"),
        *((f"{stage} s", round(seconds, 1)) for stage, seconds in figures["seconds"].items()),
    ]


def refuse_another(name: str, source_hash: str, work: Work, restart: bool) -> None:
    """Refuses a folder that was made from something else, unless that is to be replaced."""
    if restart or not work.capture_json.is_file():
        return
    if read_json(work.capture_json).get("source_hash") != source_hash:
        raise InputError(
            f"{work.path}: holds the work of another video than {name}",
            "name another folder with -o, or replace it with --restart",
        )


def _reported(work: Work, taken: Capture, followed: Track, quality: dict[str, Any]) -> None:
    key = key_of("report", REPORT_VERSION, work.key("track"), work.key("masks"), work.key("sync"), quality)
    if work.key("report") == key and work.report.is_file():
        return
    write_report(work, taken, followed, quality, load_canonical(assets.find("face_landmarker.task")).triangles)
    work.finish("report", key)


def _figures(work: Work, taken: Capture, followed: Track) -> dict[str, Any]:
    about = read_json(work.capture_json)
    return {
        "capture": work.path.name,
        "frames": len(taken.frames),
        "size_px": taken.frames.shape[1],
        "fps": taken.fps,
        "cuts": len(taken.cuts),
        "sound": taken.sound is not None,
        "sync": in_words(kept_lag(work)),
        "quality": track_quality(followed, taken.cuts),
        "warnings": about.get("warnings", []),
    }
