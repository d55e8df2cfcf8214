# SPDX-License-Identifier: Apache-2.0
"""`avatar3d demo`: the whole path without a video: a made-up person is filmed, becomes an avatar and says new words."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d import assets, media
from avatar3d.avatars import open_avatar
from avatar3d.choose import choose
from avatar3d.data_prep.synthetic import Person, film, speech_sample, write_video
from avatar3d.face.canonical import load_canonical
from avatar3d.recipes._clock import Clock
from avatar3d.recipes._text import sections
from avatar3d.recipes.create import CreateSettings, create
from avatar3d.recipes.evaluate import EvalSettings, evaluate, table
from avatar3d.records import FPS, Watch, unwatched
from avatar3d.store import AVATAR_SUFFIX, Work, key_of, save_sound, sweep
from avatar3d.talk import Orbit, View, perform, show
from avatar3d.threads import torch_threads

GIF_FPS = 12.5
GIF_S = 6.0
FILM_FROM = 0.45  # of the film: where the person has done with turning and speaks
NAME = "talker"
_VERSION = 1  # of the film: a change of what is drawn must not be mistaken for what an earlier version drew


@dataclass(frozen=True)
class DemoSettings:
    """What the demo films and how long it trains."""

    seconds: float = 24.0  # length of the film
    size: int = 256  # px, side of the film's frames
    speech_s: float = 8.0  # length of the new text
    budget_s: float = 75.0  # training time of the head
    person: int = 0  # which made-up person
    seed: int = 0
    restart: bool = False


@dataclass(frozen=True)
class DemoFiles:
    """What the demo leaves in its folder."""

    folder: Path

    @property
    def film(self) -> Path:
        return self.folder / f"{NAME}.mp4"

    @property
    def speech(self) -> Path:
        return self.folder / "new_words.wav"

    @property
    def work(self) -> Work:
        return Work(self.folder / "work")

    @property
    def avatar(self) -> Path:
        return self.work.path / f"{NAME}{AVATAR_SUFFIX}"

    @property
    def sample(self) -> Path:
        return self.work.path / f"{NAME}_sample.mp4"

    @property
    def page(self) -> Path:
        return self.work.path / f"{NAME}_sample.html"

    @property
    def gif(self) -> Path:
        return self.folder / f"{NAME}_says_new_words.gif"

    @property
    def sheet(self) -> Path:
        return self.work.run(NAME) / "contact.png"


def demo(out: Path, settings: DemoSettings = DemoSettings(), watch: Watch = unwatched) -> dict[str, Any]:
    """Films a made-up person, makes an avatar of the film, has it say new words, and judges it on unseen frames.

    Returns:
        JSON values: "create" and "eval" (what those recipes return), "seconds" per stage, "peak_rss_mb", "wall_s" of
        this run, "open" (files to look at).
    """
    started = time.perf_counter()
    files, clock = DemoFiles(out), Clock(Work(out))
    with clock.timed("film"):
        _filmed(files, settings, watch)
    made = create(files.film, files.work.path, _creation(files, settings), watch)
    with torch_threads(1):
        _animated(files, settings)
    judged = evaluate(files.work, EvalSettings(seed=settings.seed), watch)
    return {
        "create": made,
        "eval": judged,
        "seconds": clock.costs["seconds"] | judged["seconds"],
        "peak_rss_mb": judged["peak_rss_mb"],
        "wall_s": round(time.perf_counter() - started, 1),
        "open": [str(path) for path in (files.gif, files.sample, files.page, files.sheet, files.work.report)],
    }


def report(figures: Mapping[str, Any]) -> str:
    """The figures of `demo` as text."""
    costs = [*figures["seconds"].items(), ("this run", figures["wall_s"])]
    return "\n\n".join(
        [
            table(figures["eval"]),
            sections({"seconds": costs, "memory": [("peak MB", figures["peak_rss_mb"])]}),
            "open " + ", ".join(figures["open"]),
        ]
    )


def _creation(files: DemoFiles, settings: DemoSettings) -> CreateSettings:
    return CreateSettings(
        preset="quick",
        sample=files.speech,
        name=NAME,
        consent="not needed: the person does not exist",
        budget_s=settings.budget_s,
        seed=settings.seed,
        restart=settings.restart,
    )


def _filmed(files: DemoFiles, settings: DemoSettings, watch: Watch) -> None:
    """Writes the film and the speech of new words, unless those of the same settings stand there."""
    about = Work(files.folder)
    key = key_of("film", _VERSION, settings.seconds, settings.size, settings.speech_s, settings.person, settings.seed)
    if about.key("film") == key and files.film.is_file() and files.speech.is_file():
        return
    files.folder.mkdir(parents=True, exist_ok=True)
    sweep(files.folder)
    person = Person(load_canonical(assets.find(assets.FACE_LANDMARKER, watch)), settings.person)
    write_video(files.film, film(person, settings.seconds, settings.size, settings.seed, watch=watch))
    save_sound(files.speech, speech_sample(settings.speech_s, settings.seed + 1, person.voice))
    about.finish("film", key)


def _animated(files: DemoFiles, settings: DemoSettings) -> None:
    """A strip of three: the film, the head saying new words, and the same seen from a camera that goes around it."""
    avatar = open_avatar(files.avatar)
    sound = media.sound(files.speech)
    if avatar.voice is None or sound is None:
        raise AssertionError("the demo's film and its text have sound")
    motion = perform(avatar.voice, sound, avatar.clip, seed=settings.seed)
    draw = choose("avatar3d.render", "native")()
    filmed = islice(media.frames(files.film, FPS), round(FILM_FROM * settings.seconds * FPS), None)
    strips = zip(
        filmed, show(avatar.head, draw, motion), show(avatar.head, draw, motion, View(orbit=Orbit())), strict=False
    )
    kept = islice(strips, 0, round(GIF_S * FPS), round(FPS / GIF_FPS))
    media.write_gif(files.gif, (np.concatenate(strip, 1) for strip in kept), GIF_FPS)
