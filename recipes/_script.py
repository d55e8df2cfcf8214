# SPDX-License-Identifier: Apache-2.0
"""What an avatar is to do, and how that becomes one motion: said by its voice, recorded, and laid over by hand."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from avatar3d import media
from avatar3d.avatars import Avatar
from avatar3d.contracts import Bodied, Speak
from avatar3d.data_prep.exchange import live_link
from avatar3d.errors import InputError
from avatar3d.face.arkit import as_scores, expression_of
from avatar3d.media.spoken import Reading, spoken
from avatar3d.motion._at_rest import at_rest
from avatar3d.motion._head_motion import from_usual
from avatar3d.motion._idle import breathing, fidgets, idle
from avatar3d.motion._keys import Key, keyed
from avatar3d.motion._mouth import Mouth
from avatar3d.motion._polish import BlinkHabit, speech_gate
from avatar3d.motion._style import Style
from avatar3d.motion.viseme import Viseme
from avatar3d.recipes._keys import read_keys
from avatar3d.recipes._played import TalkSettings
from avatar3d.recipes._reenacted import followed, on_this_face
from avatar3d.recipes.voice import listening
from avatar3d.records import FPS, Motion, Sound, Watch, frame_count
from avatar3d.talk import driven, laid_over, perform
from avatar3d.threads import torch_threads

SOUND_RATE = 48_000  # Hz, in the video; the voice hears its own rate
_GAINS = (0.0, 3.0)
_LONGEST_IDLE_S = 3600.0


@dataclass(frozen=True)
class Script:
    """What an avatar is to do. One source says it; a speech beside a recorded motion is only heard."""

    speech: Path | None = None  # any sound or video file
    text: str | None = None  # to be read out
    motion: Path | None = None  # a recording of Live Link Face, or what `motion_out` wrote
    video: Path | None = None  # of another person, who is followed and heard
    idle_s: float | None = None  # nothing is said for so long
    reading: Reading = field(default_factory=Reading)  # how the text is read out
    keys: Path | None = None  # keyframes to lay over it
    motion_out: Path | None = None  # a CSV to write the motion to
    mouth_gain: float = 1.0  # how far the mouth goes from the face with its lips shut
    expression_gain: float = 1.0  # and how far the rest of the face does
    voice: Literal["own", "viseme"] = "own"  # the avatar's, or the one by rule
    style: Path | None = None  # a video of somebody, in whose manner it is said

    def checked(self) -> Plan:
        """The script with its keyframes read.

        Raises:
            InputError: no source, a number out of its range, or keyframes that are none.
        """
        self._check_source()
        for name in ("mouth_gain", "expression_gain"):
            gain, (low, high) = getattr(self, name), _GAINS
            if not low <= gain <= high:
                raise InputError(f"--{name.replace('_', '-')} {gain:g}", f"give {low:g} to {high:g}, 1 for as it is")
        if self.motion_out is not None and self.motion_out.suffix.lower() != ".csv":
            raise InputError(
                f"--motion-out {self.motion_out}: a motion is written as CSV", "name a file that ends in .csv"
            )
        return Plan(self, () if self.keys is None else read_keys(self.keys))

    @property
    def source(self) -> str:
        """What says what is done: "video", "motion", "idle", "text" or "speech"."""
        sources = {"video": self.video, "motion": self.motion, "idle": self.idle_s, "text": self.text}
        return next((name for name, given in sources.items() if given is not None), "speech")

    def _check_source(self) -> None:
        sources = {"SPEECH": self.speech, "--text": self.text, "--video": self.video, "--idle": self.idle_s}
        given = [name for name, source in sources.items() if source is not None]
        if self.motion is not None:
            given = ["--motion", *(name for name in given if name != "SPEECH")]
        if not given:
            raise InputError(
                "nothing to say or do", "name a sound file, or give --text, --motion, --video or --idle SECONDS"
            )
        if len(given) > 1:
            raise InputError(f"{' and '.join(given)} both say what is to be done", "give one of them")
        if self.text is not None:
            self.reading.check()
            if not self.text.strip():
                raise InputError("--text is empty", "write what is to be said")
        self._check_voice()
        if self.idle_s is not None and not 1 / FPS <= self.idle_s <= _LONGEST_IDLE_S:
            raise InputError(f"--idle {self.idle_s:g} s", f"give {1 / FPS:g} to {_LONGEST_IDLE_S:g} s")

    def _check_voice(self) -> None:
        """A voice and a style are of what is said."""
        for option, given in (("--voice", self.voice != "own"), ("--style", self.style is not None)):
            if given and self.source not in ("speech", "text"):
                raise InputError(f"{option} beside --{self.source}: no voice says that", f"leave {option} out")


@dataclass(frozen=True)
class Plan:
    """A script that can be played."""

    script: Script
    keys: tuple[Key, ...]


def acted(avatar: Avatar, plan: Plan, settings: TalkSettings, watch: Watch, name: str) -> tuple[Motion, Sound | None]:
    """The motion of a plan, and what is heard with it, as long as the motion."""
    script = plan.script
    if script.video is not None:
        motion, sound = reenacted(avatar, script.video, settings, watch), media.sound(script.video, SOUND_RATE)
    elif script.motion is not None:
        motion = recorded(avatar, script.motion, settings)
        sound = None if script.speech is None else _heard(script.speech)
    elif script.idle_s is not None:
        motion, sound = waiting(avatar, script.idle_s, settings), None
    else:
        sound = _said(script)
        speak = ruled_voice(avatar) if script.voice == "viseme" else _voice_of(avatar, name)
        style = None if script.style is None else style_of(avatar, script.style, watch)
        motion = at_ease(avatar, _spoken(avatar, speak, sound, settings, style), sound, settings)
    if sound is not None and frame_count(sound) != len(motion):
        sound = _as_long(sound, len(motion))
    return _by_hand(avatar, plan, motion), sound


def reenacted(avatar: Avatar, video: Path, settings: TalkSettings, watch: Watch) -> Motion:
    """What another person does in a video, on this avatar's face and neck."""
    arkit_map, mouth = _known_map(avatar, "--video"), Mouth.of(avatar.head, avatar.clip)
    motion = on_this_face(followed(video, watch), arkit_map, mouth, avatar.clip)
    return driven(motion, avatar.clip, settings.head, settings.seed)


def waiting(avatar: Avatar, seconds: float, settings: TalkSettings) -> Motion:
    """An avatar that waits or listens."""
    frames = round(seconds * FPS)
    face = idle(avatar.clip, Mouth.of(avatar.head, avatar.clip), frames, settings.seed)
    return breathing(laid_over(face, avatar.clip, settings.head, settings.seed, np.zeros(frames)))


def at_ease(avatar: Avatar, motion: Motion, sound: Sound, settings: TalkSettings) -> Motion:
    """`motion` that breathes, and whose face does not freeze where nobody speaks."""
    silent = 1 - speech_gate(sound)[:, None]
    small = fidgets(avatar.clip, Mouth.of(avatar.head, avatar.clip), len(motion), settings.seed)
    numbers = motion.expression.shape[1]
    return breathing(replace(motion, expression=motion.expression + (silent * small[:, :numbers]).astype(np.float32)))


def _said(script: Script) -> Sound:
    """What the voice hears."""
    if script.text is not None:
        return spoken(script.text, script.reading, SOUND_RATE)
    assert script.speech is not None
    return _heard(script.speech)


def spoken_by(avatar: Avatar, sound: Sound, settings: TalkSettings, name: str) -> Motion:
    """The motion of an avatar that says `sound`."""
    return _spoken(avatar, _voice_of(avatar, name), sound, settings)


def ruled_voice(avatar: Avatar) -> Speak:
    """The voice that speaks any face by rule, from how this one looks with its lips shut and as often as it blinks."""
    arkit_map, mouth = _known_map(avatar, "--voice"), Mouth.of(avatar.head, avatar.clip)
    shut = at_rest(mouth.shut[None], np.zeros((1, 2), np.float32))
    return Viseme(listening(Viseme.usual_audio), as_scores(shut, arkit_map)[0], BlinkHabit.of(avatar.clip.blink))


def style_of(avatar: Avatar, video: Path, watch: Watch) -> Style:
    """How somebody in a video speaks, as this face would."""
    arkit_map, mouth = _known_map(avatar, "--style"), Mouth.of(avatar.head, avatar.clip)
    return Style.of(on_this_face(followed(video, watch), arkit_map, mouth, avatar.clip), avatar.clip, mouth)


def _spoken(avatar: Avatar, voice: Speak, sound: Sound, settings: TalkSettings, style: Style | None = None) -> Motion:
    restless = 0.0 if style is None else style.restless
    with torch_threads(1):
        said = perform(voice, sound, avatar.clip, settings.head, settings.seed, restless)
    motion = _personal(avatar, said)
    return motion if style is None else style.on(motion, avatar.clip, Mouth.of(avatar.head, avatar.clip))


def recorded(avatar: Avatar, path: Path, settings: TalkSettings) -> Motion:
    """A recording on this avatar's face and neck; where its head never turns, the avatar's own does."""
    arkit_map = _arkit_map(avatar)
    own = None if arkit_map is None else live_link.read_own(path, _face_name(arkit_map))
    motion = _personal(avatar, live_link.read(path), own)
    return driven(motion, avatar.clip, settings.head, settings.seed)


def record(avatar: Avatar, motion: Motion, path: Path, option: str = "--motion-out") -> None:
    """Writes a motion as CSV of Live Link Face; `recorded` gives the same motion for the same avatar.

    Raises:
        InputError: the head does not know ARKit's scores; `option` is what asked for them.
    """
    arkit_map, motion = _known_map(avatar, option), _personal(avatar, motion)
    scores = as_scores(motion, arkit_map)
    own = motion.expression[:, : arkit_map.shape[1]] - expression_of(scores, arkit_map)
    body = avatar.head.body(motion) if isinstance(avatar.head, Bodied) else motion.body
    told = from_usual(replace(motion, body=body), avatar.clip)
    live_link.save(path, scores, told, own, _face_name(arkit_map))


def _by_hand(avatar: Avatar, plan: Plan, motion: Motion) -> Motion:
    """`motion` with gains and keyframes."""
    gains = plan.script.mouth_gain, plan.script.expression_gain
    named = {key.control for key in plan.keys} & {"mouthGain", "expressionGain"}
    mouth = Mouth.of(avatar.head, avatar.clip) if named or gains != (1, 1) else None
    if mouth is not None and gains != (1, 1):
        motion = replace(motion, expression=mouth.gained(motion.expression, *gains))
    if not plan.keys:
        return motion
    return keyed(motion, plan.keys, _known_map(avatar, "--keys"), mouth)


def _heard(speech: Path) -> Sound:
    sound = media.sound(speech, SOUND_RATE)
    if sound is None or frame_count(sound) == 0:
        raise InputError(f"{speech}: no sound in this file", "give a file with speech")
    return sound


def _as_long(sound: Sound, frames: int) -> Sound:
    length = round(frames / FPS * sound.rate)
    return Sound(np.pad(sound.samples[:length], (0, max(length - len(sound.samples), 0))), sound.rate)


def _voice_of(avatar: Avatar, name: str) -> Speak:
    if avatar.voice is None:
        raise InputError(
            f"{name}: has no voice, since the video that it was made from has no sound",
            "create it from a video in which the person speaks, or give --voice viseme",
        )
    return avatar.voice


def _arkit_map(avatar: Avatar) -> np.ndarray | None:
    """[53,K]: what ARKit's scores mean to this face; None where its head does not say."""
    known = avatar.head.tensors().get("arkit_map")
    return None if known is None else known.numpy()


def _known_map(avatar: Avatar, option: str) -> np.ndarray:
    known = _arkit_map(avatar)
    if known is None:
        raise InputError(f"{option}: this kind of head does not say what ARKit's names mean to it", "use another head")
    return known


def _personal(avatar: Avatar, motion: Motion, own: np.ndarray | None = None) -> Motion:
    """`motion` in the avatar's own basis, as wide as its clip's; as it is where the head does not know ARKit's scores.

    Args:
        own: [T,K] what the scores leave of the expression; None: nothing.
    """
    arkit_map = _arkit_map(avatar)
    if motion.basis != "arkit" or arkit_map is None:
        return motion
    expression = expression_of(motion.expression, arkit_map) + (0 if own is None else own)
    missing = max(avatar.clip.expression.shape[1] - expression.shape[1], 0)
    return replace(motion, expression=np.pad(expression, ((0, 0), (0, missing))), basis="personal")


def _face_name(arkit_map: np.ndarray) -> str:
    """Tells faces apart that give the same name to other movements."""
    return hashlib.sha256(np.ascontiguousarray(arkit_map, np.float32).tobytes()).hexdigest()[:8]
