# SPDX-License-Identifier: Apache-2.0
"""Which phone is heard: English phones by pocketsphinx, which brings its own model and decodes 10 ms at a time."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.signal.windows import hann

from avatar3d.arpabet import PHONES, SILENCE, plain
from avatar3d.dsp import HOP, HOPS_PER_S, loudness_db, resampled
from avatar3d.errors import InputError
from avatar3d.records import FPS, SAMPLE_RATE, Sound, TimedPhone, frame_count

__all__ = ["Phones"]

_CHILD = Path(__file__).with_name("_phones_child.py")
_HOPS_PER_ROW = int(HOPS_PER_S / FPS)
_EDGE = hann(2 * _HOPS_PER_ROW + 2)[1:-1]  # weight of the hops about a row: a change of phone takes 80 ms
_PIECE_S = (20.0, 30.0)  # a long sound is cut at the quietest moment between these, over and over
_SHORTEST_S = 0.1  # the decoder's longest phone model needs some frames
_LOUDEST, _QUIET_PEAK = 0.9, 0.01  # a quieter sound than the latter is not made loud
_WAIT_S = 300.0


class Phones:
    """Shares of the phones `avatar3d.arpabet.PHONES` in each row (contracts.Spell).

    English alone is known; of other languages it hears what comes nearest. The decoder is told no words, only which
    phones follow one another, so it makes mistakes, most of them between phones that look alike on the lips. It runs
    in a process of its own, which may crash without taking this one along.

    Source: CMU Sphinx, "Phoneme Recognition" (allphone mode).
    """

    def __init__(self) -> None:
        self.width = len(PHONES)
        self.look_ahead_s = _PIECE_S[1]  # the best path through a piece is known at its end

    def __call__(self, sound: Sound) -> np.ndarray:
        """Rows [T,width] float32 at FPS that sum to 1, T = round(sound.seconds * FPS)."""
        return _rows(self.phones(sound), frame_count(sound))

    def phones(self, sound: Sound) -> list[TimedPhone]:
        """The phones of a sound, in order and without gaps; noise and breath are silence.

        Raises:
            InputError: pocketsphinx is not installed, or its process has failed.
        """
        if importlib.util.find_spec("pocketsphinx") is None:
            raise InputError(
                "the audio feature phones needs the package pocketsphinx", "pip install 'pocketsphinx>=5.0.4'"
            )
        samples = resampled(sound)
        peak = float(np.abs(samples).max(initial=0.0))
        steps = (samples * (_LOUDEST * 32767 / max(peak, _QUIET_PEAK))).astype("<i2")
        return _joined([phone for first, last in _pieces(samples) for phone in _decoded(steps, first, last)])


def _pieces(samples: np.ndarray) -> Iterator[tuple[int, int]]:
    """First and last sample of pieces that are short enough, cut where it is quiet."""
    least, most = (round(seconds * HOPS_PER_S) for seconds in _PIECE_S)
    hops = len(samples) // HOP
    begin = 0
    while hops - begin > most:
        end = begin + least + int(loudness_db(samples, begin + least, most - least).argmin())
        yield begin * HOP, end * HOP
        begin = end
    if len(samples) > begin * HOP:
        yield begin * HOP, len(samples)


def _decoded(steps: np.ndarray, first: int, last: int) -> Iterator[TimedPhone]:
    """The phones of samples [first,last), to its very end."""
    begin_s, end_s = first / SAMPLE_RATE, last / SAMPLE_RATE
    heard = _child(steps[first:last].tobytes(), begin_s, end_s) if end_s - begin_s > _SHORTEST_S else []
    at_s = begin_s
    for index, (symbol, _, last_hop) in enumerate(heard):
        until_s = end_s if index == len(heard) - 1 else min(begin_s + (last_hop + 1) / HOPS_PER_S, end_s)
        if until_s > at_s:
            yield TimedPhone(plain(symbol), at_s, until_s)
            at_s = until_s
    if at_s < end_s:
        yield TimedPhone(SILENCE, at_s, end_s)


def _child(pcm: bytes, begin_s: float, end_s: float) -> list[tuple[str, int, int]]:
    """What the decoding process says of one piece."""
    # without -P its folder would be searched for packages, and it holds files with names of packages
    command = [sys.executable, "-P", str(_CHILD)]
    try:
        ended = subprocess.run(command, input=pcm, capture_output=True, timeout=_WAIT_S, check=True)
        lines = [line.split() for line in ended.stdout.decode().splitlines()]
        return [(symbol, int(first), int(last)) for symbol, first, last in lines]
    except (subprocess.SubprocessError, ValueError) as error:
        raise InputError(
            f"the phone decoder failed between {begin_s:.1f} and {end_s:.1f} s of the sound ({error})",
            "try again, or choose another audio feature such as mel",
        ) from error


def _joined(phones: list[TimedPhone]) -> list[TimedPhone]:
    """The same with silences that follow one another made one."""
    joined: list[TimedPhone] = []
    for phone in phones:
        if joined and joined[-1].symbol == phone.symbol == SILENCE:
            joined[-1] = TimedPhone(SILENCE, joined[-1].start_s, phone.end_s)
        else:
            joined.append(phone)
    return joined


def _rows(phones: list[TimedPhone], frames: int) -> np.ndarray:
    """Shares [T,phones] of each phone in the 80 ms about every frame."""
    which = np.zeros(frames * _HOPS_PER_ROW, np.int64)
    for phone in phones:
        which[round(phone.start_s * HOPS_PER_S) : round(phone.end_s * HOPS_PER_S)] = PHONES.index(phone.symbol)
    if not frames:
        return np.zeros((0, len(PHONES)), np.float32)
    around = len(_EDGE) // 2 - _HOPS_PER_ROW // 2
    near = np.lib.stride_tricks.sliding_window_view(np.pad(which, around, mode="edge"), len(_EDGE))[::_HOPS_PER_ROW]
    shares = (near[:, :, None] == np.arange(len(PHONES))) * (_EDGE / _EDGE.sum())[:, None]
    return shares.sum(1).astype(np.float32)
