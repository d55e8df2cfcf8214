# SPDX-License-Identifier: Apache-2.0
"""`avatar3d bench live`: how soon and how cheaply an avatar's voice follows speech that is still coming."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d.avatars import open_avatar
from avatar3d.contracts import SpeakLive
from avatar3d.data_prep.synthetic.voice import speech_sample
from avatar3d.errors import InputError
from avatar3d.recipes._clock import peak_rss_mb
from avatar3d.recipes._text import table
from avatar3d.recipes._timing import as_figures
from avatar3d.records import FPS, Progress, Sound, Watch, unwatched
from avatar3d.threads import torch_threads

MINUTES = 10
CHUNK_S = 0.02  # what a microphone brings at once
_MINUTE_S = 60.0


@dataclass(frozen=True)
class LiveRow:
    """One long speech in chunks, on one thread. Lag: how much sound had come after the end of a frame it completed."""

    seconds: float  # of speech
    chunk_ms: float
    real_time_factor: float  # processor time over the length of the sound, features included
    push_ms_p50: float  # wall time of the pushes that complete a frame
    push_ms_p99: float
    look_ahead_ms: float  # as the voice promises
    lag_ms_first: float  # the longest in the first minute
    lag_ms_last: float  # and in the last
    grown_mb: float | None  # of the process's peak memory, from the first minute to the end
    voice_mb: float  # of its tensors
    load: float  # of the whole machine, at the end


def bench_live(avatar: Path, minutes: int = MINUTES, watch: Watch = unwatched) -> dict[str, Any]:
    """Lets the avatar's live voice say `minutes` of a made-up voice, in chunks of 20 ms.

    Returns:
        `{"rows": [LiveRow as a dict]}`.

    Raises:
        InputError: not an avatar, or one without such a voice.
    """
    voice = open_avatar(avatar).live
    if voice is None:
        raise InputError(
            f"{avatar}: has no voice for speech that is still coming",
            "create it again, from a video with sound and with another preset than quick",
        )
    with torch_threads(1):
        row = _measured(voice, speech_sample(_MINUTE_S, seed=1), minutes, watch)
    watch(Progress("bench", 1.0))
    return {"rows": [as_figures(row)]}


def report_live(figures: Mapping[str, Any]) -> str:
    """The rows as a table for the terminal."""
    heads = (
        "speech s, chunk ms", "real-time factor", "push ms p50, p99", "look-ahead ms", "lag ms first, last minute",
        "grown MB", "voice MB", "load",
    )  # fmt: skip
    return table([heads, *map(_cells, figures["rows"])])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['seconds']:g}, {row['chunk_ms']:g}",
        f"{row['real_time_factor']:.4f}",
        f"{row['push_ms_p50']:.2f}, {row['push_ms_p99']:.2f}",
        f"{row['look_ahead_ms']:.0f}",
        f"{row['lag_ms_first']:.0f}, {row['lag_ms_last']:.0f}",
        "not told" if row["grown_mb"] is None else f"{row['grown_mb']:.1f}",
        f"{row['voice_mb']:.2f}",
        f"{row['load']:.1f}",
    )


def _measured(voice: SpeakLive, minute: Sound, minutes: int, watch: Watch) -> LiveRow:
    live = voice.live(minute.rate)
    size = round(CHUNK_S * minute.rate)
    pushes_ms: list[float] = []
    lags_s: list[float] = []
    most_mb: list[float | None] = []
    heard, frames, spent_s = 0, 0, 0.0
    for done in range(minutes):
        watch(Progress("bench", done / minutes, f"minute {done + 1}"))
        lag_s = 0.0
        for chunk in _chunks(minute.samples, size):
            started, used = time.perf_counter(), time.process_time()
            fresh = len(live.push(chunk))
            spent_s += time.process_time() - used
            heard += len(chunk)
            if fresh:
                pushes_ms.append(1e3 * (time.perf_counter() - started))
                lag_s = max(lag_s, heard / minute.rate - (frames + 1) / FPS)
                frames += fresh
        lags_s.append(lag_s)
        most_mb.append(peak_rss_mb())
    first_mb, last_mb = most_mb[0], most_mb[-1]
    seconds = heard / minute.rate
    return LiveRow(
        seconds=seconds,
        chunk_ms=1e3 * CHUNK_S,
        real_time_factor=spent_s / seconds,
        push_ms_p50=float(np.quantile(pushes_ms, 0.5)),
        push_ms_p99=float(np.quantile(pushes_ms, 0.99)),
        look_ahead_ms=1e3 * live.look_ahead_s,
        lag_ms_first=1e3 * lags_s[0],
        lag_ms_last=1e3 * lags_s[-1],
        grown_mb=None if first_mb is None or last_mb is None else last_mb - first_mb,
        voice_mb=sum(tensor.numel() * tensor.element_size() for tensor in voice.tensors().values()) / 1e6,
        load=os.getloadavg()[0],
    )


def _chunks(samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for begin in range(0, len(samples), size):
        yield samples[begin : begin + size]
