# SPDX-License-Identifier: Apache-2.0
"""A voice by rule: phones to ARKit's shapes, with coarticulation. It needs no training and drives any avatar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from avatar3d.arpabet import SILENCE
from avatar3d.contracts import Listen, Spell
from avatar3d.errors import InputError
from avatar3d.face.arkit import SCORES
from avatar3d.face.lips import lip_opening
from avatar3d.motion._at_rest import at_rest
from avatar3d.motion._coarticulation import spoken_scores
from avatar3d.motion._polish import BlinkHabit, blinks, speech_gate
from avatar3d.records import FPS, Motion, Sound, TimedPhone, Track, frame_count

__all__ = ["Viseme"]

_USUAL_HABIT = BlinkHabit()
_SHUT_SHARE = 0.05  # of the frames: those with the smallest opening
_LIDS = [SCORES.index("eyeBlinkRight"), SCORES.index("eyeBlinkLeft")]


class Viseme:
    """Sound to motion in basis "arkit" (contracts.Speak).

    The mouth is told by rule where to be for each phone. The scores at rest are the person's own where a track has
    been seen (`of`): detectors seldom call a resting face 0, and lips that must meet meet from there.
    """

    usual_audio = "phones"

    def __init__(self, listen: Listen | None, rest: np.ndarray | None = None, habit: BlinkHabit = _USUAL_HABIT) -> None:
        """
        Args:
            listen: a feature that knows phones (contracts.Spell).
            rest: [52] scores of the resting face; None: zeros.

        Raises:
            InputError: the feature does not know phones.
        """
        if not isinstance(listen, Spell):
            raise InputError("the voice viseme needs an audio feature that knows phones", "choose --audio phones")
        self.listen: Listen | None = listen
        self._spell: Spell = listen
        self.rest = np.zeros(len(SCORES), np.float32) if rest is None else rest
        self.habit = habit

    @classmethod
    def of(cls, listen: Listen, track: Track) -> Self:
        """The voice of a tracked person: the rules, from how this face rests and as often as it blinks."""
        rows = np.flatnonzero(track.confidence[: track.fitted_frames] > 0)
        rows = rows[np.isfinite(track.landmarks.scores[rows]).all(1)]
        habit = BlinkHabit.of(track.motion.blink[rows])
        opening = lip_opening(track.neutral, track.basis, track.motion.expression[rows])
        if not len(rows):
            return cls(listen, habit=habit)
        shut = rows[opening <= np.quantile(opening, _SHUT_SHARE)]
        rest = np.median(track.landmarks.scores[shut], axis=0).astype(np.float32)
        rest[_LIDS] = 0  # lids are said by the blink
        return cls(listen, rest, habit)

    def __call__(self, sound: Sound, seed: int = 0) -> Motion:
        """Motion with T = round(sound.seconds * FPS) rows; the seed decides when the lids close."""
        frames = frame_count(sound)
        said = shapes_from_phones(self._spell.phones(sound), frames, seed, self.habit)
        lids = said.expression[:, _LIDS]
        moved = said.expression * speech_gate(sound)[:, None] + self.rest
        moved[:, _LIDS] = lids
        return replace(said, expression=moved.clip(0, 1))

    def config(self) -> dict[str, Any]:
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """How the person rests and blinks."""
        habit = torch.tensor([self.habit.log_interval, self.habit.log_spread], dtype=torch.float32)
        return {"rest": torch.from_numpy(self.rest), "habit": habit}

    @classmethod
    def restore(
        cls,
        config: Mapping[str, Any],  # noqa: ARG003 - Saved's
        tensors: Mapping[str, Tensor],
        listen: Listen | None = None,
    ) -> Self:
        """The voice that `tensors()` came from.

        Raises:
            InputError: `listen` does not know phones.
        """
        return cls(listen, tensors["rest"].numpy(), BlinkHabit(*tensors["habit"].tolist()))


def shapes_from_phones(
    phones: Sequence[TimedPhone], frames: int | None = None, seed: int = 0, habit: BlinkHabit = _USUAL_HABIT
) -> Motion:
    """The motion, in basis "arkit", of a face that says `phones`; gaze and head stay at rest.

    Args:
        phones: in order of time, of any source; ARPAbet, with stress or without. Gaps are silence.
        frames: how many rows; None: up to the end of the last phone.
        seed: decides when the lids close.

    Raises:
        InputError: phones are not in order.
    """
    late = any(after.start_s < before.start_s for before, after in pairwise(phones))
    if late or any(phone.end_s < phone.start_s for phone in phones):
        raise InputError("the phones are not in order of time", "sort them by start, each ending after it starts")
    until_s = phones[-1].end_s if phones else 0.0
    count = round(until_s * FPS) if frames is None else frames
    heard = [phone for phone in phones if phone.symbol != SILENCE]
    expression = spoken_scores(heard, (np.arange(count) + 0.5) / FPS)
    blink = blinks(count, habit, np.random.default_rng(seed))
    expression[:, _LIDS] = blink
    return at_rest(expression, blink, "arkit")
