# SPDX-License-Identifier: Apache-2.0
"""The verb that lets an avatar talk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from avatar3d.cli.options._shared import OptionalFile, OptionalName, Verb

if TYPE_CHECKING:
    from avatar3d.cli.output import Output


@dataclass(frozen=True, kw_only=True)
class Talk(Verb):
    """Let an avatar say what a sound file says, as a video in sync with it, or as a page in which it can be turned.

    In place of SPEECH it also reads a text out, does what somebody does in a recording or a video, or waits.
    """

    avatar: Positional[Annotated[Path, arg(metavar="AVATAR")]]
    """A folder NAME.avatar that `create` wrote."""
    speech: Positional[Annotated[Path | None, arg(metavar="SPEECH")]] = None
    """Speech of any length: wav, mp3, flac, m4a, mp4 and more."""
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE")]
    """What to write: .mp4; for a transparent background .mov (ProRes 4444) or .webm (VP9); .html: a page in 3D."""
    background: Annotated[str, arg(metavar="WHAT")] = "original"
    """original (the filmed room), alpha, a colour as #rrggbb, or a picture's file name."""
    camera: Annotated[str, arg(metavar="WHAT")] = "fixed"
    """fixed where it filmed, orbit (15 degrees to both sides), or the file name of nerfstudio's camera_path.json, made
    about what `export --format nerfstudio` wrote; the picture then has that path's shape."""
    head: Literal["graph", "replay", "still"] = "graph"
    """The head moves as it did in the video: graph joins pieces of that movement, livelier where the sound is louder,
    replay plays it to and fro; still keeps it still. A recording or a video whose head turns has its own turns."""
    text: Annotated[str | None, arg(metavar="WORDS")] = None
    """What to say: espeak-ng, a program of its own, reads it out, and the avatar's voice model speaks that sound."""
    voice_lang: Annotated[str, arg(metavar="NAME")] = "en"
    """Which voice of espeak-ng reads --text: a language's code (en, en-us, de, fr-fr, ru, ...)."""
    speed: Annotated[int, arg(metavar="WORDS/MIN")] = 150
    """How fast --text is read, 80 to 450 words a minute."""
    voice: Literal["own", "viseme"] = "own"
    """own: the avatar's, as it was made; viseme: by rule from English phones, which any avatar can, also one without a
    voice (it takes pip install 'avatar3d[phones]')."""
    style: OptionalFile = None
    """A video of somebody, at least 5 s, in whose manner it is said: how widely the mouth opens, how lively the rest of
    the face is and how it is held, how much the head moves; within what the person of the avatar was seen to do."""
    video: OptionalFile = None
    """A video of another person, at least 5 s: the avatar does what they do, and they are heard."""
    idle: Annotated[float | None, arg(metavar="SECONDS")] = None
    """Wait or listen for so long: lips shut, blinks, small movements, breath."""
    motion: OptionalFile = None
    """A CSV that Live Link Face has recorded, or that --motion-out has written: the avatar does what it says, and
    SPEECH, if given, is only heard."""
    motion_out: OptionalFile = None
    """Write the motion to this .csv, as Live Link Face does: other programs read it, and --motion plays it again."""
    keys: OptionalFile = None
    """Keyframes to lay over the motion: a JSON list of {"time_s": SECONDS, "control": NAME, "value": NUMBER, "ease":
    smooth, linear or hold}. Controls: ARKit's names (-1 to 1, added), headYaw, headPitch, headRoll, gazeYaw, gazePitch
    (degrees, added), blink (0 to 1), mouthGain, expressionGain (0 to 3 times)."""
    mouth_gain: Annotated[float, arg(metavar="TIMES")] = 1.0
    """How far the mouth moves, 0 to 3 times as far; never beyond what the person was seen to do."""
    expression_gain: Annotated[float, arg(metavar="TIMES")] = 1.0
    """How far the rest of the face moves, likewise."""
    size: Annotated[int | None, arg(metavar="PX")] = None
    """Width of the video in px, 64 to 4096 (default: the work folder's frames)."""
    quality: int = 18
    """Constant quality of the encoder, 0 (lossless) to 51 (worst)."""
    renderer: OptionalName = None
    """What draws: native or gsplat (Gaussians), volume or nerfacc (a NeRF), or a part of your own (default: native, of
    a NeRF volume)."""
    seed: int = 0
    """Decides blinks and the head's movement."""

    def run(self, out: Output) -> dict[str, Any]:
        from avatar3d.recipes import talk

        settings = talk.TalkSettings(
            self.background,
            self.camera,
            self.head,
            self.size,
            quality=self.quality,
            renderer=self.renderer,
            seed=self.seed,
        )
        script = talk.Script(
            self.speech,
            self.text,
            self.motion,
            self.video,
            self.idle,
            talk.Reading(self.voice_lang, self.speed),
            self.keys,
            self.motion_out,
            self.mouth_gain,
            self.expression_gain,
            self.voice,
            self.style,
        )
        figures = talk.talk_video(self.avatar, script, self.out, settings, out.watch)
        out.say(
            f"{self.out}: {figures['seconds']:.2f} s, {figures['width']}x{figures['height']} px, "
            f"made at {figures['fps']} frames/s"
        )
        return {"video": str(self.out), **figures}
