# SPDX-License-Identifier: Apache-2.0
"""What several verbs take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from avatar3d.errors import InputError

if TYPE_CHECKING:
    from avatar3d.cli.output import Output
    from avatar3d.recipes.create import CreateSettings
    from avatar3d.recipes.prepare import PrepareSettings

OutFolder = Annotated[Path, arg(aliases=["-o"], metavar="DIR")]
Video = Positional[Annotated[Path, arg(metavar="VIDEO")]]
Folder = Positional[Annotated[Path, arg(metavar="DIR")]]
OptionalFile = Annotated[Path | None, arg(metavar="FILE")]
OptionalText = Annotated[str | None, arg(metavar="TEXT")]
OptionalName = Annotated[str | None, arg(metavar="NAME")]


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

    head: Annotated[str, arg(metavar="NAME")] = "linear"
    """What kind of head: linear (linear in the movement), triplane (TalkingGaussian's: a field moves it), rigged (bound
    to the face's mesh), radiance (a NeRF), or the dotted name of a part of your own. Each kind has its own avatar in
    the work folder."""
    preset: Annotated[str, arg(metavar="NAME")] = "standard"
    """How long the head trains: on two cores quick about 1 min, standard at most 4 min, quality at most 8 min; on a GPU
    fast 30 s, standard 90 s, quality 5 min. talking-gaussian, of the triplane head: 8 min by that paper's schedule.
    Of the radiance head quick takes 3 min, standard 10, quality 20, as do rad-nerf, er-nerf and geneface++, after those
    papers."""
    device: Annotated[str, arg(metavar="NAME")] = "cpu"
    """What the head is trained on: cpu, cuda or cuda:N."""
    renderer: OptionalName = None
    """What draws the head while it is trained: native or gsplat (Gaussians), volume or nerfacc (a NeRF), or the dotted
    name of a part of your own (default: native, of a NeRF volume)."""
    grid: Literal["lines", "ngp", "tinycudann"] | None = None
    """How the grids of the radiance head lie in memory: lines (our own, the faster), ngp (as Instant NGP and
    tiny-cuda-nn have them), or tinycudann (ngp, read by that package while the head is trained on CUDA). Any of them is
    drawn everywhere (default: lines)."""
    voice: Annotated[str, arg(metavar="NAME")] = "tcn"
    """How speech becomes motion: tcn (learned from the video, the most exact), vae (learned too, and of several ways to
    say something picks one by its seed), viseme (by rule, from phones), or the dotted name of a part of your own."""
    audio: OptionalText = None
    """What the voice hears: mel, phones, whisper, hubert, wav2vec2, or a part of your own (default: phones for viseme,
    else mel)."""
    audio_weights: Annotated[Path | None, arg(metavar="DIR")] = None
    """Weights of whisper, hubert or wav2vec2 (default: where AVATAR3D_AUDIO_WEIGHTS says, else the hub's cache). The
    avatar does not hold them: `talk` looks for them in the same places."""
    prior: OptionalFile = None
    """What `avatar3d prior` has learned from others: the voice begins with it and adapts it, for seconds of video."""
    sync: float = 0.0
    """Weight, about 0.1, of a judge of lip sync in the training of the voice vae; the judge is trained first."""
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

        at_least(1, budget_s=self.budget_s)
        at_least(0, sync=self.sync)
        return CreateSettings(
            self.head,
            self.preset,
            self.device,
            self.sample,
            self.name,
            self.consent,
            self.budget_s,
            self.seed,
            self.voice,
            self.audio,
            self.audio_weights,
            self.sync,
            self.prior,
            self.grid,
            self.renderer,
            restart=self.restart,
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
    masks: Annotated[str, arg(metavar="NAME")] = "auto"
    """Who is asked where the person is: geometry (movement alone), or also selfie (MediaPipe's segmentation, fetched
    once, 0.25 MB) or parser (a face parser of 19 classes as ONNX, for whoever has its file); auto: selfie where it can
    be had."""
    masks_file: Annotated[Path | None, arg(metavar="FILE")] = None
    """The network's file: another selfie model of MediaPipe, or the parser's .onnx."""

    def preparation(self, restart: bool) -> PrepareSettings:
        """The same for the recipe."""
        from avatar3d.data_prep.capture import CaptureSettings
        from avatar3d.recipes._face import FaceChoice
        from avatar3d.recipes._masks import MaskChoice
        from avatar3d.recipes.prepare import PrepareSettings

        face, masks = FaceChoice(self.face, self.face_file), MaskChoice(self.masks, self.masks_file)
        return PrepareSettings(CaptureSettings(self.size), face=face, masks=masks, restart=restart)


def at_least(least: float, **given: float | None) -> None:
    for name, value in given.items():
        if value is not None and not value >= least:  # so said, it refuses NaN too
            raise InputError(f"--{name.replace('_', '-')} {value:g}: too small", f"give {least:g} or more")


def warn(out: Output, figures: dict[str, Any]) -> None:
    for warning in figures.get("warnings", []):
        out.note(f"avatar3d: note: {warning}")
