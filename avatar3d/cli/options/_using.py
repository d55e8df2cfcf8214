# SPDX-License-Identifier: Apache-2.0
"""The verbs for an avatar or a work folder that stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from avatar3d.cli.options._shared import Folder, OptionalName, OutFolder, Verb

if TYPE_CHECKING:
    from avatar3d.cli.output import Output


@dataclass(frozen=True, kw_only=True)
class Eval(Verb):
    """Judge avatars on the last 1/11 of their video, which training never saw, beside trivial methods."""

    work: Positional[Annotated[Path, arg(metavar="DIR")]]
    """The work folder that `create` wrote."""
    avatar: Annotated[tuple[Path, ...], arg(metavar="FOLDER")] = ()
    """Folders NAME.avatar (default: every one in the work folder)."""
    frames: Annotated[Path | None, arg(metavar="DIR")] = None
    """Write made and true held-out frames there as pairs of PNG files."""
    no_baselines: bool = False
    """Leave out the trivial methods that the avatar is compared with."""
    motion: Literal["photometric", "landmarks"] = "photometric"
    """How the unseen frames' motion is measured: by landmarks alone, or refined until the drawn head, which learns
    nothing from it, lies on the picture; then the landmarks' figures are shown beside."""
    renderer: OptionalName = None
    """What draws: native or gsplat (Gaussians), volume or nerfacc (a NeRF), or a part of your own (default: native, of
    a NeRF volume)."""
    weights: Annotated[Path | None, arg(metavar="DIR")] = None
    """A folder with networks of yours, for more figures: syncnet_v2.model (LSE-C, LSE-D), inception.onnx (FID),
    arcface.onnx (CSIM), OpenFace's program FeatureExtraction (AUE); any of them."""
    seed: int = 0
    """Decides what the voice leaves to chance."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import evaluate
        from avatar3d.store import Work

        settings = evaluate.EvalSettings(
            self.avatar, self.frames, baselines=not self.no_baselines, motion=self.motion, seed=self.seed,
            weights=self.weights, renderer=self.renderer,
        )  # fmt: skip
        figures = evaluate.evaluate(Work(self.work), settings, out.watch)
        out.say(evaluate.table(figures))
        out.say(f"look at {self.work / evaluate.PAGE}")
        return figures


@dataclass(frozen=True, kw_only=True)
class Export(Verb):
    """Write an avatar as a file that other programs open, a capture as their data folder, or an avatar made small."""

    work: Positional[Annotated[Path, arg(metavar="DIR")]]
    """A folder NAME.avatar, or the work folder that `prepare` or `create` wrote."""
    out: OutFolder
    """The file or new folder to write; with --compact a folder NAME.avatar."""
    compact: bool = False
    """Write an avatar in as few bytes as its pictures allow, which everything opens; what is lost is measured."""
    format: Annotated[str | None, arg(metavar="NAME")] = None
    """Of an avatar (default: what OUT ends in): ply, spz, glb (KHR_gaussian_splatting) or usd: its splats; csv: its
    clip for Live Link Face; html or web: itself as a page in 3D that plays its clips, in one file or a folder. Of a
    work folder (default: nerfstudio), in which the head then stands still and the camera moves: nerfstudio:
    transforms.json, images and masks (also for instant-ngp); ad-nerf: what RAD-NeRF, ER-NeRF and TalkingGaussian read,
    but for the outputs of their networks; vhap: cameras, images and masks for VHAP and GaussianAvatars, without FLAME's
    parameters; colmap: a sparse model, binary and text, also for 3DGS; live-link: the face's motion as CSV beside its
    sound; csv: that CSV alone."""
    frame: Annotated[int | None, arg(metavar="N")] = None
    """Of splats: this frame of the avatar's own clip, from 0 (default: the neutral head)."""
    pose: Annotated[str, arg(metavar="NAME=SCORE,...")] = ""
    """Of splats: a face with these expressions of ARKit, as jawOpen=0.6,browInnerUp=1."""
    space: Literal["head", "world"] = "head"
    """Of splats: about the middle of the head, or about the camera that filmed it; y is up in both (down in PLY)."""
    blur: Annotated[float, arg(metavar="PX2")] = 0.1
    """Of splats: what the program that will draw them adds to each one's variance in the picture, in px^2 of the
    filmed frames. Ours adds 0.1, most others 0.3: with that the splats are made narrower, so that they look alike from
    where they were filmed."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import export, export_avatar, small
        from avatar3d.store import Work

        if self.compact:
            figures = small.compact(self.work, self.out, watch=out.watch)
            out.table(small.summary(figures))
            return figures
        shown = export_avatar.Shown(self.frame, self.pose, self.space, self.blur)
        if export_avatar.is_avatar(self.work):
            figures = export_avatar.export_avatar(self.work, self.out, self.format, shown)
            out.say(export_avatar.summary(figures))
            return figures
        export_avatar.only_of_splats(shown, "a work folder")
        name = self.format or export_avatar.named_of_work(self.out, self.work) or export.DEFAULT
        figures = export.export(Work(self.work), self.out, name, out.watch)
        out.say(f"{figures['folder']}: {figures['frames']} frames, {figures['left_out']} left out")
        return figures


@dataclass(frozen=True, kw_only=True)
class Bake(Verb):
    """Write an avatar of another kind of head down as a linear one, which draws faster and plays in a page."""

    avatar: Positional[Annotated[Path, arg(metavar="AVATAR")]]
    """A folder NAME.avatar; the loss is measured on the unseen frames where it lies in its work folder."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None
    """The avatar to write (default: NAME_baked.avatar beside it)."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import bake

        figures = bake.bake(self.avatar, self.out, out.watch)
        out.table(bake.summary(figures))
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
