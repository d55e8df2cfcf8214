# SPDX-License-Identifier: Apache-2.0
"""The verbs about this program on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from avatar3d.cli.options._shared import OutFolder, Verb, at_least, warn

if TYPE_CHECKING:
    from avatar3d.cli.output import Output


@dataclass(frozen=True, kw_only=True)
class Bench(Verb):
    """Time the renderer and the training on this machine, and hold the tracker against made-up people."""

    what: Positional[
        Annotated[
            Literal["splat", "step", "posed", "filmed", "field", "track", "live", "views", "turns", "voice", "all"],
            arg(metavar="WHAT"),
        ]
    ] = "splat"
    """splat: drawing Gaussians, and that with gradients; step: whole steps of training; posed: drawing a head from its
    codes; filmed: the same to finished frames, by one kernel and by several; field: what draws a radiance field, beside
    plain torch and nerfacc; track: accuracy and time of the tracker on people whose truth is known; all: these six.
    live: the voice of an avatar on speech that is still coming; views: a head trained on small turns of made-up people
    against their truth from 30 degrees; turns: a head trained on those frames of a video that look ahead, against those
    that do not; voice: a voice on noise, bad lines and silence."""
    folder: Annotated[Path, arg(metavar="DIR")] = Path("views")
    """Of `views`, the folder to write; of `turns` and `voice`, a folder that `prepare` has written; of `live`, an
    avatar."""
    steps: Annotated[int, arg(metavar="N")] = 1500
    """Of training, for `views` and `turns`."""
    repetitions: Annotated[int | None, arg(metavar="N")] = None
    """Of each measurement, of which the minimum and the median are told (default: 60, of `field` 12)."""
    threads: Annotated[int | None, arg(metavar="N")] = None
    """Draw with so many threads (default: one, and as many as there are cores)."""
    isa: Annotated[str | None, arg(metavar="NAME")] = None
    """Draw with the kernels of this instruction set: avx512, avx2 or portable (default: the best, and avx2)."""
    against: Annotated[tuple[str, ...], arg(metavar="NAME")] = ()
    """Renderers to time beside ours in the same run: gsplat, or the dotted name of one of your own."""
    no_reference: bool = False
    """Leave out the slow torch reference."""
    device: str = "cpu"
    """cpu, or cuda where there is an NVIDIA device (of `splat` and `posed`)."""
    table: Annotated[Path | None, arg(metavar="FILE")] = None
    """Write the figures as a table into this text, between its lines <!-- bench --> and <!-- /bench -->."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import (
            _bench_table,
            bench,
            bench_field,
            bench_filmed,
            bench_posed,
            bench_step,
            bench_track,
        )

        at_least(1, repetitions=self.repetitions, threads=self.threads, steps=self.steps)
        if self.what in ("views", "turns", "voice"):
            return self._in_a_folder(out)
        if self.what == "live":
            return self._following(out)
        figures: dict[str, Any] = {"machine": bench.machine()}
        if self.what in ("splat", "all"):
            figures |= bench.bench_splat(
                repetitions=self.repetitions or bench.REPETITIONS,
                threads=None if self.threads is None else (self.threads,),
                isas=None if self.isa is None else (self.isa,),
                against=(() if self.no_reference else ("reference",)) + self.against,
                device=self.device,
                watch=out.watch,
            )
            out.say(bench.report(figures))
        if self.what in ("posed", "all"):
            drawn = bench_posed.bench_posed(
                repetitions=self.repetitions or bench_posed.REPETITIONS, device=self.device, watch=out.watch
            )
            figures["posed"] = drawn["rows"]
            out.say(bench_posed.report_posed(drawn))
        if self.what in ("filmed", "all"):
            finished = bench_filmed.bench_filmed(
                repetitions=self.repetitions or bench_filmed.REPETITIONS,
                threads=None if self.threads is None else (self.threads,),
                watch=out.watch,
            )
            figures["filmed"] = finished["rows"]
            out.say(bench_filmed.report_filmed(finished))
        if self.what in ("field", "all"):
            field = bench_field.bench_field(
                repetitions=self.repetitions or bench_field.REPETITIONS,
                threads=self.threads,
                reference=not self.no_reference,
                watch=out.watch,
            )
            figures["field"] = field["rows"]
            out.say(bench_field.report_field(field))
        if self.what in ("step", "all"):
            steps = bench_step.bench_step(repetitions=self.repetitions or bench_step.REPETITIONS, watch=out.watch)
            figures["steps"] = steps["rows"]
            out.say(bench_step.report_step(steps))
        if self.what in ("track", "all"):
            tracked = bench_track.bench_track(watch=out.watch)
            figures["track"] = tracked["rows"]
            out.say(bench_track.report_track(tracked))
        if self.table is not None:
            _bench_table.write_into(self.table, figures)
        return figures

    def _following(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import bench, bench_live

        figures = {"machine": bench.machine()} | bench_live.bench_live(self.folder, watch=out.watch)
        out.say(bench_live.report_live(figures))
        return figures

    def _in_a_folder(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes.bench_turns import TurnsSettings, bench_turns, report_turns
        from avatar3d.recipes.bench_views import ViewsSettings, bench_views, report_views
        from avatar3d.recipes.bench_voice import bench_voice, report_voice
        from avatar3d.store import Work

        if self.what == "views":
            figures = bench_views(self.folder, ViewsSettings(steps=self.steps), out.watch)
            out.say(report_views(figures))
        elif self.what == "voice":
            figures = bench_voice(Work(self.folder), watch=out.watch)
            out.say(report_voice(figures))
        else:
            figures = bench_turns(Work(self.folder), TurnsSettings(steps=self.steps), out.watch)
            out.say(report_turns(figures))
        return figures


@dataclass(frozen=True, kw_only=True)
class Demo(Verb):
    """Go the whole way without a video: film a made-up person, make the avatar, let it talk, judge it."""

    out: OutFolder = Path("demo")
    """The folder to write."""
    seconds: float = 24.0
    """Length of the film in s."""
    size: Literal[128, 256, 384, 512] = 256
    """Side of the film's frames in px."""
    budget_s: Annotated[float, arg(metavar="SECONDS")] = 75.0
    """Training time of the head in s, and at most of the voice."""
    person: int = 0
    """Which made-up person."""
    seed: int = 0
    """What is said and done, and the start of all random numbers."""
    restart: bool = False
    """Begin anew instead of continuing."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import demo

        at_least(6, seconds=self.seconds)
        at_least(1, budget_s=self.budget_s)
        settings = demo.DemoSettings(
            self.seconds, self.size, budget_s=self.budget_s, person=self.person, seed=self.seed, restart=self.restart
        )
        figures = demo.demo(self.out, settings, out.watch)
        warn(out, figures["create"])
        out.say(demo.report(figures))
        return figures


@dataclass(frozen=True, kw_only=True)
class Doctor(Verb):
    """Say what this machine offers and which path each operation takes, and why."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import doctor

        figures = doctor.doctor()
        out.say(doctor.report(figures))
        return figures


@dataclass(frozen=True, kw_only=True)
class Assets(Verb):
    """List the model files with licence and state, or fetch one by its name."""

    name: Positional[Annotated[str | None, arg(metavar="NAME")]] = None
    """The file to fetch; without a name, everything is listed and nothing fetched."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import assets

        figures = assets.listed() if self.name is None else assets.fetched(self.name, out.watch)
        out.say(assets.report(figures))
        return figures
