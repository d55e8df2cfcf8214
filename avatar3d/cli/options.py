# SPDX-License-Identifier: Apache-2.0
"""What each verb takes. A class is a verb, a field an option; `run` hands over to one recipe, imported only then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from avatar3d.errors import InputError

if TYPE_CHECKING:
    from avatar3d.cli.output import Output
    from avatar3d.recipes.create import CreateSettings
    from avatar3d.recipes.prepare import PrepareSettings

Preset = Literal["quick", "standard", "quality"]
OutFolder = Annotated[Path, arg(aliases=["-o"], metavar="DIR")]
Video = Positional[Annotated[Path, arg(metavar="VIDEO")]]
Folder = Positional[Annotated[Path, arg(metavar="DIR")]]
OptionalFile = Annotated[Path | None, arg(metavar="FILE")]
OptionalText = Annotated[str | None, arg(metavar="TEXT")]


@dataclass(frozen=True, kw_only=True)
class Verb:
    """What every verb takes."""

    json: OptionalFile = None
    """Write the figures to this file as JSON."""
    quiet: bool = False
    """Show no progress; results and errors only."""

    def run(self, out: Output) -> dict[str, Any]:
        """Does the work, says the result to `out` and returns the figures as JSON values."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Making(Verb):
    """What every verb takes that makes an avatar."""

    preset: Preset = "standard"
    """How long the head trains on two cores: quick about 1 min, standard at most 4 min, quality at most 8 min."""
    sample: OptionalFile = None
    """Speech for the sample video, any audio file (default: the end of the video's own sound)."""
    name: OptionalText = None
    """The avatar's name (default: the video's)."""
    consent: str = "not stated"
    """A statement of the filmed person's consent, kept in the avatar's avatar.json as it is given here."""
    budget_s: Annotated[float | None, arg(metavar="SECONDS")] = None
    """Training time of the head in s, and at most of the voice (default: the preset's)."""
    seed: int = 0
    """Start of all random numbers."""
    restart: bool = False
    """Begin anew instead of continuing; `create` also needs it to put another video into a folder in use."""

    def settings(self) -> CreateSettings:
        """The same for the recipe."""
        from avatar3d.recipes.create import CreateSettings

        _at_least(1, budget_s=self.budget_s)
        return CreateSettings(
            self.preset, self.sample, self.name, self.consent, self.budget_s, self.seed, restart=self.restart
        )


@dataclass(frozen=True, kw_only=True)
class Preparing(Verb):
    """What every verb takes that prepares a video."""

    size: Literal[128, 256, 384, 512] | None = None
    """Side of the frames in px (default: the largest that the face's crop fills and whose frames take 16 GB at most:
    512 up to 13 minutes, 384 up to 24, else 256)."""
    face: Annotated[str, arg(metavar="NAME")] = "personal"
    """What the tracker knows of faces: personal (this person's own movement, the most exact), or a model: ict (free),
    flame or bfm (whoever holds their files)."""
    face_file: Annotated[Path | None, arg(metavar="FILE")] = None
    """The model's file: FLAME's generic_model.pkl, BFM's BFM_model_front.mat, or ICT-FaceKit's folder FaceXModel."""
    masks: Annotated[str, arg(metavar="NAME")] = "geometry"
    """Who is asked where the person is: geometry (no network), or also selfie (MediaPipe's segmentation) or parser (a
    face parser of 19 classes as ONNX), for whoever has their files."""
    masks_file: Annotated[Path | None, arg(metavar="FILE")] = None
    """The network's file: selfie_segmentation.tflite, or the parser's .onnx."""

    def preparation(self, restart: bool) -> PrepareSettings:
        """The same for the recipe."""
        from avatar3d.data_prep.capture import CaptureSettings
        from avatar3d.recipes._face import FaceChoice
        from avatar3d.recipes._masks import MaskChoice
        from avatar3d.recipes.prepare import PrepareSettings

        face, masks = FaceChoice(self.face, self.face_file), MaskChoice(self.masks, self.masks_file)
        return PrepareSettings(CaptureSettings(self.size), face=face, masks=masks, restart=restart)


@dataclass(frozen=True, kw_only=True)
class Create(Making, Preparing):
    """Make a talking avatar from a video: prepare, train, learn the voice, write a sample and a report.

    Running the same command again continues: a stage is skipped when nothing that it reads has changed.
    """

    video: Video
    """A video of one person: 1-5 min, 25 fps or more, the head large, even light, a still camera."""
    out: OutFolder
    """The work folder; the avatar, the sample and the report appear in it."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import create

        settings = replace(self.settings(), prepare=self.preparation(self.restart))
        return _told(out, create.create(self.video, self.out, settings, out.watch), self.out)


@dataclass(frozen=True, kw_only=True)
class Check(Verb):
    """Say what is good and bad about a video, with numbers and remedies, before anything is trained on it."""

    video: Video
    """A video of one person."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="DIR")] = None
    """A work folder for check.html; `create` with the same folder goes on from there (default: nothing is kept)."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import check

        figures = check.check(self.video, self.out, watch=out.watch)
        out.say(check.report(figures))
        if self.out is not None:
            out.say(f"look at {figures['page']}, then: avatar3d create {self.video} -o {self.out}")
        return figures


@dataclass(frozen=True, kw_only=True)
class Prepare(Preparing):
    """Turn a video into a work folder: frames, sound, landmarks, track, masks and report.html."""

    video: Video
    """A video of one person."""
    out: OutFolder
    """The work folder to write."""
    restart: bool = False
    """Begin anew instead of continuing."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import prepare

        prepared = prepare.prepare(self.video, self.out, self.preparation(self.restart), out.watch)
        _warn(out, prepared.figures)
        out.table(prepare.summary(prepared.figures))
        out.say(f"look at {prepared.work.report}, then: avatar3d train {self.out}")
        return prepared.figures


@dataclass(frozen=True, kw_only=True)
class Import(Verb):
    """Turn another tool's data folder into a work folder, with that tool's camera, head poses and masks.

    `avatar3d train` goes on from it. Read are nerfstudio (also instant-ngp's and Blender's transforms.json),
    AD-NeRF's family (RAD-NeRF, ER-NeRF, TalkingGaussian), VHAP and GaussianAvatars, and COLMAP's models.
    """

    folder: Positional[Annotated[Path, arg(metavar="FOLDER")]]
    """The other tool's folder, with its pictures: undistorted, of one size, by one camera."""
    out: OutFolder
    """The work folder to write."""
    format: Literal["nerfstudio", "ad-nerf", "vhap", "colmap"] | None = None
    """What the folder is (default: recognised by its files)."""
    view: Annotated[int | None, arg(metavar="N")] = None
    """The camera_index to take, where VHAP has tracked several."""
    sound: OptionalFile = None
    """The film's sound or the film itself, beginning with frame 0 (default: the folder's aud.wav, if there is one)."""
    fps: float = 25.0
    """Frames per second of the pictures."""
    size: Literal[128, 256, 384, 512] | None = None
    """Side of the frames in px (default: the largest that the face's crop fills)."""
    restart: bool = False
    """Begin anew instead of continuing."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.data_prep.exchange.taken import TakeSettings
        from avatar3d.recipes import bring_in, prepare

        _at_least(1, fps=self.fps)
        take = TakeSettings(self.size, self.fps, self.sound)
        settings = bring_in.BringInSettings(self.format, self.view, take, restart=self.restart)
        prepared = bring_in.bring_in(self.folder, self.out, settings, out.watch)
        _warn(out, prepared.figures)
        out.table([("poses of", prepared.figures["format"]), *prepare.summary(prepared.figures)])
        out.say(f"look at {prepared.work.report}, then: avatar3d train {self.out}")
        return prepared.figures


@dataclass(frozen=True, kw_only=True)
class Train(Making):
    """Make the avatar of a work folder that `prepare` has written: head, voice, sample and report."""

    work: Positional[Annotated[Path, arg(metavar="DIR")]]
    """The work folder."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import create
        from avatar3d.store import Work

        return _told(out, create.create_from(Work(self.work), self.settings(), out.watch), self.work)


@dataclass(frozen=True, kw_only=True)
class Talk(Verb):
    """Let an avatar say what a sound file says, as a video in sync with it, or as a page in which it can be turned."""

    avatar: Positional[Annotated[Path, arg(metavar="AVATAR")]]
    """A folder NAME.avatar that `create` wrote."""
    speech: Positional[Annotated[Path | None, arg(metavar="SPEECH")]] = None
    """Speech of any length: wav, mp3, flac, m4a, mp4 and more."""
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE")]
    """What to write: .mp4; for a transparent background .mov (ProRes 4444) or .webm (VP9); .html: a page in 3D."""
    background: Annotated[str, arg(metavar="WHAT")] = "original"
    """original (the filmed room), alpha, a colour as #rrggbb, or a picture's file name."""
    camera: Literal["fixed", "orbit"] = "fixed"
    """fixed where it filmed, or on an orbit of 15 degrees to both sides."""
    head: Literal["replay", "still"] = "replay"
    """The head moves as it did in the video, or keeps still."""
    motion: OptionalFile = None
    """A CSV that Live Link Face has recorded: the avatar does what it says, and SPEECH, if given, is only heard."""
    size: Annotated[int | None, arg(metavar="PX")] = None
    """Width of the video in px, 64 to 4096 (default: the work folder's frames)."""
    quality: int = 18
    """Constant quality of the encoder, 0 (lossless) to 51 (worst)."""
    seed: int = 0
    """Decides blinks and where the head's movement begins."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import talk

        settings = talk.TalkSettings(
            self.background, self.camera, self.head, self.size, quality=self.quality, seed=self.seed
        )
        figures = talk.talk_video(self.avatar, self.speech, self.out, settings, out.watch, self.motion)
        out.say(
            f"{self.out}: {figures['seconds']:.2f} s, {figures['width']}x{figures['height']} px, "
            f"made at {figures['fps']} frames/s"
        )
        return {"video": str(self.out), **figures}


@dataclass(frozen=True, kw_only=True)
class Eval(Verb):
    """Judge an avatar on the last 1/11 of its video, which training never saw, beside trivial methods."""

    work: Positional[Annotated[Path, arg(metavar="DIR")]]
    """The work folder that `create` wrote."""
    avatar: OptionalFile = None
    """A folder NAME.avatar (default: the newest in the work folder)."""
    frames: Annotated[Path | None, arg(metavar="DIR")] = None
    """Write made and true held-out frames there as pairs of PNG files."""
    no_baselines: bool = False
    """Leave out the trivial methods that the avatar is compared with."""
    motion: Literal["photometric", "landmarks"] = "photometric"
    """How the unseen frames' motion is measured: by landmarks alone, or refined until the drawn head, which learns
    nothing from it, lies on the picture; then the landmarks' figures are shown beside."""
    seed: int = 0
    """Decides what the voice leaves to chance."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import evaluate
        from avatar3d.store import Work

        settings = evaluate.EvalSettings(
            self.avatar, self.frames, baselines=not self.no_baselines, motion=self.motion, seed=self.seed
        )
        figures = evaluate.evaluate(Work(self.work), settings, out.watch)
        out.say(evaluate.table(figures))
        return figures


@dataclass(frozen=True, kw_only=True)
class Export(Verb):
    """Write a prepared capture for other programs: nerfstudio, AD-NeRF's family, VHAP, COLMAP, Live Link Face."""

    work: Positional[Annotated[Path, arg(metavar="DIR")]]
    """The work folder that `prepare` or `create` wrote."""
    out: OutFolder
    """A new folder; the head stands still in it and the camera moves."""
    format: Literal["nerfstudio", "ad-nerf", "vhap", "colmap", "live-link"] = "nerfstudio"
    """nerfstudio: transforms.json, images and masks (also for instant-ngp); ad-nerf: what RAD-NeRF, ER-NeRF and
    TalkingGaussian read, but for the outputs of their networks; vhap: cameras, images and masks for VHAP and
    GaussianAvatars, without FLAME's parameters; colmap: a sparse model, binary and text, also for 3DGS; live-link:
    the face's motion alone, as CSV."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import export
        from avatar3d.store import Work

        figures = export.export(Work(self.work), self.out, self.format, out.watch)
        out.say(f"{figures['folder']}: {figures['frames']} frames, {figures['left_out']} left out")
        return figures


@dataclass(frozen=True, kw_only=True)
class Bench(Verb):
    """Time the renderer and the training on this machine, and hold the tracker against made-up people."""

    what: Positional[Annotated[Literal["splat", "step", "posed", "track", "all"], arg(metavar="WHAT")]] = "splat"
    """splat: drawing Gaussians, and that with gradients; step: whole steps of training; posed: drawing a head from its
    codes; track: accuracy and time of the tracker on people whose truth is known; all: these four."""
    repetitions: Annotated[int | None, arg(metavar="N")] = None
    """Of each measurement, of which the minimum and the median are told (default: 60)."""
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
        from avatar3d.recipes import _bench_table, bench, bench_posed, bench_step, bench_track

        _at_least(1, repetitions=self.repetitions, threads=self.threads)
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

        _at_least(6, seconds=self.seconds)
        _at_least(1, budget_s=self.budget_s)
        settings = demo.DemoSettings(
            self.seconds, self.size, budget_s=self.budget_s, person=self.person, seed=self.seed, restart=self.restart
        )
        figures = demo.demo(self.out, settings, out.watch)
        _warn(out, figures["create"])
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
class Info(Verb):
    """Say what a work folder or an avatar holds: sizes, licences, consent, figures."""

    path: Folder
    """A work folder, or a folder NAME.avatar."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import info

        figures = info.info(self.path)
        out.say(info.report(figures))
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


def _at_least(least: float, **given: float | None) -> None:
    for name, value in given.items():
        if value is not None and not value >= least:  # so said, it refuses NaN too
            raise InputError(f"--{name.replace('_', '-')} {value:g}: too small", f"give {least:g} or more")


def _told(out: Output, figures: dict[str, Any], work: Path) -> dict[str, Any]:
    from avatar3d.recipes.create import summary

    _warn(out, figures)
    out.table(summary(figures))
    talk = f", or: avatar3d talk {figures['avatar']} speech.wav -o talks.mp4" if figures["voice"]["voice"] else ""
    out.say(f"next: avatar3d eval {work}{talk}")
    return figures


def _warn(out: Output, figures: dict[str, Any]) -> None:
    for warning in figures.get("warnings", []):
        out.note(f"avatar3d: note: {warning}")


VERBS: dict[str, type[Verb]] = {
    "create": Create,
    "check": Check,
    "prepare": Prepare,
    "import": Import,
    "train": Train,
    "talk": Talk,
    "eval": Eval,
    "export": Export,
    "bench": Bench,
    "demo": Demo,
    "info": Info,
    "assets": Assets,
    "doctor": Doctor,
}
