# SPDX-License-Identifier: Apache-2.0
"""The verbs that lead from a video to an avatar."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from avatar3d.cli.options._shared import Making, OptionalFile, OutFolder, Preparing, Verb, Video, at_least, warn
from avatar3d.errors import InputError

if TYPE_CHECKING:
    from avatar3d.cli.output import Output


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
        warn(out, prepared.figures)
        out.table(prepare.summary(prepared.figures))
        out.say(f"look at {prepared.work.report}, then: avatar3d train {self.out}")
        return prepared.figures


@dataclass(frozen=True, kw_only=True)
class Import(Verb):
    """Turn another tool's data folder into a work folder, or put splats edited elsewhere back on their avatar.

    Of a folder, camera, head poses and masks are that tool's, and `avatar3d train` goes on from it. Read are
    nerfstudio (also instant-ngp's and Blender's transforms.json), AD-NeRF's family (RAD-NeRF, ER-NeRF,
    TalkingGaussian), VHAP and GaussianAvatars, and COLMAP's models.
    """

    folder: Positional[Annotated[Path, arg(metavar="FOLDER")]]
    """The other tool's folder, with its pictures: undistorted, of one size, by one camera; with --into a
    .ply or .spz."""
    out: OutFolder
    """The work folder to write; with --into the folder NAME.avatar."""
    into: Annotated[Path | None, arg(metavar="AVATAR")] = None
    """The avatar whose neutral splats `export` wrote and another program edited: FOLDER's splats, as many and in the
    same order, take their place, and everything moves as before."""
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
        from avatar3d.recipes import bring_in, edited, prepare

        if self.into is not None:
            figures = edited.put_back(self.folder, self.into, self.out)
            out.table(edited.summary(figures))
            return figures
        if edited.readable(self.folder):
            raise InputError(
                f"{self.folder}: splats have no rig", "name the avatar that they were exported from, with --into"
            )
        at_least(1, fps=self.fps)
        take = TakeSettings(self.size, self.fps, self.sound)
        settings = bring_in.BringInSettings(self.format, self.view, take, restart=self.restart)
        prepared = bring_in.bring_in(self.folder, self.out, settings, out.watch)
        warn(out, prepared.figures)
        out.table([("poses of", prepared.figures["format"]), *prepare.summary(prepared.figures)])
        out.say(f"look at {prepared.work.report}, then: avatar3d train {self.out}")
        return prepared.figures


@dataclass(frozen=True, kw_only=True)
class Train(Making):
    """Make the avatar of a work folder that `prepare` has written: head, voice, sample and report."""

    work: Positional[Annotated[Path, arg(metavar="DIR")]]
    """The work folder."""
    watch: bool = False
    """Show the head in a browser as it learns; the address is printed. It closes when the avatar is written."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import create
        from avatar3d.store import Work

        work, settings = Work(self.work), self.settings()
        if not self.watch:
            return _told(out, create.create_from(work, settings, out.watch), self.work)
        from avatar3d.recipes import view

        figures = view.train_watched(work, settings, view.ViewSettings(), out.say, out.watch)
        return _told(out, figures, self.work)


@dataclass(frozen=True, kw_only=True)
class Prior(Verb):
    """Learn from several work folders how speech moves lips, for people of whom there are only seconds of video.

    `avatar3d create me.mp4 -o me --prior FILE` then begins the voice with it.
    """

    works: Positional[Annotated[tuple[Path, ...], arg(metavar="DIR")]]
    """Work folders that `prepare` or `create` has written, one a person."""
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE")]
    """The prior to write, a .safetensors file."""
    steps: int = 600
    """Steps of training."""
    audio: Annotated[str, arg(metavar="NAME")] = "mel"
    """The audio feature; voices that begin with the prior hear the same."""
    seed: int = 0
    """Start of all random numbers."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import train_prior
        from avatar3d.store import Work

        at_least(1, steps=self.steps)
        settings = train_prior.PriorSettings(self.steps, self.audio, self.seed)
        figures = train_prior.train_prior([Work(work) for work in self.works], self.out, settings, out.watch)
        out.say(f"{self.out}: learned from {figures['people']} people, {figures['frames']} frames")
        return figures


def _told(out: Output, figures: dict[str, Any], work: Path) -> dict[str, Any]:
    from avatar3d.recipes.create import summary

    if not figures:
        return figures  # another process of the same training tells them
    warn(out, figures)
    out.table(summary(figures))
    talk = f", or: avatar3d talk {figures['avatar']} speech.wav -o talks.mp4" if figures["voice"]["voice"] else ""
    out.say(f"next: avatar3d eval {work}{talk}")
    return figures
