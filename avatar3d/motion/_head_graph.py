# SPDX-License-Identifier: Apache-2.0
"""Head motion as a walk through the person's own: stretches of the clip joined where the head all but stands still.

A motion graph (Kovar et al., 2002): the clip is cut at frames of little speed into pieces, which are played forwards or
backwards. From a piece one goes on to another that begins near the pose at which the first ends, and the next one is
the one whose liveliness follows the sound's loudness. One fades into the other over some frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from scipy.ndimage import convolve1d, uniform_filter1d

from avatar3d.dsp import HOPS_PER_S, loudness_db, resampled
from avatar3d.geometry import compose, invert, quat_from_rotvec, rotvec_from_quat
from avatar3d.motion._head_motion import longest_stretch, replay, usual_pose
from avatar3d.records import FPS, Motion, Sound, frame_count

_SHORTEST_FRAMES, _LONGEST_FRAMES = 25, 75  # of a piece
_SHORTEST_BLEND, _LONGEST_BLEND = 8, 24  # frames
_BLENDS = np.arange(_SHORTEST_BLEND, _LONGEST_BLEND + 1)[:, None].astype(np.float64)
_SMOOTH = 0.3  # of the clip's largest jerks: a blend no longer than it takes to stay below
_FEWEST_PIECES = 4  # a clip that is too short for a graph is played to and fro
_AGAIN, _FORGOTTEN = 0.5, 0.7  # what a piece costs that has just been played, and what is left of it a piece later
_USUAL_QUANTILE = 0.999
_STEADY = np.array([0.25, 0.5, 0.25])  # a replay, which lies between frames, shakes as little
_LOUDNESS_FRAMES = 25  # over which a sound is loud or quiet
_UNEVEN = 0.05  # by chance, so that the same sound does not bring the same turns with another seed
_FRAMES_AT_ONCE = 1500


@dataclass(frozen=True)
class _Piece:
    """Rows of the clip from `begin` to before `end`, which may lie earlier: then it is played backwards."""

    begin: int
    end: int
    energy: float  # 0 the calmest piece .. 1 the liveliest

    @property
    def way(self) -> int:
        return 1 if self.end > self.begin else -1


def walked(motion: Motion, clip: Motion, loudness: np.ndarray, seed: int = 0) -> Motion:
    """`motion` with head, body and gaze walked out of `clip`.

    Args:
        loudness: [T] 0 the quietest .. 1 the loudest; the head is the livelier the louder it is.
        seed: decides where the walk begins.
    """
    stretch = longest_stretch(clip)
    rows = _coordinates(stretch, clip)
    pieces = _pieces(rows)
    rng = np.random.default_rng(seed)
    if len(pieces) < _FEWEST_PIECES:
        return replay(motion, clip, int(rng.integers(max(len(clip), 1))))
    played = _joined(rows, _walk(rows, pieces, loudness, rng), len(motion))
    head, body = (_poses(part, clip) for part in (played[:, :6], played[:, 6:12]))
    return replace(motion, head=head, body=None if clip.body is None else body, gaze=played[:, 12:].astype(np.float32))


def loudness(sound: Sound) -> np.ndarray:
    """[T] at FPS: where each second of a sound stands between its quietest, 0, and its loudest, 1."""
    frames, samples = frame_count(sound), resampled(sound)
    per_frame = int(HOPS_PER_S / FPS)
    level = np.empty(frames)
    for first in range(0, frames, _FRAMES_AT_ONCE):
        count = min(_FRAMES_AT_ONCE, frames - first)
        hops = loudness_db(samples, first * per_frame, count * per_frame)
        level[first : first + count] = hops.reshape(count, per_frame).mean(1)
    smooth = uniform_filter1d(level, _LOUDNESS_FRAMES, mode="nearest")
    # equal levels get equal places
    return np.searchsorted(np.sort(smooth), smooth) / max(frames - 1, 1)


def _coordinates(stretch: Motion, clip: Motion) -> np.ndarray:
    """[T,16]: turn and place of the head about the usual pose, then of the body, then the gaze."""
    back = invert(torch.from_numpy(usual_pose(clip)).double())
    parts = []
    for poses in (stretch.head, stretch.head if stretch.body is None else stretch.body):
        apart = compose(back.expand(len(stretch), 7), torch.from_numpy(poses).double())
        parts.append(torch.cat([rotvec_from_quat(apart[:, :4]), apart[:, 4:]], 1).numpy())
    poses = convolve1d(np.concatenate(parts, 1), _STEADY, axis=0, mode="nearest")
    return np.concatenate([poses, stretch.gaze], 1)


def _poses(rows: np.ndarray, clip: Motion) -> np.ndarray:
    apart = torch.from_numpy(rows)
    usual = torch.from_numpy(usual_pose(clip)).double()
    moved = torch.cat([quat_from_rotvec(apart[:, :3]), apart[:, 3:]], 1)
    return compose(usual.expand(len(rows), 7), moved).float().numpy()


def _pieces(rows: np.ndarray) -> list[_Piece]:
    """The clip cut where the head is slowest, every piece in both directions; beyond both ends of each lie frames to
    blend with.
    """
    speed = np.linalg.norm(np.gradient(rows[:, :6], axis=0), axis=1) if len(rows) > 1 else np.zeros(len(rows))
    last = len(rows) - 1 - _LONGEST_BLEND
    edges = (
        [_LONGEST_BLEND + int(speed[_LONGEST_BLEND : _LONGEST_BLEND + _SHORTEST_FRAMES].argmin())] if last > 0 else []
    )
    while edges and last - edges[-1] >= _SHORTEST_FRAMES:
        first = edges[-1] + _SHORTEST_FRAMES
        edges.append(first + int(speed[first : min(edges[-1] + _LONGEST_FRAMES, last) + 1].argmin()))
    spans = list(pairwise(edges))
    mean_speed = np.array([speed[first : after + 1].mean() for first, after in spans])
    energy = mean_speed.argsort().argsort() / max(len(spans) - 1, 1)
    return [
        _Piece(*ends, float(lively)) for span, lively in zip(spans, energy, strict=True) for ends in (span, span[::-1])
    ]


def _walk(
    rows: np.ndarray, pieces: list[_Piece], lively: np.ndarray, rng: np.random.Generator
) -> list[tuple[_Piece, int]]:
    """Pieces to be played one after another, together at least as long as the sound; and over how many frames each is
    blended into from the one before.
    """
    usual = np.quantile(np.abs(np.diff(rows[:, :6], 2, axis=0)), _USUAL_QUANTILE, axis=0) + 1e-9
    begins, ends = (np.array([getattr(piece, name) for piece in pieces]) for name in ("begin", "end"))
    ways = np.sign(ends - begins)
    energies = np.array([piece.energy for piece in pieces])
    tired = np.zeros(len(pieces))
    here = int(rng.integers(len(pieces)))
    walk, done = [(pieces[here], 0)], abs(ends[here] - begins[here])
    while done < len(lively):
        shift = np.abs(rows[begins, :6] - rows[ends[here], :6])
        drift = np.abs(_steps(rows, begins, ways) - _steps(rows, ends[[here]], ways[[here]]))
        # [N,B]: the jerk of each blend, in the usual largest ones, for every length that a blend may have
        jerk = ((6 * shift[:, None] / _BLENDS**2 + 9 * drift[:, None] / _BLENDS) / usual).max(2)
        tired *= _FORGOTTEN
        tired[[here, here ^ 1]] = _AGAIN  # the same piece backwards is the same to the eye
        wanted = lively[done : done + _LONGEST_FRAMES].mean()
        cost = np.abs(energies - wanted) + tired + jerk.min(1) + _UNEVEN * rng.random(len(pieces))
        here = int(cost.argmin())
        smooth = np.flatnonzero(jerk[here] <= max(_SMOOTH, jerk[here].min()))
        walk.append((pieces[here], int(_BLENDS[smooth[0], 0])))
        done += abs(ends[here] - begins[here])
    return walk


def _steps(rows: np.ndarray, at: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """[N,6] how the head moves at rows `at` [N] from frame to frame, where they are played in directions `ways` [N]."""
    return ways[:, None] * (rows[at + 1, :6] - rows[at - 1, :6]) / 2


def _joined(rows: np.ndarray, walk: list[tuple[_Piece, int]], frames: int) -> np.ndarray:
    """[frames,16]: the pieces end to end. After each join the old piece goes on beyond its end and fades into the new
    one, so that the head is always between two places where it was.
    """
    played = []
    for (piece, over), before in zip(walk, [walk[0], *walk[:-1]], strict=True):
        length = abs(piece.end - piece.begin)
        new = rows[piece.begin + piece.way * np.arange(length)]
        old = rows[before[0].end + before[0].way * np.arange(min(over, length))]
        share = (np.arange(len(old))[:, None] + 1) / (over + 1)
        share = share**2 * (3 - 2 * share)
        new[: len(old)] = (1 - share) * old + share * new[: len(old)]
        played.append(new)
    return np.concatenate(played)[:frames]
