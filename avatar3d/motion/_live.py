# SPDX-License-Identifier: Apache-2.0
"""A voice at work on speech that is still coming: what a frame needs of the past is kept, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avatar3d.contracts import Hearing
from avatar3d.motion._at_rest import at_rest
from avatar3d.motion._live_gate import AHEAD, LiveGate
from avatar3d.motion._live_net import LiveNet
from avatar3d.motion._manner import Manner
from avatar3d.motion._polish import BLINK_PROFILE, BlinkHabit, blink_interval_s, first_blink_s
from avatar3d.motion._tcn_net import TcnNet
from avatar3d.records import FPS, Heard, Motion


class LiveVoice:
    """`tcn_live` saying one sound (contracts.Speaking)."""

    def __init__(self, ear: Hearing, ear_waits_s: float, net: TcnNet, manner: Manner, seed: int) -> None:
        self.look_ahead_s = ear_waits_s + max(net.shape.after, AHEAD) / FPS
        self._ear, self._manner = ear, manner
        self._net, self._gate = LiveNet(net), LiveGate(manner.pause_frames)
        self._lids = LiveBlinks(manner.habit, np.random.default_rng(seed))
        self._said = np.zeros((0, net.shape.expressions), np.float32)  # whose gate is not known yet
        self._open = np.zeros(0, np.float32)  # of frames that are not said yet

    def push(self, samples: np.ndarray) -> Motion:
        """The frames that these samples [S] complete."""
        return self._finished(*self._taken(self._ear.push(samples)))

    def close(self) -> Motion:
        """The frames that were still to come."""
        said, gate = self._taken(self._ear.close())
        return self._finished(np.concatenate([said, self._net.close()]), np.concatenate([gate, self._gate.close()]))

    def _taken(self, heard: Heard) -> tuple[np.ndarray, np.ndarray]:
        return self._net.push(heard.rows), self._gate.push(heard)

    def _finished(self, said: np.ndarray, gate: np.ndarray) -> Motion:
        self._said, self._open = np.concatenate([self._said, said]), np.concatenate([self._open, gate])
        frames = min(len(self._said), len(self._open))
        expression = self._manner.kept_live(self._said[:frames], self._open[:frames])
        self._said, self._open = self._said[frames:], self._open[frames:]
        blink = self._lids.next(frames)
        return at_rest(self._manner.with_lids(expression, blink), blink)


def joined(parts: Sequence[Motion]) -> Motion:
    """One motion of its consecutive pieces."""
    return Motion(
        expression=np.concatenate([part.expression for part in parts]),
        blink=np.concatenate([part.blink for part in parts]),
        gaze=np.concatenate([part.gaze for part in parts]),
        head=np.concatenate([part.head for part in parts]),
        fps=parts[0].fps,
    )


class LiveBlinks:
    """`blinks`, a few frames at a time: the same seed shuts the lids in the same frames."""

    def __init__(self, habit: BlinkHabit, rng: np.random.Generator) -> None:
        self._habit, self._rng = habit, rng
        self._at_s = first_blink_s(habit, rng)
        self._frame = 0
        self._coming = np.zeros(len(BLINK_PROFILE), np.float32)  # what blinks that have begun still do

    def next(self, frames: int) -> np.ndarray:
        """Lid closings [frames,2] 0..1 of the next frames."""
        closing = np.concatenate([self._coming, np.zeros(frames, np.float32)])
        while (first := round(self._at_s * FPS) - self._frame) < frames:
            span = slice(first, first + len(BLINK_PROFILE))
            closing[span] = np.maximum(closing[span], BLINK_PROFILE)
            self._at_s += blink_interval_s(self._habit, self._rng)
        self._coming, self._frame = closing[frames:], self._frame + frames
        return np.repeat(closing[:frames, None], 2, axis=1)
