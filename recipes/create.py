# SPDX-License-Identifier: Apache-2.0
"""`avatar3d create`: from a video to a talking avatar, a sample of it and a report, in one command."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d import assets, media, ranks
from avatar3d.avatars import Avatar
from avatar3d.errors import InputError
from avatar3d.preview import Preview
from avatar3d.recipes._clock import Clock
from avatar3d.recipes._device import device_named
from avatar3d.recipes._page import instead_of_page, page_sound, plays, save_playable, write_talking_page
from avatar3d.recipes._renderer import renderer_of
from avatar3d.recipes._text import size_mb
from avatar3d.recipes.prepare import Prepared, PrepareSettings, prepare, reopened
from avatar3d.recipes.talk import SOUND_RATE, TalkSettings, say
from avatar3d.recipes.train import STANDARD, TrainSettings, as_trained, preset, train, trainable, with_grid
from avatar3d.recipes.voice import (
    LIVE_RUN,
    PRIMED,
    VoiceSettings,
    live,
    speakable,
    train_voice,
    usual_audio,
)  # fmt: skip
from avatar3d.records import Capture, Motion, Progress, Sound, Track, Watch, frame_count, unwatched
from avatar3d.store import AVATAR_SUFFIX, AvatarFolder, Work, file_hash, key_of, read_json
from avatar3d.talk import perform, show

SAMPLE_S = 10.0  # of the video's own sound and movement, where no speech is given
LEARNED_R = 0.35  # between predicted and real opening of the mouth; below it chance is near
WITHOUT_LIVE = ("quick",)  # presets in whose time there is no second voice
_SILENCE = Sound(np.zeros(SOUND_RATE, np.float32), SOUND_RATE)  # a second
_SAMPLE = "sample"  # the clip's name in the avatar
CLIP_S = 60.0  # of the person's own movement, kept in the avatar


@dataclass(frozen=True)
class CreateSettings:
    """How an avatar is made."""

    head: str = STANDARD  # the kind of head: a part of avatar3d.avatar, or the dotted name of a part elsewhere
    preset: str = "standard"
    device: str = "cpu"  # that the head is trained on: cpu, cuda or cuda:N
    sample: Path | None = None  # speech; None: the end of the video's own sound
    name: str | None = None  # None: the video's, with the kind of head where it is not the usual one
    consent: str = "not stated"
    budget_s: float | None = None  # training time of the head, s; None: the preset's
    seed: int = 0
    voice: str = VoiceSettings.motion  # the motion model: a part of avatar3d.motion, or a dotted name
    audio: str | None = None  # the audio feature: a part of avatar3d.audio; None: the motion model's usual one
    audio_weights: Path | None = None  # a folder, for audio features that have weights
    sync: float = 0.0  # weight of a judge of lip sync in the voice's training, for voices that ask one
    prior: Path | None = None  # that the voice begins with; its motion model is then primed
    grid: str | None = None  # of the radiance head, one of train.GRIDS; None: the preset's
    renderer: str | None = None  # of the head's training; None: the head's own
    prepare: PrepareSettings = field(default_factory=PrepareSettings)  # of `create`; its own `restart` is not asked
    restart: bool = False


def create(
    video: Path, out: Path, settings: CreateSettings = CreateSettings(), watch: Watch = unwatched
) -> dict[str, Any]:
    """Does every stage whose inputs have changed.

    Returns:
        JSON values: those of `prepare`, "kind" (of head), "preset", "head", "voice" and "live_voice" (how they were
        trained), "avatar", "samples" (a video, and a page in 3D for a head that pages can play) and "report" (paths),
        "avatar_mb", "seconds" per stage, "peak_rss_mb", "wall_s" of this run.

    Raises:
        InputError: the video, the sample or the folder cannot be used; nothing is left half-written.
    """
    started = time.perf_counter()
    speech = _checked(settings)  # refused now, not after minutes
    prepared = prepare(video, out, replace(settings.prepare, restart=settings.restart), watch)
    return _made(prepared, speech, settings, started, watch)


def create_from(
    work: Work,
    settings: CreateSettings = CreateSettings(),
    watch: Watch = unwatched,
    preview: Preview | None = None,
) -> dict[str, Any]:
    """As `create`, of a folder that `prepare` has written; `preview` shows the head to another thread as it trains.

    Of several processes that torchrun started all train the head, and the first does the rest; the others return {}.
    """
    if ranks.rank():
        train(work, settings.head, _head_training(settings))
        return {}
    started = time.perf_counter()
    speech = _checked(settings)
    return _made(reopened(work), speech, settings, started, watch, preview)


def _made(
    prepared: Prepared,
    speech: Sound | None,
    settings: CreateSettings,
    started: float,
    watch: Watch,
    preview: Preview | None = None,
) -> dict[str, Any]:
    """Head, voice, avatar, sample and report."""
    work, clock = prepared.work, Clock(prepared.work)
    if settings.restart:
        work.forget_training()
    warnings = [*prepared.figures["warnings"], *_without_judge(watch)]
    with clock.timed(settings.head):
        head, head_figures = train(work, settings.head, _head_training(settings), watch, preview)
    with clock.timed("voice"):
        voice, voice_figures = train_voice(work, _voice_training(settings), watch)
    warnings += voice_warnings(voice_figures)
    live_voice, live_figures = None, None
    if voice is not None and settings.preset not in WITHOUT_LIVE:
        with clock.timed(LIVE_RUN):
            live_voice, live_figures = train_voice(work, live(_voice_training(settings)), watch)
    described = about(prepared, settings)
    followed, jumps = as_trained(work, settings.head, prepared.track)
    clip = steady_clip(followed, (*prepared.capture.cuts, *jumps))
    avatar = Avatar(head, voice, clip, described, live_voice)
    folder = work.path / f"{described['name']}{AVATAR_SUFFIX}"
    suffixes = (".mp4", ".html") if plays(head) else (".mp4",)
    if not plays(head):
        warnings.append(f"no sample in 3D: a page plays linear heads alone; {instead_of_page(head, folder)}")
    samples = [work.path / f"{described['name']}_sample{suffix}" for suffix in suffixes]
    with clock.timed(_stage("avatar", settings)):
        _written(work, folder, avatar, settings)
    with clock.timed(_stage("sample", settings)):
        _sampled(prepared, avatar, folder, samples, speech, settings, watch)
    return {
        **prepared.figures,
        "kind": settings.head,
        "preset": settings.preset,
        "head": head_figures,
        "voice": voice_figures,
        "live_voice": live_figures,
        "warnings": warnings,
        "avatar": str(folder),
        "samples": [str(sample) for sample in samples],
        "report": str(work.report),
        "avatar_mb": size_mb(folder),
        **clock.costs,
        "wall_s": round(time.perf_counter() - started, 1),
    }


def summary(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What to look at, and the figures that a person wants to see first."""
    return [
        ("avatar", f"{figures['avatar']} ({figures['avatar_mb']} MB)"),
        *zip(("sample", "sample in 3D"), figures["samples"], strict=False),
        ("report", figures["report"]),
        ("video", f"{figures['frames']} frames of {figures['size_px']} px"),
        ("landmark error px", figures["quality"]["landmark_rms_px"]),
        *((f"{stage} s", round(seconds, 1)) for stage, seconds in figures["seconds"].items()),
        ("this run s", figures["wall_s"]),
        ("peak memory MB", figures["peak_rss_mb"]),
    ]


def about(prepared: Prepared, settings: CreateSettings) -> dict[str, Any]:
    """What avatar.json says about where the avatar comes from."""
    taken = read_json(prepared.work.capture_json)
    video = taken["source"]["name"]
    return {
        "name": settings.name or Path(video).stem + ("" if settings.head == STANDARD else f"_{settings.head}"),
        "preset": settings.preset,
        "consent": settings.consent,
        "provenance": {
            "video": video,
            "video_sha256": taken["source_hash"],
            "frames": len(prepared.capture.frames),
            "made_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
        "licences": {
            "avatar": "what the filmed person and the maker of the avatar agree on; see consent",
            "program": "Apache-2.0",
            "face model, of whose mesh the rig is made": assets.ASSETS[assets.FACE_LANDMARKER].licence,
        },
    }


def voice_warnings(figures: Mapping[str, Any]) -> list[str]:
    """What a user should know of the voice that `train_voice` gave these figures."""
    if figures.get("why"):
        return [f"no voice: {figures['why']}; the sample repeats the person's own movement"]
    heard = figures.get("unheard_parts", {}).get("aperture_r", 1.0)  # a voice by rule has learned from no part
    if heard < LEARNED_R:
        return [f"the lips follow speech only roughly (r {heard:.2f} on parts not heard); a minute of speech helps"]
    return []


def steady_clip(track: Track, cuts: tuple[int, ...], longest_s: float = CLIP_S) -> Motion:
    """The longest stretch of the capture's motion without a cut or an untrusted frame, at most `longest_s`."""
    frames = len(track.motion)
    usable = track.confidence > 0
    starts = np.zeros(frames + 1, bool)
    starts[[0, *cuts, frames]] = True
    # a stretch begins at a cut, and wherever trust begins or ends
    starts[1:frames] |= usable[1:] != usable[:-1]
    edges = np.flatnonzero(starts)
    lengths = np.diff(edges) * usable[edges[:-1]]
    longest = int(lengths.argmax())
    first = int(edges[longest])
    return track.motion[first : first + min(int(lengths[longest]), round(longest_s * track.motion.fps))]


def _checked(settings: CreateSettings) -> Sound | None:
    """The speech of the sample; InputError for whatever in the settings would be refused in the end."""
    name, path = settings.name, settings.sample
    if name is not None and (not name or Path(name).name != name or name in (".", "..")):
        raise InputError(f"{name!r} cannot be the name of a folder", "choose another --name, without slashes")
    part = trainable(settings.head)
    preset(settings.head, settings.preset, settings.device)
    device_named(settings.device)
    renderer_of(part, _head_training(settings).renderer)
    if settings.prior is not None and settings.voice not in (VoiceSettings.motion, PRIMED):
        raise InputError(f"--voice {settings.voice}: begins with no prior", "leave out --prior or --voice")
    listen = speakable(_voice_training(settings))
    listen(_SILENCE)  # features find out what they lack when they hear
    if path is None:
        return None
    speech = media.sound(path, SOUND_RATE)
    if speech is None or not frame_count(speech):
        raise InputError(f"{path}: no sound in this file", "give a file with speech")
    return speech


def _stage(of: str, settings: CreateSettings) -> str:
    """Avatars of several kinds of head stand beside one another in a work folder, each a stage of its own."""
    return of if settings.head == STANDARD else f"{of} of {settings.head}"


def _without_judge(watch: Watch) -> list[str]:
    """Fetches the weights by which training sees sharpness; it goes on without them, less well."""
    try:
        assets.find(assets.LPIPS_ALEX, watch)
    except InputError as error:
        return [f"the head will be less sharp: {error}"]
    return []


def _head_training(settings: CreateSettings) -> TrainSettings:
    usual = preset(settings.head, settings.preset, settings.device)
    budget_s = usual.budget_s if settings.budget_s is None else settings.budget_s
    chosen = replace(usual, budget_s=budget_s, seed=settings.seed, renderer=settings.renderer)
    return with_grid(chosen, settings.head, settings.grid)


def _voice_training(settings: CreateSettings) -> VoiceSettings:
    voice = settings.voice if settings.prior is None else PRIMED
    audio = settings.audio or usual_audio(voice)
    usual = VoiceSettings(
        audio=audio,
        motion=voice,
        head=settings.head,
        audio_weights=settings.audio_weights,
        prior=settings.prior,
        sync=settings.sync,
        seed=settings.seed,
    )
    return usual if settings.budget_s is None else replace(usual, budget_s=min(usual.budget_s, settings.budget_s))


def _written(work: Work, folder: Path, avatar: Avatar, settings: CreateSettings) -> None:
    """Writes the avatar folder unless it stands there, whole, made of the same head, voice and description."""
    lasting = {key: value for key, value in avatar.about.items() if key != "provenance"}
    stage = _stage("avatar", settings)
    live_key = None if avatar.live is None else work.key(LIVE_RUN)
    key = key_of("avatar", work.key(settings.head), work.key("voice"), live_key, lasting)
    if work.key(stage) == key and _whole(folder):
        return
    save_playable(folder, avatar)
    work.finish(stage, key)


def _whole(folder: Path) -> bool:
    try:
        AvatarFolder(folder).read_manifest()
    except InputError:
        return False
    return True


def _sampled(
    prepared: Prepared,
    avatar: Avatar,
    folder: Path,
    outs: Sequence[Path],
    speech: Sound | None,
    settings: CreateSettings,
    watch: Watch,
) -> None:
    """The avatar saying the speech or the end of the video's sound, or moving as in the video: as video and as page.

    The avatar in `folder` keeps it too, as a clip that its own page plays.
    """
    work, capture, (video, *pages) = prepared.work, prepared.capture, outs
    stage = _stage("sample", settings)
    spoken = None if settings.sample is None else file_hash(settings.sample)
    key = key_of("sample", work.key(_stage("avatar", settings)), spoken, settings.seed)
    if work.key(stage) == key and all(out.is_file() for out in outs):
        return
    if avatar.voice is None:
        sound, motion = None, _own_movement(prepared.track.motion)
        _reenacted(avatar, motion, video, watch)
    else:
        sound = speech or _own_end(capture)
        motion = perform(avatar.voice, sound, avatar.clip, seed=settings.seed)
        say(avatar, sound, video, TalkSettings(seed=settings.seed), watch)
    for page in pages:
        write_talking_page(page, avatar, motion, sound)
        AvatarFolder(folder).add_clip(_SAMPLE, motion, page_sound(sound))
    work.finish(stage, key)


def _own_end(capture: Capture) -> Sound:
    assert capture.sound is not None  # there would be no voice without it
    return Sound(capture.sound.samples[-round(SAMPLE_S * capture.sound.rate) :], capture.sound.rate)


def _own_movement(motion: Motion) -> Motion:
    return motion[slice(max(len(motion) - round(SAMPLE_S * motion.fps), 0), len(motion))]


def _reenacted(avatar: Avatar, motion: Motion, out: Path, watch: Watch) -> None:
    """The head in the person's own movements, for want of a voice."""
    camera = avatar.head.camera
    with media.VideoWriter(out, camera.width, camera.height, motion.fps) as writer:
        for index, frame in enumerate(show(avatar.head, renderer_of(avatar.head), motion)):
            writer.write(frame)
            watch(Progress("sample", (index + 1) / len(motion)))
