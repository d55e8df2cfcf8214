# SPDX-License-Identifier: Apache-2.0
"""Which shots show the same room from the same place: they share what is learned of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avatar3d.data_prep._silhouette import median_place, places_of, silhouette_score
from avatar3d.data_prep._smooth import shots
from avatar3d.data_prep._still import reduced
from avatar3d.records import Capture, Track

_PX = 32  # rooms are compared at about this size
_ALIKE = 0.035  # mean difference of two pictures of one room, brightness aside
_LIGHT_MOST = 0.15  # change of brightness within one room
_COMMON = 0.08  # share of the picture that both must leave free
_SIZES = 1.25  # ratio of two head sizes in one room


@dataclass
class _Group:
    shots: list[slice]
    picture: np.ndarray  # [h,w,3] mean where free
    free: np.ndarray  # [h,w] bool, where no person can be
    px_per_u: float

    def holds(self, other: _Group) -> bool:
        common = self.free & other.free
        if common.mean() < _COMMON or max(self.px_per_u, other.px_per_u) > _SIZES * min(self.px_per_u, other.px_per_u):
            return False
        off = (self.picture - other.picture)[common]
        light = np.median(off, axis=0)
        return bool(np.abs(light).max() < _LIGHT_MOST and np.abs(off - light).mean() < _ALIKE)


def rooms(capture: Capture, track: Track) -> list[list[slice]]:
    """The shots of a capture, grouped by the room that they were filmed in."""
    groups: list[_Group] = []
    for shot in shots(len(capture.frames), capture.cuts):
        new = _seen(capture, track, shot)
        home = next((group for group in groups if group.holds(new)), None)
        if home is None:
            groups.append(new)
        else:
            home.shots.append(shot)
    return [group.shots for group in groups]


def _seen(capture: Capture, track: Track, shot: slice) -> _Group:
    frames = np.unique(np.linspace(shot.start, shot.stop - 1, 3).astype(int))
    scale = min(1.0, _PX / max(capture.frames.shape[1:3]))
    pictures = np.stack([reduced(capture.frames[frame], scale) for frame in frames])
    places = places_of(track, frames, scale)
    usual = median_place(places)
    free = np.max([silhouette_score(place, usual, *pictures.shape[1:3]) for place in places], axis=0) < -3.5
    return _Group([shot], pictures.mean(0), free, usual.px_per_u / scale)
