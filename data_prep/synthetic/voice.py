# SPDX-License-Identifier: Apache-2.0
"""A source-filter voice: harmonics of a gliding pitch, weighted by the resonances of a mouth, plus shaped noise.

After Klatt, "Software for a cascade/parallel formant synthesizer" (JASA 1980), but summed in the frequency domain, so
that no loop runs over samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avatar3d.data_prep.synthetic.lexicon import SAMPLE_TEXT
from avatar3d.data_prep.synthetic.speech import PHONES, SILENCE, Phoneme, timeline
from avatar3d.records import SAMPLE_RATE, Sound

_HOP_S = 0.005  # control rate
_HARMONICS = 60
_BANDWIDTHS_HZ = (70.0, 100.0, 150.0)
_FIXED_FORMANTS = ((3500.0, 250.0), (4500.0, 350.0))  # Hz, bandwidth Hz
_HIGHEST_HZ = 7600.0
_NOISE_WINDOW = 160  # samples
_BURST_SHARE = 0.35  # of a plosive, at its end; before it the mouth is shut


@dataclass(frozen=True)
class Voice:
    """What makes one speaker sound unlike another."""

    pitch_hz: float = 118.0
    tract: float = 1.0  # formants times this: 1 a long vocal tract, 1.17 a short one


@dataclass(frozen=True)
class _Articulation:
    """Control tracks at _HOP_S."""

    formants_hz: np.ndarray  # [n,3]
    voicing: np.ndarray  # [n]
    nasal: np.ndarray  # [n]
    noise: np.ndarray  # [n,3] level, centre Hz, width Hz


def speech_sample(seconds: float, seed: int, voice: Voice | None = None) -> Sound:
    """Speech that no film contains: another text, then other sentences; mono, SAMPLE_RATE."""
    said = timeline(seconds, 1_000_003 + seed, SAMPLE_TEXT)
    return say(said, seconds, voice or Voice(), seed)


def say(phonemes: Sequence[Phoneme], seconds: float, voice: Voice, seed: int) -> Sound:
    """A timeline as sound: round(seconds * SAMPLE_RATE) samples, peak 0.8."""
    rng = np.random.default_rng((seed, 2))
    count = round(seconds * SAMPLE_RATE)
    steps = round(seconds / _HOP_S) + 1
    tracks = _articulate(phonemes, steps, voice)
    voiced = _harmonics(tracks, _pitch_hz(phonemes, seconds, steps, voice, rng), count)
    voiced /= max(float(np.abs(voiced).max(initial=0.0)), 1e-9)
    mixed = voiced + 0.55 * _noise(tracks, count, rng) + 4e-4 * rng.standard_normal(count)
    peak = max(float(np.abs(mixed).max(initial=0.0)), 1e-2)  # a silent film stays silent
    return Sound((0.8 * mixed / peak).astype(np.float32), SAMPLE_RATE)


def _articulate(phonemes: Sequence[Phoneme], steps: int, voice: Voice) -> _Articulation:
    """Formants glide between the steady middles of the phonemes; levels switch, then are smoothed."""
    time_s = np.arange(steps) * _HOP_S
    knots_s: list[float] = []
    formants: list[tuple[float, float, float]] = []
    voicing, nasal = np.zeros(steps), np.zeros(steps)
    noise = np.tile(np.array([0.0, 1500.0, 2000.0]), (steps, 1))
    for phoneme in phonemes:
        phone, lasts_s = PHONES[phoneme.name], phoneme.end_s - phoneme.start_s
        edge_s = (0.3 if phone.kind == "vowel" else 0.45) * lasts_s
        knots_s += [phoneme.start_s + edge_s, phoneme.end_s - edge_s]
        formants += [phone.formants_hz] * 2
        now = (time_s >= phoneme.start_s) & (time_s < phoneme.end_s)
        voicing[now] = phone.voicing * (phoneme.stress if phone.kind == "vowel" else 1.0)
        nasal[now] = phone.kind == "nasal"
        if phone.kind == "fricative":
            noise[now] = phone.noise
        elif phone.kind == "plosive":
            burst = now & (time_s >= phoneme.end_s - _BURST_SHARE * lasts_s)
            noise[burst] = phone.noise
            voicing[burst] = max(phone.voicing, 0.05)
    table = np.array(formants) * voice.tract
    glided = np.stack([np.interp(time_s, knots_s, column) for column in table.T], 1)
    noise[:, 0] = _smoothed(noise[:, 0], 3)
    return _Articulation(glided, _smoothed(voicing, 7), _smoothed(nasal, 7), noise)


def _smoothed(track: np.ndarray, width: int) -> np.ndarray:
    """A track [n] under a bell of `width` (odd) samples."""
    bell = np.hanning(width + 2)[1:-1]
    return np.convolve(np.pad(track, width // 2, "edge"), bell / bell.sum(), "valid")


def _pitch_hz(
    phonemes: Sequence[Phoneme], seconds: float, steps: int, voice: Voice, rng: np.random.Generator
) -> np.ndarray:
    """Pitch [steps]: falls over each phrase, rises on stress, drifts a little."""
    time_s = np.arange(steps) * _HOP_S
    contour = np.ones(steps)
    phrase_start = 0.0
    breaks = [p.start_s for p in phonemes if p.name == SILENCE and p.end_s - p.start_s > 0.25]
    for phrase_end in [*breaks, seconds]:
        now = (time_s >= phrase_start) & (time_s < phrase_end + 0.3)
        contour[now] = 1.12 - 0.27 * (time_s[now] - phrase_start) / max(0.4, phrase_end - phrase_start)
        phrase_start = phrase_end
    for phoneme in phonemes:
        if PHONES[phoneme.name].kind == "vowel":
            contour[(time_s >= phoneme.start_s) & (time_s < phoneme.end_s)] *= 1 + 0.25 * (phoneme.stress - 1)
    drift = np.convolve(rng.standard_normal(steps + 120), np.hanning(121), "valid")
    return voice.pitch_hz * _smoothed(contour, 29) * (1 + 0.035 * drift / drift.std())


def _resonance(hz: np.ndarray, centre_hz: np.ndarray | float, bandwidth_hz: np.ndarray | float) -> np.ndarray:
    """Gain of one formant at frequencies `hz`, 1 at 0 Hz."""
    half_sq = bandwidth_hz**2 / 4
    below, above = (hz - centre_hz) ** 2 + half_sq, (hz + centre_hz) ** 2 + half_sq
    return (centre_hz**2 + half_sq) / np.sqrt(below * above)


def _harmonics(tracks: _Articulation, pitch_hz: np.ndarray, count: int) -> np.ndarray:
    """The voiced part [count]: every harmonic of the pitch, as loud as the formants let it be."""
    step_s, sample_s = np.arange(len(pitch_hz)) * _HOP_S, np.arange(count) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(np.interp(sample_s, step_s, pitch_hz) / SAMPLE_RATE)
    sound = np.zeros(count)
    for number in range(1, _HARMONICS + 1):
        hz = pitch_hz * number
        level = tracks.voicing * number**-0.5 * (hz < _HIGHEST_HZ)
        for formant, bandwidth in enumerate(_BANDWIDTHS_HZ):
            level = level * _resonance(hz, tracks.formants_hz[:, formant], bandwidth + 60 * tracks.nasal)
        for centre_hz, bandwidth in _FIXED_FORMANTS:
            level = level * _resonance(hz, centre_hz, 2 * bandwidth)
        if number > 4:
            level = level * (1 - 0.75 * tracks.nasal)
        if level.max(initial=0.0) > 1e-4:
            # the offset spreads the peaks of the wave, as a real glottis does
            sound += np.interp(sample_s, step_s, level) * np.sin(phase * number + 0.13 * number**2)
    return sound


def _noise(tracks: _Articulation, count: int, rng: np.random.Generator) -> np.ndarray:
    """The breathy part [count]: overlapping windows of white noise with a bell-shaped spectrum."""
    hop = _NOISE_WINDOW // 2
    frames = count // hop
    spectrum = np.fft.rfft(rng.standard_normal((frames, _NOISE_WINDOW)) * np.hanning(_NOISE_WINDOW), axis=1)
    step = np.minimum((np.arange(frames) * hop / SAMPLE_RATE / _HOP_S).astype(int), len(tracks.noise) - 1)
    level, centre_hz, width_hz = tracks.noise[step].T[:, :, None]
    hz = np.fft.rfftfreq(_NOISE_WINDOW, 1 / SAMPLE_RATE)
    spectrum *= level * np.exp(-0.5 * ((hz - centre_hz) / (0.6 * width_hz)) ** 2)
    sound = np.zeros(count + _NOISE_WINDOW)
    at = np.arange(frames)[:, None] * hop + np.arange(_NOISE_WINDOW)
    np.add.at(sound, at.ravel(), np.fft.irfft(spectrum, n=_NOISE_WINDOW, axis=1).ravel())
    return sound[:count]
