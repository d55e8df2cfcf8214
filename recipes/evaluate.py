# SPDX-License-Identifier: Apache-2.0
"""`avatar3d eval`: how good avatars are, on the last 1/11 of their video, which training never saw.

Judged are drawn frames as they leave the renderer: nothing encoded, nothing of the real frame pasted in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from avatar3d import assets
from avatar3d.avatars import open_avatar, part_name
from avatar3d.data_prep.landmarks import Landmarker
from avatar3d.errors import InputError
from avatar3d.player import Player
from avatar3d.recipes._clock import Clock
from avatar3d.recipes._contender import PRODUCTIONS, TRACKED, Contender, contender, saved, write_sheet
from avatar3d.recipes._eval_film import side_by_side
from avatar3d.recipes._eval_networks import NO_NETWORKS, as_json, both, witness_of
from avatar3d.recipes._eval_page import Shown, write_page
from avatar3d.recipes._eval_table import table
from avatar3d.recipes._judging import BASELINES, HeldOut, Spectator, Verdict, held_out, judged, trivial
from avatar3d.recipes._orbit import seen_around
from avatar3d.recipes._renderer import renderer_of
from avatar3d.recipes._text import size_mb
from avatar3d.records import Watch, unwatched
from avatar3d.store import AVATAR_SUFFIX, Work, write_json
from avatar3d.threads import torch_threads

__all__ = ["EvalSettings", "avatars_of", "evaluate", "table"]

FILM, PAGE = "eval.mp4", "eval.html"
TrackedBy = Literal["photometric", "landmarks"]


@dataclass(frozen=True)
class EvalSettings:
    """What is judged, and what is kept of it."""

    avatars: tuple[Path, ...] = ()  # avatar folders; none: every one in the work folder
    frames: Path | None = None  # a folder for PNG pairs of every held-out frame
    renderer: str | None = None  # None: the head's own
    baselines: bool = True  # judge the trivial methods too
    motion: TrackedBy = "photometric"  # how the held-out frames' motion is measured
    seed: int = 0  # of the voice
    weights: Path | None = None  # a folder with networks of the user's own (see metrics.networks.FILES)


def evaluate(work: Work, settings: EvalSettings = EvalSettings(), watch: Watch = unwatched) -> dict[str, Any]:
    """Judges avatars on the held-out frames of a work folder, side by side.

    Writes eval.html and eval.mp4 (the real frames and every head's side by side) into the work folder, metrics.json,
    contact.png, orbit.png and orbit.gif into each avatar's runs/NAME, and PNG pairs where `settings.frames` says (below
    a folder of the avatar's name where there are several).

    Returns:
        JSON values: "capture", "frames", "first_frame", "motion", "seconds", "peak_rss_mb", "baselines", "notes",
        "heads": one entry per avatar, by name, newest first, of "head" (its part), "preset", "device", "avatar_mb",
        "render_fps", "self_tracked", "self_landmarks", "self_audio", "orbit" (the head from sides that no frame
        showed, see `seen_around`); and the newest one's entry once more beside these. A production's measures are
        those of `avatar3d.metrics.Figures`; None is what could not be measured. "motion" says how the motion of
        self_tracked was measured ("photometric": `avatar3d.refine` with the trained head, which learns nothing from
        it); self_landmarks is the tracker's own where that is another. self_audio keeps nothing of the held-out frames
        but the head's pose, as in self_tracked. "networks": LSE, FID, CSIM and AUE by "NAME/PRODUCTION" and of the
        "real" frames, as far as `settings.weights` holds their networks. metrics.json is the same but for "heads".

    Raises:
        InputError: the work folder is not finished, or there is no avatar.
    """
    clock = Clock(work)
    with clock.timed("eval"), torch_threads(1):
        paths = _named(settings.avatars or avatars_of(work))
        unseen, notes = held_out(work)
        with Landmarker(assets.find(assets.FACE_LANDMARKER, watch)) as landmarker:
            contenders = [_contender(name, path, unseen, settings, watch) for name, path in paths.items()]
            film = {_key(one, TRACKED): one.name for one in contenders}
            with (
                witness_of(settings.weights, unseen) as witness,
                side_by_side(work.path / FILM, unseen, film) as filmed,
            ):
                wanted = [_key(one, name) for one in contenders for name in one.productions]
                spectator = filmed if witness is None else both(filmed, witness, unseen, wanted)
                verdicts = _verdicts(contenders, unseen, landmarker, settings, watch, spectator)
                networks = {} if witness is None else as_json(witness.figures())
                notes += [NO_NETWORKS] if witness is None else witness.notes
            around = {one.name: _around(work, one, unseen, landmarker) for one in contenders}
        for one in contenders:
            write_sheet(work.run(one.name), one, unseen, verdicts[_key(one, TRACKED)].looks)
    notes += [
        f"no self_audio of {one.name}: the video has no sound, or the avatar no voice"
        for one in contenders
        if "self_audio" not in one.productions
    ]
    common = {
        "capture": work.path.resolve().name,
        "frames": unseen.count,
        "first_frame": unseen.start,
        "motion": settings.motion,
        **clock.costs,
        "baselines": {name: _figures(verdicts, name) for name in BASELINES} if settings.baselines else {},
        "networks": networks,
        "notes": notes,
    }
    heads = {one.name: _entry(one, paths[one.name], verdicts) | {"orbit": around[one.name]} for one in contenders}
    for name, entry in heads.items():
        write_json(work.run(name) / "metrics.json", common | entry)
    report = common | next(iter(heads.values())) | {"heads": heads}
    judged_heads = [Shown(one, verdicts[_key(one, TRACKED)], work.run(one.name)) for one in contenders]
    write_page(work.path / PAGE, report, judged_heads, unseen, work.path / FILM)
    return report


def avatars_of(work: Work) -> list[Path]:
    """The avatar folders in a work folder, the one that was written last first.

    Raises:
        InputError: there is none.
    """
    found = [path for path in work.path.glob(f"*{AVATAR_SUFFIX}") if (path / "avatar.json").is_file()]
    if not found:
        raise InputError(f"{work.path}: no avatar in this folder", "make one with `avatar3d create`, or name one")
    return sorted(found, key=lambda path: (-(path / "avatar.json").stat().st_mtime, path.name))


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Avatar folders by the names under which they are told apart.

    Raises:
        InputError: two have the same.
    """
    named = {path.resolve().stem: path for path in paths}
    if len(named) < len(paths):
        raise InputError("two avatars of one name", "copy one to another name: figures are kept by name")
    return named


def _contender(name: str, path: Path, unseen: HeldOut, settings: EvalSettings, watch: Watch) -> Contender:
    avatar = open_avatar(path)
    player = Player(avatar.head, renderer_of(avatar.head, settings.renderer))
    return contender(name, avatar, player, unseen, settings.motion == "photometric", settings.seed, watch)


def _verdicts(
    contenders: Sequence[Contender],
    unseen: HeldOut,
    landmarker: Landmarker,
    settings: EvalSettings,
    watch: Watch,
    spectator: Spectator,
) -> dict[str, Verdict]:
    """Of every contender's productions, by `_key`, and of the trivial methods."""
    shown = {_key(one, name): frames for one in contenders for name, frames in one.productions.items()}
    if settings.frames is not None:
        several = len(contenders) > 1
        shown = {
            key: saved(frames, unseen, settings.frames / (key if several else key.rpartition("/")[2]))
            for key, frames in shown.items()
        }
    others = trivial(unseen) if settings.baselines else {}
    return judged(unseen.judge, shown | others, landmarker, watch, spectator)


def _around(work: Work, one: Contender, unseen: HeldOut, landmarker: Landmarker) -> dict[str, Any]:
    return seen_around(work.run(one.name), one.player, unseen.track, unseen.start, landmarker)


def _key(one: Contender, production: str) -> str:
    return f"{one.name}/{production}"


def _entry(one: Contender, path: Path, verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    return {
        "head": part_name(one.avatar.head),
        "preset": one.avatar.about.get("preset"),
        "device": one.avatar.head.background.device.type,
        "avatar_mb": size_mb(path),
        "render_fps": round(one.frames_per_second, 1),
        **{name: _figures(verdicts, _key(one, name)) for name in PRODUCTIONS},
    }


def _figures(verdicts: Mapping[str, Verdict], key: str) -> dict[str, float | None] | None:
    return verdicts[key].as_json() if key in verdicts else None
