# SPDX-License-Identifier: Apache-2.0
"""`avatar3d bench voice`: how well a voice follows speech that noise, a line or a microphone has spoiled."""

from __future__ import annotations

import tempfile
import wave
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar3d import spoil
from avatar3d.contracts import Speak
from avatar3d.data_prep.synthetic import Voice, speech_sample
from avatar3d.dsp import resampled
from avatar3d.errors import InputError
from avatar3d.media import samples
from avatar3d.metrics.motion import follow, shots_of
from avatar3d.motion._lip_space import LipSpace
from avatar3d.recipes._text import shown, table
from avatar3d.recipes.train import as_trained
from avatar3d.recipes.voice import VoiceSettings, train_voice
from avatar3d.records import FPS, SAMPLE_RATE, Capture, Progress, Sound, Track, Watch, unwatched
from avatar3d.store import Work, load_capture, load_track

_GAIN_DB, _SNR_DB = 12.0, 10.0
_TALKERS = tuple(Voice(pitch, tract) for pitch, tract in ((95, 1.0), (125, 1.04), (175, 1.1), (215, 1.15)))
_TALK_S, _AT_ONCE = 12.0, 6
_SILENCE_S = 5.0
_QUIET_DB = {"digital silence": None, "a quiet room": -60.0, "noise of -40 dB": -40.0}
_RANGE_QUANTILES = (0.01, 0.99)
_SHUT_SHARE = 0.1  # of the person's range: the mouth counts as shut below


@dataclass(frozen=True)
class FollowRow:
    """The opening of the mouth against the track's, on the held-out part."""

    sound: str
    r: float | None
    fall: float | None  # of r, from the clean sound's
    gain: float | None
    lag_frames: int | None
    speed: float  # 99 % quantile of the opening's speed, over that of the person


@dataclass(frozen=True)
class ShutRow:
    """What the mouth does in silence that follows the recording."""

    sound: str
    shut_after_s: float | None  # when it comes to be open by less than a tenth of its range, and stays so; None: never
    widest: float  # largest opening from then on, or of all, as a share of the person's range


def bench_voice(work: Work, settings: VoiceSettings | None = None, watch: Watch = unwatched) -> dict[str, Any]:
    """Lets the voice of a prepared work folder speak the recording, spoiled in turn in each of the usual ways.

    The voice is the folder's own, and is trained first where there is none; see `recipes.voice.train_voice`. The
    babble is of made-up people, whom no voice has heard.

    Returns:
        `{"rows": [FollowRow as a dict], "silence": [ShutRow as a dict]}`.

    Raises:
        InputError: the folder is not prepared, or its video has no sound.
    """
    settings = settings or VoiceSettings()
    capture = load_capture(work)
    if capture.sound is None:
        raise InputError(f"{work.path}: the video has no sound", "name the folder of a video in which somebody speaks")
    voice, trained = train_voice(work, settings, watch)
    if voice is None:
        raise InputError(f"{work.path}: no voice: {trained['why']}", "name the folder of a video in which one speaks")
    track, _ = as_trained(work, settings.head, load_track(work))
    return {
        "rows": [asdict(row) for row in _followed(voice, capture, capture.sound, track, watch)],
        "silence": [asdict(row) for row in _shut(voice, capture.sound, track)],
    }


def report_voice(figures: Mapping[str, Any]) -> str:
    """The rows as tables for the terminal."""
    heads = ("held-out sound", "r", "fall", "gain", "speed", "lag, frames")
    lines = [
        (row["sound"], *(_two(row[name]) for name in ("r", "fall", "gain", "speed")), shown(row["lag_frames"]))
        for row in figures["rows"]
    ]
    quiet = [
        (row["sound"], f"{_two(row['shut_after_s'])} s", f"{100 * row['widest']:.0f} %") for row in figures["silence"]
    ]
    return table((heads, *lines)) + "\n\n" + table((("silence after it", "shut after", "widest from then on"), *quiet))


def spoiled(sound: Sound, seed: int = 0) -> Iterator[tuple[str, Callable[[], Sound]]]:
    """Names of the ways in which a 16 kHz sound is spoiled, and what makes each; the first is the sound itself."""
    clean, count = sound.samples, len(sound.samples)
    rng = np.random.default_rng(seed)

    def at_16_khz(made: np.ndarray) -> Sound:
        return Sound(made, SAMPLE_RATE)

    def at(rate: int) -> Sound:
        return Sound(resampled(sound, rate), rate)

    def babble() -> np.ndarray:
        talk = [speech_sample(_TALK_S, number, voice).samples for number, voice in enumerate(_TALKERS)]
        return spoil.babble(talk, count, _AT_ONCE, rng)

    yield "clean", lambda: sound
    yield f"{_GAIN_DB:+.0f} dB", lambda: at_16_khz(spoil.gained(clean, _GAIN_DB))
    yield f"{-_GAIN_DB:+.0f} dB", lambda: at_16_khz(spoil.gained(clean, -_GAIN_DB))
    yield f"clipped at {_GAIN_DB:+.0f} dB", lambda: at_16_khz(spoil.gained(clean, _GAIN_DB).clip(-1, 1))
    yield f"white noise, {_SNR_DB:.0f} dB", lambda: at_16_khz(spoil.noisy(clean, spoil.white(count, rng), _SNR_DB))
    yield f"babble, {_SNR_DB:.0f} dB", lambda: at_16_khz(spoil.noisy(clean, babble(), _SNR_DB))
    yield "8 kHz", lambda: at(8_000)
    yield "48 kHz", lambda: at(48_000)
    yield "stereo, one side", lambda: _one_sided(sound)


def _followed(voice: Speak, capture: Capture, sound: Sound, track: Track, watch: Watch) -> Iterator[FollowRow]:
    start, frames = track.fitted_frames, len(track.motion)
    space, shots = LipSpace.of(track), shots_of(capture.cuts, start, frames)
    real = _opening(space, track.motion.expression)
    usual_speed = _speed(real[:start])
    clean_r: float | None = None
    versions = list(spoiled(sound))
    for done, (name, make) in enumerate(versions):
        watch(Progress("bench", done / len(versions), name))
        made = _opening(space, voice(make()).expression)
        made = np.pad(made[:frames], (0, max(frames - len(made), 0)), mode="edge")
        found = follow(100 * real[start:], 100 * made[start:], shots)
        clean_r = found.r if name == "clean" else clean_r
        fall = None if found.r is None or clean_r is None else clean_r - found.r
        yield FollowRow(name, found.r, fall, found.gain, found.lag_frames, _speed(made) / usual_speed)
    watch(Progress("bench", 1.0))


def _shut(voice: Speak, sound: Sound, track: Track) -> Iterator[ShutRow]:
    space = LipSpace.of(track)
    real = _opening(space, track.motion.expression[: track.fitted_frames])
    low, high = np.quantile(real, _RANGE_QUANTILES)
    rng = np.random.default_rng(0)
    for name, level_db in _QUIET_DB.items():
        quiet = spoil.pink(round(_SILENCE_S * SAMPLE_RATE), rng)
        quiet *= 0 if level_db is None else 10 ** (level_db / 20) / np.sqrt(np.square(quiet).mean())
        spoken = round(sound.seconds * FPS)
        after = Sound(np.concatenate([sound.samples[: round(spoken / FPS * SAMPLE_RATE)], quiet]), SAMPLE_RATE)
        opened = (_opening(space, voice(after).expression)[spoken:] - low) / max(high - low, 1e-9)
        wide = np.flatnonzero(opened > _SHUT_SHARE)
        first = wide[-1] + 1 if len(wide) else 0
        shut = first < len(opened)
        yield ShutRow(name, first / FPS if shut else None, float(opened[first if shut else 0 :].max()))


def _opening(space: LipSpace, expression: np.ndarray) -> np.ndarray:
    return space.aperture(torch.from_numpy(expression)).numpy()


def _speed(opening: np.ndarray) -> float:
    return float(np.quantile(np.abs(np.diff(opening)), _RANGE_QUANTILES[1])) + 1e-9


def _one_sided(sound: Sound) -> Sound:
    """As it is read from a stereo file whose right channel is silent."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stereo.wav"
        both = np.stack([sound.samples, np.zeros_like(sound.samples)], 1)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(sound.rate)
            file.writeframes((both.clip(-1, 1) * 32767).astype("<i2").tobytes())
        read = samples.sound(path)
    return sound if read is None else read


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
