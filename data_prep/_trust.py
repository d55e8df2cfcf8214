# SPDX-License-Identifier: Apache-2.0
"""Which frames show this person's face, which landmarks in them are its own, and what is wrong with the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avatar3d.data_prep._sight import Sight
from avatar3d.data_prep._smooth import gap_lengths, shots
from avatar3d.records import FAULTS

BRIDGED_CONFIDENCE = 0.1  # of a frame without a usable face between frames with one; a usable one has at least 0.25
SUSPECT = 2.5  # times the usual error: up to there all is well, from there on landmarks are weighed one by one
_WORST = 5.0  # times the usual error: from there on a frame is not used
_STRANGE = 8.0  # times the usual noise: not this face
_PATCHY = 1.2  # times the noise of most landmarks: the others are far off, so something lies over them
_JUMP_U = 1.0  # a head does not leap by 10 cm from one frame to the next
_DRIFT_U = 0.05  # by so much more a head may have moved for every frame that nobody saw it
_STAY = 25  # frames: who is elsewhere for so long and fits the rig came there by a cut that nobody listed
_STUCK = 3  # repeats in a row are a stuck video; fewer are one only if they are rare
_RARE = 0.05
_SAME = 0.02  # of the usual error: landmarks that moved by less were found in the same picture
_CAUCHY = 2.0  # landmarks beyond so many times the frame's own noise lose weight


@dataclass(frozen=True)
class Doubt:
    """Frames whose landmarks are weighed one by one."""

    rows: np.ndarray  # [R] frames
    weights: Tensor  # [R,V] 0..1: what each landmark counts, against one of a usual frame

    def within(self, rows: np.ndarray) -> Tensor | None:
        """Weights [t,V] of some frames, in rising order; None where there is no doubt about any."""
        known = np.isin(rows, self.rows)
        if not known.any():
            return None
        weights = self.weights.new_ones(len(rows), self.weights.shape[1])
        weights[torch.from_numpy(known)] = self.weights[torch.from_numpy(np.isin(self.rows, rows))]
        return weights


@dataclass(frozen=True)
class Standing:
    """What each frame is worth."""

    seen: np.ndarray  # [T] bool: it has a pose of its own, be it a rough one
    usable: np.ndarray  # [T] bool: that pose is good
    fault: np.ndarray  # [T] uint8, positions in FAULTS


def landmark_weights(distance: Tensor, usual: float) -> tuple[Tensor, Tensor]:
    """Weights [t,V] of landmarks that lie [t,V] u from the rig, and each frame's noise [t] in u.

    The noise is what the better half of the landmarks shows, so a hand over a third of the face does not raise it.
    Landmarks far beyond it are not the face's (Geman and McClure, 1987).
    """
    noise = 1.2 * distance.median(1).values  # the root mean square of Rayleigh-distributed distances
    reach = _CAUCHY * noise.clamp_min(usual)
    weights = 1 / (1 + (distance / reach[:, None]).square()).square()
    return weights, noise


def standing(
    sight: Sight, found: np.ndarray, error: np.ndarray, noise: np.ndarray, usual: float, moved: np.ndarray
) -> Standing:
    """Judges frames by their errors.

    Args:
        found: [T] bool, a face was found.
        error: [T] root mean square distance of all landmarks from the rig, u.
        noise: [T] that of the trusted ones, u.
        usual: the median error, u.
        moved: [T] bool, the head is suddenly elsewhere.
    """
    times, worth = error / usual, noise / usual
    repeated = repeats(sight, found, usual)
    strange = found & ((worth > _STRANGE) | moved)
    seen = found & ~strange & ~repeated
    usable = seen & (times < _WORST)
    rough = seen & (times > SUSPECT)
    fault = np.zeros(len(found), np.uint8)
    fault[~found] = FAULTS.index("no face found")
    fault[rough] = FAULTS.index("blurred")
    fault[rough & (error > _PATCHY * noise)] = FAULTS.index("face covered")
    fault[repeated] = FAULTS.index("picture repeated")
    fault[strange] = FAULTS.index("another face")
    return Standing(seen, usable, fault)


def confidence_of(
    error: np.ndarray, usable: np.ndarray, training: np.ndarray, cuts: tuple[int, ...], longest_bridge: int
) -> np.ndarray:
    """[T] how much a frame is to be trusted, of its root mean square distance from the rig [T] u.

    A usable frame of confidence c has landmarks 2.5 / sqrt(c) times as far from the rig as usual (1: up to 2.5 times;
    0.25: 5 times, the worst that is used). One that is not usable has BRIDGED_CONFIDENCE in a gap of at most
    `longest_bridge` frames, 0 in a longer one.
    """
    typical = np.median(error[usable & training])
    confidence = np.clip((SUSPECT * typical / np.maximum(error, typical)) ** 2, 0.25, 1.0)
    bridge = ~usable & (gap_lengths(usable, cuts) <= longest_bridge)
    return np.where(usable, confidence, np.where(bridge, BRIDGED_CONFIDENCE, 0.0))


def repeats(sight: Sight, found: np.ndarray, usual: float) -> np.ndarray:
    """[T] bool, frames whose picture is the one before, shown again.

    A video that was filmed at a lower rate repeats pictures all the time; that is how it is, and no fault.
    """
    same = np.zeros(len(sight), bool)
    for rows in sight.blocks():
        first = max(rows.start - 1, 0)
        step = sight[first : rows.stop].diff(dim=0).square().sum(-1).mean(-1).sqrt().numpy()
        same[first + 1 : rows.stop] = step < _SAME * usual
    same &= found
    same[1:] &= found[:-1]
    lengths = gap_lengths(~same, ())
    brief = same & (lengths < _STUCK)
    return same & (~brief | (brief.mean() < _RARE))


def strangers(place: np.ndarray, usable: np.ndarray, cuts: tuple[int, ...]) -> np.ndarray:
    """[T] bool, frames that took another face for this one: the head, at place [T,2] u, leaps there and back.

    Between leaps a head stays on one path. Of all paths through a shot the longest is this person's.
    """
    strange = np.zeros(len(usable), bool)
    for shot in shots(len(usable), cuts):
        rows = np.arange(shot.start, shot.stop)[usable[shot]]
        if len(rows) < 2:
            continue
        leaps = np.flatnonzero(np.linalg.norm(np.diff(place[rows], axis=0), axis=1) > _reach(np.diff(rows))) + 1
        pieces = np.split(rows, leaps)
        kept = set(_longest_path(pieces, place)) if len(pieces) > 1 else {0}
        for number, piece in enumerate(pieces):
            strange[piece] = number not in kept and len(piece) < _STAY
    return strange


def _longest_path(pieces: list[np.ndarray], place: np.ndarray, look_back: int = 50) -> list[int]:
    """Positions of the pieces that together are the longest path without a leap."""
    best, before = [len(piece) for piece in pieces], [-1] * len(pieces)
    for here, piece in enumerate(pieces):
        for there in range(max(0, here - look_back), here):
            last, first = pieces[there][-1], piece[0]
            apart = np.linalg.norm(place[first] - place[last])
            if apart <= _reach(first - last) and best[there] + len(piece) > best[here]:
                best[here], before[here] = best[there] + len(piece), there
    path = [int(np.argmax(best))]
    while before[path[-1]] >= 0:
        path.append(before[path[-1]])
    return path


def _reach(frames: np.ndarray) -> np.ndarray:
    return _JUMP_U + _DRIFT_U * (frames - 1)
