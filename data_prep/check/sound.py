# SPDX-License-Identifier: Apache-2.0
"""What the sound says: whether a voice can be learned from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar3d.data_prep.check.finding import Finding, Rule
from avatar3d.data_prep.check.motion import Mouth
from avatar3d.data_prep.sync import Lag
from avatar3d.dsp import HOPS_PER_S, QUIETEST_DB, loudness_db, pitch, resampled, speaks
from avatar3d.records import FPS, Sound, Track

_HOPS_AT_ONCE = 3000  # bounds the memory
_FULL = 0.985  # of the loudest sample
_HOPS_PER_FRAME = round(HOPS_PER_S / FPS)
_FALL_HOPS = 10  # over which a fall is measured
_STEEPEST = 0.02  # share of the moments that count as the steepest falls
_ABOVE_FLOOR_DB = 3.0
_FEWEST_FALLS = 100
_VOICED = 0.6
_QUIET_HOPS = 20  # a mouth is shut for at least this long when silence is expected
_QUIETEST = 0.1  # of the sound: the pauses
_NOTES = 24  # to an octave
_NEAR_DB = 20.0  # below the loud moments: what is quieter does no harm

_RULES = {
    "rate": Rule(
        "sample rate", "{:.0f} Hz", 16_000, 11_000, "consonants lie above what a telephone carries",
        "record at 44.1 or 48 kHz",
    ),
    "clipping": Rule(
        "clipped sound", "{:.3f} % of the samples", 0.02, 0.3, "clipped speech sounds like other speech",
        "turn the input level down",
    ),
    "noise": Rule(
        "voice above the noise", "{:.0f} dB", 30, 18, "noise hides the quiet consonants that move the lips",
        "a quiet room, the microphone closer to the mouth",
    ),
    "echo": Rule(
        "reverberation", "{:.2f} s to fall by 60 dB", 0.5, 0.9, "an echo moves the mouth after the word is over",
        "a room with carpet, curtains and shelves; the microphone closer",
    ),
    "music": Rule(
        "music or voices in the pauses", "{:.0f} % of the quietest moments", 10, 30,
        "what sounds in the pauses sounds under the words too, and is learned as a part of them",
        "no music, no second speaker",
    ),
    "others": Rule(
        "voice or music while the mouth is shut", "{:.0f} % of that time", 20, 45,
        "the avatar would learn to be silent while somebody speaks", "no music, no second speaker",
    ),
}  # fmt: skip
_WHY_SYNC = "the mouth is learned from the sound of the same moment"


@dataclass(frozen=True)
class _Heard:
    level_db: np.ndarray  # [hops]
    frequency: np.ndarray  # [hops] Hz
    harmonicity: np.ndarray  # [hops] 0..1
    speech: np.ndarray  # [hops] bool


def listen(sound: Sound | None, rate_hz: float | None, track: Track, lag: Lag | None) -> list[Finding]:
    """Findings about the sound.

    Args:
        rate_hz: of the sound as it was recorded.
        lag: of the sound, as `sync.sound_lag` found it.
    """
    if sound is None or not np.any(sound.samples):
        what = "no sound" if sound is None else "silent"
        why = "without sound the avatar has no voice of its own"
        return [Finding("sound", what, None, "red", why, "record with a microphone")]
    heard = _heard(sound)
    return [
        _RULES["rate"](rate_hz),
        _RULES["clipping"](_clipped_pct(sound.samples)),
        _RULES["noise"](_above_noise_db(heard)),
        _RULES["echo"](_decay_s(heard)),
        _RULES["music"](_tuneful_pct(heard)),
        _RULES["others"](_others_pct(heard, track, lag)),
        _in_step(lag),
    ]


def _heard(sound: Sound) -> _Heard:
    samples = resampled(sound)
    hops = int(len(samples) / (len(samples) / sound.seconds) * HOPS_PER_S)
    pieces = [(first, min(_HOPS_AT_ONCE, hops - first)) for first in range(0, hops, _HOPS_AT_ONCE)]
    level = np.concatenate([loudness_db(samples, *piece) for piece in pieces])
    tones = [pitch(samples, *piece) for piece in pieces]
    frequency, harmonicity = (np.concatenate(part) for part in zip(*tones, strict=True))
    return _Heard(level, frequency, harmonicity, speaks(level, harmonicity))


def _clipped_pct(samples: np.ndarray) -> float:
    """Samples of which a neighbour is at full scale too: a single one is a peak, a run of them a cut."""
    full = np.abs(samples) >= _FULL * np.abs(samples).max()
    return 100 * float(np.mean(full[1:] & full[:-1]))


def _above_noise_db(heard: _Heard) -> float | None:
    if not heard.speech.any() or heard.speech.all():
        return None
    return float(np.median(heard.level_db[heard.speech]) - np.quantile(heard.level_db[~heard.speech], 0.2))


def _decay_s(heard: _Heard) -> float | None:
    """Time to fall by 60 dB, from the steepest falls of loud sound: a voice may fade slowly, but none faster than the
    room lets it.
    """
    level = heard.level_db
    floor, loud = np.quantile(level, (0.05, 0.95))
    before, after = level[:-_FALL_HOPS], level[_FALL_HOPS:]
    counted = (before > loud - _NEAR_DB) & (after > floor + _ABOVE_FLOOR_DB)
    if counted.sum() < _FEWEST_FALLS:
        return None
    fall_db = -float(np.quantile((after - before)[counted], _STEEPEST))
    return 60 * _FALL_HOPS / HOPS_PER_S / fall_db if fall_db > 0 else None


def _tuneful_pct(heard: _Heard) -> float:
    """Share of the quietest tenth of the sound that has a pitch, other than its commonest: mains hum has one too, but
    always the same.
    """
    quiet = (heard.level_db <= np.quantile(heard.level_db, _QUIETEST)) & (heard.level_db > QUIETEST_DB + 1)
    octaves = np.log2(heard.frequency[quiet & (heard.harmonicity > _VOICED)])
    if not len(octaves):
        return 0.0
    counts, edges = np.histogram(octaves, np.arange(octaves.min(), octaves.max() + 2 / _NOTES, 1 / _NOTES))
    hum = edges[counts.argmax()] + 0.5 / _NOTES
    return 100 * float(np.mean(np.abs(octaves - hum) > 1.5 / _NOTES)) * len(octaves) / float(quiet.sum())


def _others_pct(heard: _Heard, track: Track, lag: Lag | None) -> float | None:
    """Share of the time with a shut mouth in which something sings or speaks all the same."""
    shut = np.repeat(Mouth.of(track).closed, _HOPS_PER_FRAME)[: len(heard.level_db)]
    moved = round((lag.frames if lag and lag.sure else 0.0) * _HOPS_PER_FRAME)
    shut = np.roll(shut, moved)
    # only the middle of a pause: lips close before a sound is over, and for every m and b
    held = np.convolve(shut, np.ones(_QUIET_HOPS), "same") > _QUIET_HOPS - 0.5
    if held.sum() < HOPS_PER_S:
        return None
    loud = heard.level_db > np.quantile(heard.level_db, 0.95) - _NEAR_DB
    return 100 * float(np.mean(((heard.harmonicity > _VOICED) & loud)[held]))


def _in_step(lag: Lag | None) -> Finding:
    name = "sound and picture"
    if lag is None:
        return Finding(name, "could not be measured", None, "unknown", _WHY_SYNC, "")
    text = f"the sound is {abs(lag.frames):.1f} frames {'late' if lag.frames > 0 else 'early'}"
    surety = f"fit {lag.correlation:.2f}, {lag.height:.2f} above the rest where chance reaches {lag.least_height:.2f}"
    if not lag.sure:
        return Finding(name, f"cannot be told; perhaps {text} ({surety})", None, "unknown", _WHY_SYNC, "")
    if lag.mended_frames:
        fix = "nothing: `prepare` and `create` move it"
        return Finding(name, f"{text} ({surety})", lag.frames, "amber", _WHY_SYNC, fix)
    return Finding(name, f"in step: {text} ({surety})", lag.frames, "green", _WHY_SYNC, "")
