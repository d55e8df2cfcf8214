# SPDX-License-Identifier: Apache-2.0
"""How the mouths of phones run into one another.

Each phone pulls the mouth towards its target with a force that fades before and after it; where the mouth is, is the
mean of all targets weighted by force (dominance functions: Loefqvist, 1990; Cohen and Massaro, 1993). A mean is never
extreme, but some phones are nothing without their extreme: bilabials seal the lips and labiodentals tuck the lower
one, on top of the mean and long enough that no frame rate misses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from avatar3d.arpabet import SILENCE, plain
from avatar3d.face.arkit import SCORES
from avatar3d.motion._viseme_table import BILABIAL, JAW, LABIODENTAL, MOUTHS, SHAPES, Glide, Mouth
from avatar3d.records import TimedPhone

_BEFORE_S, _AFTER_S = 0.085, 0.065  # a force fades to 1/e over these: lips prepare sooner than they let go
_ABRUPTNESS = 1.4  # of the fading: 1 blurs phones into their neighbours, 2 jumps from one to the next
_HELD = 0.5  # share of a phone's time, its middle, in which its force is full
_WHOLE_REST_S = 0.25  # a shorter silence shuts the mouth less, since it is part of speaking
_REST_BEFORE_S = 0.10  # the mouth shuts as slowly as this
_OPENS_BEFORE_S = 0.12  # and opens so long before the first sound
_LEAST_HOLD_S = 0.060  # lips that must meet do so for so long at least: more than a frame
_EASE_S = 0.065  # and come and go over so much
_RELEASED = 0.25  # share of a bilabial's time, its end, in which the lips already part
_LEAD_S = 0.03  # lips are where they go before it is heard: between what two filmed people show, 0 and 60 ms
_TINY = 1e-9
# what would part the lips, and so ends where they must meet; of the jaw a little is left, which the lips bridge
_PARTS_LIPS = {"mouthLowerDown": 0.0, "mouthUpperUp": 0.0, "mouthFunnel": 0.0, "mouthStretch": 0.3, "mouthSmile": 0.3}
_PARTS_LIP_AND_TEETH = {"mouthLowerDown": 0.0, "mouthFunnel": 0.0, "mouthPucker": 0.2}


@dataclass(frozen=True)
class _Pull:
    """One target, when it is held, and over what it fades."""

    mouth: Mouth
    start_s: float
    end_s: float
    before_s: float = _BEFORE_S
    after_s: float = _AFTER_S
    held: float = _HELD

    def force(self, at_s: np.ndarray) -> np.ndarray:
        """0..1 at times [T]."""
        middle, half = (self.start_s + self.end_s) / 2, self.held * (self.end_s - self.start_s) / 2
        before = (middle - half - at_s).clip(0) / self.before_s
        after = (at_s - middle - half).clip(0) / self.after_s
        return np.exp(-(before**_ABRUPTNESS) - after**_ABRUPTNESS)

    def reached(self, at_s: np.ndarray) -> np.ndarray:
        """0..1 at times [T]: 1 while lips that must meet do."""
        end_s = self.end_s - _RELEASED * (self.end_s - self.start_s)
        half = max(end_s - self.start_s, _LEAST_HOLD_S) / 2
        away = (np.abs(at_s - (self.start_s + end_s) / 2) - half).clip(0, _EASE_S)
        return 0.5 * (1 + np.cos(np.pi * away / _EASE_S))


def spoken_scores(phones: Sequence[TimedPhone], at_s: np.ndarray) -> np.ndarray:
    """Scores [T,52] of a mouth that says `phones`, in order of time, at the times `at_s` [T].

    Only jaw and lips move; where no phone is, the mouth rests, which is 0.
    """
    pulls, at_s = list(_pulls(phones)), at_s + _LEAD_S
    firm = np.array([(pull.mouth.jaw, pull.mouth.lips) for pull in pulls])  # [P,2]
    force = np.stack([pull.force(at_s) for pull in pulls])  # [P,T]
    values = {}
    for shape in SHAPES:
        weight = force * firm[:, [0 if shape == JAW else 1]]
        target = np.array([pull.mouth.shapes.get(shape, 0.0) for pull in pulls])
        values[shape] = target @ weight / (weight.sum(0) + _TINY)
    _impose(values, LABIODENTAL, _PARTS_LIP_AND_TEETH, _most([p for p in pulls if p.mouth.tuck], at_s))
    _impose(values, BILABIAL, _PARTS_LIPS, _most([p for p in pulls if p.mouth.seal], at_s))
    scores = np.zeros((len(at_s), len(SCORES)), np.float32)
    for column, name in enumerate(SCORES):
        shape = name.removesuffix("Left").removesuffix("Right")
        if shape in values:
            scores[:, column] = values[shape]
    return scores


def _pulls(phones: Sequence[TimedPhone]) -> Iterator[_Pull]:
    """The targets of phones and of the silences between, before and after them."""
    end_s = phones[-1].end_s if phones else 0.0
    at_s = -_WHOLE_REST_S
    for phone in phones:
        if phone.start_s > at_s:
            yield _rest(at_s, phone.start_s)
        yield from _pulls_of(phone)
        at_s = phone.end_s
    yield _rest(end_s, end_s + _WHOLE_REST_S)


def _pulls_of(phone: TimedPhone) -> Iterator[_Pull]:
    symbol = plain(phone.symbol)
    if symbol == SILENCE:
        yield _rest(phone.start_s, phone.end_s)
        return
    mouth = MOUTHS[symbol]
    if isinstance(mouth, Glide):
        turn_s = phone.start_s + mouth.turn * (phone.end_s - phone.start_s)
        yield _Pull(mouth.start, phone.start_s, turn_s)
        yield _Pull(mouth.end, turn_s, phone.end_s)
    else:
        yield _Pull(mouth, phone.start_s, phone.end_s)


def _rest(start_s: float, end_s: float) -> _Pull:
    """A silence: the weaker, the shorter; it ends before the next sound is heard."""
    mouth = MOUTHS[SILENCE]
    assert isinstance(mouth, Mouth)
    share = min((end_s - start_s) / _WHOLE_REST_S, 1.0)
    early_s = min(_OPENS_BEFORE_S, (end_s - start_s) / 2)
    weaker = replace(mouth, jaw=mouth.jaw * share, lips=mouth.lips * share)
    return _Pull(weaker, start_s, end_s - early_s, before_s=_REST_BEFORE_S, held=1.0)


def _most(pulls: Sequence[_Pull], at_s: np.ndarray) -> np.ndarray:
    """How far any of the targets must be reached at times [T], 0..1."""
    return np.max([np.zeros(len(at_s)), *(pull.reached(at_s) for pull in pulls)], axis=0)


def _impose(values: dict[str, np.ndarray], mouth: Mouth, left: Mapping[str, float], share: np.ndarray) -> None:
    """Moves values [T] a share [T] of the way to a mouth; of shapes in `left` so much stays, others are not touched."""
    for shape, target in mouth.shapes.items():
        reached = np.minimum(values[shape], target) if shape == JAW else target
        values[shape] = (1 - share) * values[shape] + share * reached
    for shape, kept in left.items():
        values[shape] = values[shape] * (1 - share * (1 - kept))
