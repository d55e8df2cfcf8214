# SPDX-License-Identifier: Apache-2.0
"""The sound of any audio or video file, mono, at one rate, in step with the pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.stream import Disposition

from avatar3d.errors import InputError
from avatar3d.media.info import opened, probe
from avatar3d.records import SAMPLE_RATE, Sound

_SHORTEST_HOLE_S = 0.05  # below it clocks are only rounded; several that add up to it are a hole
_LONGEST_HOLE_S = 60.0  # beyond it the clock is broken


def sound(path: Path, rate: int = SAMPLE_RATE) -> Sound | None:
    """The first audio track of a file, mixed to mono and resampled; None for a video without sound.

    Time 0 is the first picture's in a video (earlier sound is cut, a late start filled with silence) and the first
    sample's elsewhere. Holes in the track become silence, so that what follows stays in place.

    Raises:
        InputError: no such file, a folder, empty, neither sound nor video, or nothing in it can be decoded.
    """
    with opened(path) as container:
        pictures = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
        start_s = probe(path).start_s if pictures else None
        if not container.streams.audio:
            if pictures:
                return None
            raise InputError(f"{path}: no sound in this file", "give a wav, mp3, flac, m4a, ogg or video file")
        parts = list(_Assembly(rate, start_s).pieces(container))
    if not parts:
        raise InputError(f"{path}: its sound cannot be decoded", "export the file again, for example as wav")
    return Sound(np.concatenate(parts), rate)


class _Assembly:
    """Puts decoded pieces of sound where their presentation times say."""

    def __init__(self, rate: int, start_s: float | None) -> None:
        self._rate = rate
        self._start_s = start_s
        self._written = 0  # samples given out so far
        self._surplus = 0  # samples to leave out: they lie before the start or over what is written

    def pieces(self, container: InputContainer) -> Iterator[np.ndarray]:
        """Mono float32 arrays to be joined end to end."""
        resampler = self._resampler()
        due_s: float | None = None
        for frame in _decoded(container):
            time_s = frame.time if frame.time is not None else due_s or 0.0
            if due_s is not None and abs(time_s - due_s) > _LONGEST_HOLE_S:
                time_s = due_s
            if due_s is None or abs(time_s - due_s) > _SHORTEST_HOLE_S:
                yield from self._kept(resampler.resample(None) if due_s is not None else [])
                resampler = self._resampler()
                yield self._silence_until(time_s)
                due_s = time_s
            # counted on, not taken from each frame's time: many holes too short to fill would add up to a lag
            due_s += frame.samples / frame.sample_rate
            yield from self._kept(resampler.resample(frame))
        if due_s is not None:
            yield from self._kept(resampler.resample(None))

    def _resampler(self) -> AudioResampler:
        # the mix to mono keeps its level only for integer samples
        return AudioResampler(format="s16", layout="mono", rate=self._rate)

    def _silence_until(self, time_s: float) -> np.ndarray:
        if self._start_s is None:
            self._start_s = time_s
        missing = round((time_s - self._start_s) * self._rate) - self._written
        self._surplus = max(-missing, 0)
        self._written += max(missing, 0)
        return np.zeros(max(missing, 0), np.float32)

    def _kept(self, frames: list[AudioFrame]) -> Iterator[np.ndarray]:
        for frame in frames:
            samples = frame.to_ndarray()[0].astype(np.float32) / 32768
            left_out = min(self._surplus, len(samples))
            self._surplus -= left_out
            self._written += len(samples) - left_out
            yield samples[left_out:]


def _decoded(container: InputContainer) -> Iterator[AudioFrame]:
    for packet in container.demux(audio=0):
        try:
            yield from packet.decode()
        except av.error.FFmpegError:  # a damaged packet is a hole, and holes become silence
            continue
