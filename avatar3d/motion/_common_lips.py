# SPDX-License-Identifier: Apache-2.0
"""Lips of different people in one space, so that what one has said can teach another.

Every track has the same vertices, so that offsets of lips and chin, in units of the distance of the eyes, can be
compared as they are. The principal components of what several people do are the axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from avatar3d.face.groups import CHIN, LIPS
from avatar3d.records import Track

COMPONENTS = 8
_MOVED = [*LIPS, *CHIN]
_EYE_CORNERS = [33, 263]  # outer


@dataclass(frozen=True)
class CommonLips:
    """The axes: offsets of lips and chin per unit of each component, which has unit variance over the people."""

    axes: np.ndarray  # [V',3,C] float32, in distances of the outer corners of the eyes

    @classmethod
    def of(cls, tracks: Sequence[Track], components: int = COMPONENTS) -> CommonLips:
        """The axes along which several people move most, each person counting alike."""
        movers = [_moved(track) for track in tracks]  # [D,K]; codes have unit variance
        # a person who moves much must not be the only one heard
        alike = [mover / np.linalg.norm(mover) for mover in movers]
        directions = np.linalg.svd(np.concatenate(alike, 1), full_matrices=False)[0][:, :components]
        spread = np.sqrt(np.mean([np.square(directions.T @ mover).sum(1) for mover in movers], axis=0))
        return cls((directions * (spread + 1e-9)).reshape(len(_MOVED), 3, -1).astype(np.float32))

    def codes(self, track: Track, expression: np.ndarray) -> np.ndarray:
        """Components [T,C] of a person's expressions [T,K]: what of them lips and chin show."""
        axes = self.axes.reshape(-1, self.axes.shape[-1]).astype(np.float64)
        map_of_codes = np.linalg.lstsq(axes, _moved(track), rcond=None)[0]  # [C,K]
        return (expression @ map_of_codes.T).astype(np.float32)

    def track(self, track: Track) -> Track:
        """The same person as if the components were the tracker's basis; of the face only lips and chin move."""
        basis = np.zeros((*track.neutral.shape, self.axes.shape[-1]), np.float32)
        basis[_MOVED] = self.axes * _eye_distance(track)
        expression = self.codes(track, track.motion.expression)
        arkit_map = np.zeros((len(track.arkit_map), self.axes.shape[-1]), np.float32)
        return replace(track, basis=basis, motion=replace(track.motion, expression=expression), arkit_map=arkit_map)


def _moved(track: Track) -> np.ndarray:
    """[D,K] offsets of lips and chin per unit of a person's codes, in distances of the eyes."""
    moved = track.basis[_MOVED].astype(np.float64) / _eye_distance(track)
    return moved.reshape(-1, track.basis.shape[-1])


def _eye_distance(track: Track) -> float:
    return float(np.linalg.norm(np.subtract(*track.neutral[_EYE_CORNERS].astype(np.float64))))
