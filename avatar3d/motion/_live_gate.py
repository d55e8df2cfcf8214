# SPDX-License-Identifier: Apache-2.0
"""Whether somebody speaks, of a sound that is still coming: what closes the mouth in silence and noise."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from avatar3d.dsp import ABOVE_NOISE_DB, HOPS_PER_S, USUAL_DB, VOICED, followed, room_db
from avatar3d.records import FPS, Heard

AHEAD = 2  # frames that the gate opens before speech, since lips part before a voice is heard
_FADE = 3  # frames over which it moves
_HOPS_PER_FRAME = int(HOPS_PER_S / FPS)
_NOISE_MEMORY = 2 * HOPS_PER_S  # hops in which some gap shows the noise alone
_NOTHING_DB = -90.0  # quieter is no room but a microphone that has not begun
_VOICED_HOPS = 3  # a single voiced hop in noise is chance; a voice holds for three


class LiveGate:
    """1 where somebody speaks, 0 in silence and steady noise, with soft edges: `push` and `close` give [T] at FPS.

    A hop speaks as in `dsp.speaks`, but noise and room are judged by what came before. The gate waits AHEAD frames.
    That a pause will not be a short one is known when it has lasted, so the gate is shut `hold` frames and its fade
    after speech; until then the mouth does what the network makes of silence.

    Args:
        hold: frames that it stays open after speech, as `Manner.pause_frames`.
    """

    def __init__(self, hold: int) -> None:
        self._hold = hold
        self._level = USUAL_DB
        self._quiet = np.full(_NOISE_MEMORY - 1, np.inf)
        self._voiced = np.zeros(_VOICED_HOPS - 1, bool)
        self._spoken = np.zeros(hold + _FADE - 1, bool)  # of frames, before the first one silence

    def push(self, heard: Heard) -> np.ndarray:
        """The gate [T] of the frames that this completes."""
        hops = self._speaks(heard.loudness_db, heard.harmonicity)
        return self._opened(hops.reshape(-1, _HOPS_PER_FRAME).mean(1) >= 0.5)

    def close(self) -> np.ndarray:
        """The gate of the last frames."""
        return self._opened(np.zeros(AHEAD, bool))

    def _speaks(self, loudness: np.ndarray, harmonicity: np.ndarray) -> np.ndarray:
        if not len(loudness):
            return np.zeros(0, bool)
        level = followed(loudness, self._level)
        self._level = float(level[-1])
        quiet = np.concatenate([self._quiet, np.where(loudness > _NOTHING_DB, loudness, np.inf)])
        voiced = np.concatenate([self._voiced, harmonicity > VOICED])
        self._quiet, self._voiced = quiet[1 - _NOISE_MEMORY :], voiced[1 - _VOICED_HOPS :]
        noise = sliding_window_view(quiet, _NOISE_MEMORY).min(1)
        held = sliding_window_view(voiced, _VOICED_HOPS).all(1)
        return (loudness > room_db(level)) & (held | (loudness > noise + ABOVE_NOISE_DB))

    def _opened(self, spoken: np.ndarray) -> np.ndarray:
        spoken = np.concatenate([self._spoken, spoken])
        reach = self._hold + AHEAD + _FADE
        self._spoken = spoken[1 - reach :]
        if len(spoken) < reach:
            return np.zeros(0, np.float32)
        near = sliding_window_view(spoken, self._hold + 1 + AHEAD).any(1)
        return sliding_window_view(near, _FADE).mean(1, dtype=np.float32)
