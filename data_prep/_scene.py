# SPDX-License-Identifier: Apache-2.0
"""What a scene teaches about who is in it: learned once from a few frames, at a small working size.

A scene is every shot of one room filmed from one place. Four things are learned from its samples, each helping the
next: where the picture never moves although the head does (`_still`), the colour of the room wherever it is uncovered,
which colours are the person's and which the room's, and the person's usual outline, in the head's own space for what
turns with the head and in the picture for what does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from avatar3d.data_prep._plate import SEEN_SHARE, filled_in
from avatar3d.data_prep._silhouette import Place, median_place, places_of, silhouette_score
from avatar3d.data_prep._still import reduced, standing_still
from avatar3d.records import Capture, Track

WORKING_PX = 128  # decisions are made at about this size
_SAMPLES = 32  # frames of a scene that it is learned from ...
_POOL = 400  # ... out of this many
_ROUNDS = 5
_LEVELS, _CELLS = 16, 6  # histogram bins per colour channel, and cells of the picture along each side
_RARE = 1e-4  # share of pixels below which a colour says nothing
_COLOUR_MOST = 3.0  # log odds that a colour can add
_ROOM_MOST = 5.0  # log odds that the room's own colour can add
_PRIOR_MOST = 3.0  # log odds that the usual outline can add
_DOUBT = 0.5  # log odds for the room beside a neck, where movement is a guess from around
_UNLIKE_PERSON = 0.3  # a room whose colour speaks for the person more than this (log odds) is a person held still
_GUESS_PX = 3.0  # a room's colour is guessed from its surroundings about this far
_NOISE = 12 / 255  # colours this near are the same
_HEAD_CELLS, _HEAD_REACH_U = 160, 2.6  # grid of the outline in head space, and half of what it covers


Heard = Callable[[int, int, int], np.ndarray | float]


def unheard(_frame: int, _height: int, _width: int) -> float:
    """What nobody says of a frame, as log odds."""
    return 0.0


@dataclass(frozen=True)
class Scene:
    """What is known of one scene, at the working size [h,w]."""

    scale: float  # working size / capture's size
    usual: Place
    still: np.ndarray  # [h,w] log odds of a person, where the picture never moves
    colours: np.ndarray  # log odds of a colour in a cell, see `_bins`
    room: np.ndarray  # [h,w,3] 0..1 median of the room
    spread: np.ndarray  # [h,w] how far off the room's colour noise reaches
    seen: np.ndarray  # [h,w] 1 where the room was seen, less the further it had to be guessed from there
    head_prior: np.ndarray | None = None  # [_HEAD_CELLS,_HEAD_CELLS] log odds in head space
    body_prior: np.ndarray | None = None  # [h,w] log odds in the picture
    samples: np.ndarray = field(default_factory=lambda: np.zeros(0, int))  # frames it was learned from


def learn(capture: Capture, track: Track, frames: np.ndarray, heard: Heard = unheard) -> Scene:
    """A scene from the numbers of all its frames: geometry and stillness first, then its own answers in turns."""
    scale = min(1.0, WORKING_PX / max(capture.frames.shape[1:3]))
    samples = _telling(track, frames, scale)
    pictures = np.stack([reduced(capture.frames[frame], scale) for frame in samples])
    places = places_of(track, samples, scale)
    usual = median_place(places)
    where = np.stack([silhouette_score(place, usual, *pictures.shape[1:3]) for place in places])
    pictures = _alike(pictures, where.max(0) <= -3.9)
    low = _below(usual, pictures.shape[1])
    still = standing_still(pictures, places, silhouette_score(usual, usual, *pictures.shape[1:3]))
    still = np.where(still != 0, still - _DOUBT * low, 0.0)  # where nothing was learned, nothing is doubted
    # what moves beside a head may be the room that it uncovers: only below it does movement speak for a person
    still = np.where(still > 0, still * (0.4 + 0.6 * low), still)
    height, width = pictures.shape[1:3]
    unknown = _colour_odds(pictures, where > 3.5, (where < -3.5) & (still < 0) | (still < -2))
    blank = np.zeros((height, width), np.float32)
    told = [heard(int(frame), height, width) for frame in samples]
    scene = Scene(scale, usual, still, unknown, pictures[0] * 0, blank + 1, blank, samples=samples)
    for _ in range(_ROUNDS):
        odds = np.stack([decide(scene, *each).odds for each in zip(pictures, places, told, strict=True)])
        person = np.stack([solid(each) for each in odds])
        away = np.stack([~ndimage.binary_dilation(each, iterations=2) for each in person])
        inner = np.stack([ndimage.binary_erosion(each, iterations=3, border_value=1) for each in person])
        colours = _colour_odds(pictures, inner & (odds > 1), away & (odds < -1))
        room, spread, seen = _room(pictures, away)
        seen[(colours[_bins(room)] > _UNLIKE_PERSON) & (still > -2)] = 0.0
        head_prior, body_prior = _outlines(person, places, usual)
        scene = replace(
            scene, colours=colours, room=room, spread=spread, seen=seen, head_prior=head_prior, body_prior=body_prior
        )
    return scene


def _telling(track: Track, frames: np.ndarray, scale: float) -> np.ndarray:
    """Frames to learn from: half of them evenly over time, half with the head where no other has it."""
    even = np.unique(np.linspace(0, len(frames) - 1, _SAMPLES // 2).astype(int))
    pool = np.unique(np.linspace(0, len(frames) - 1, _POOL).astype(int))
    where = np.array([[*place.centre, place.px_per_u] for place in places_of(track, frames[pool], scale)])
    chosen = list(even)
    nearest = np.linalg.norm(where[:, None] - where[np.searchsorted(pool, even).clip(0, len(pool) - 1)], axis=2).min(1)
    for _ in range(min(_SAMPLES - len(even), len(pool) - len(even))):
        far = int(nearest.argmax())
        chosen.append(pool[far])
        nearest = np.minimum(nearest, np.linalg.norm(where - where[far], axis=1))
    return frames[np.unique(chosen)]


@dataclass(frozen=True)
class Decided:
    """What is thought of one frame at the working size."""

    picture: np.ndarray  # [h,w,3] 0..1
    odds: np.ndarray  # [h,w] log odds that a pixel shows the person
    light: np.ndarray  # [3] how much brighter the room is than when it was learned


def decide(scene: Scene, picture: np.ndarray, place: Place, told: np.ndarray | float = 0.0) -> Decided:
    """Adds up the evidence in a frame at the working size; `told` [h,w] is what a network makes of it, log odds."""
    height, width = picture.shape[:2]
    light = np.zeros(3, np.float32)
    colours = ndimage.uniform_filter(scene.colours.take(_bins(picture)), 3)
    if scene.head_prior is None or scene.body_prior is None:
        # before anything is known of the outline, geometry and stillness must do
        expected = silhouette_score(place, scene.usual, height, width)
        return Decided(picture, 0.5 * colours + 0.5 * expected + scene.still + told, light)
    odds = (
        colours
        + told
        + 0.5 * scene.still
        + np.maximum(_warped(scene.head_prior, place, height, width), scene.body_prior)
    )
    off = picture - scene.room
    sure = (scene.seen[::3, ::3] == 1) & (odds[::3, ::3] < -3)
    if sure.sum() > 16:
        light = np.median(off[::3, ::3][sure], axis=0)
        off = off - light
    np.abs(off, out=off)
    unlike = ndimage.uniform_filter((off[..., 0] + off[..., 1] + off[..., 2]) / scene.spread, 3) / 3
    room = np.clip(4 * (unlike - 0.6), -_ROOM_MOST / 2, _ROOM_MOST)  # 1: as far off as noise reaches
    return Decided(picture, odds + np.where(room < 0, scene.seen, scene.seen == 1) * room, light)


def _alike(pictures: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Pictures [N,h,w,3] with their changes of brightness taken out, as seen where no person can be."""
    if outside.sum() < 64:
        return pictures
    colour = np.median(pictures[:, outside], axis=1)
    return pictures - (colour - np.median(colour, axis=0))[:, None, None]


def _outlines(person: np.ndarray, places: Sequence[Place], usual: Place) -> tuple[np.ndarray, np.ndarray]:
    """How often a place was the person's, as log odds: in head space, and in the picture below the head."""
    height, width = person.shape[1:]
    total = np.zeros((_HEAD_CELLS, _HEAD_CELLS), np.float32)
    shown = np.full((_HEAD_CELLS, _HEAD_CELLS), 1e-3, np.float32)
    y, x = _head_grid()
    for each, place in zip(person, places, strict=True):
        down = np.array([-place.across[1], place.across[0]])
        column = (place.centre[0] + place.px_per_u * (x * place.across[0] + y * down[0])).astype(int)
        row = (place.centre[1] + place.px_per_u * (x * place.across[1] + y * down[1])).astype(int)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        total[inside] += each[row[inside], column[inside]]
        shown[inside] += 1
    share = ndimage.gaussian_filter(total, 1.5) / ndimage.gaussian_filter(shown, 1.5)
    known = ndimage.gaussian_filter((shown > 1).astype(np.float32), 1.5)
    head = np.clip(_logit(share) * known, -_PRIOR_MOST, _PRIOR_MOST)
    # below the chin a person does not follow each nod: there the picture's own space says more
    fade = np.clip((y - 1.15) / 0.5, 0, 1)
    body = np.clip(_logit(ndimage.gaussian_filter(person.mean(0).astype(np.float32), 1.0)), -_PRIOR_MOST, _PRIOR_MOST)
    low = _below(usual, height)
    return head * (1 - fade) - _PRIOR_MOST * fade, (body * low - _PRIOR_MOST * (1 - low)).astype(np.float32)


def _below(usual: Place, height: int) -> np.ndarray:
    """[h,1] 0 down to the chin, 1 from the shoulders on."""
    rows = (np.arange(height, dtype=np.float32) + 0.5 - usual.centre[1]) / usual.px_per_u
    return np.clip((rows[:, None] - 0.7) / 0.5, 0, 1)


def _warped(prior: np.ndarray, place: Place, height: int, width: int) -> np.ndarray:
    """The head's outline [h,w] carried from head space to a frame."""
    per_px = _HEAD_CELLS / (2 * _HEAD_REACH_U) / place.px_per_u
    dx = (np.arange(width, dtype=np.float32) + 0.5 - place.centre[0]) * per_px
    dy = (np.arange(height, dtype=np.float32) + 0.5 - place.centre[1])[:, None] * per_px
    column = dx * place.across[0] + dy * place.across[1] + _HEAD_CELLS / 2
    row = dy * place.across[0] - dx * place.across[1] + _HEAD_CELLS / 2
    last = _HEAD_CELLS - 1
    flat = np.clip(row, 0, last).astype(np.int32) * _HEAD_CELLS + np.clip(column, 0, last).astype(np.int32)
    return prior.take(flat)


def _head_grid() -> tuple[np.ndarray, np.ndarray]:
    steps = ((np.arange(_HEAD_CELLS) + 0.5) / _HEAD_CELLS * 2 - 1) * _HEAD_REACH_U
    return np.meshgrid(steps, steps, indexing="ij")


def _logit(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0.01, 0.99)
    return np.log(share / (1 - share))


def _colour_odds(pictures: np.ndarray, person: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Log odds [C*C*L^3] of each colour in each cell, from pixels known to be the person's and the room's.

    By cell, since a room stays where it is: dark shelves on the left say nothing against dark hair on the right.
    """
    bins = _bins(pictures)
    shape = (_CELLS, _CELLS, _LEVELS, _LEVELS, _LEVELS)
    shares = []
    for chosen in (person, room):
        histogram = np.bincount(bins[chosen], minlength=int(np.prod(shape))).astype(np.float32).reshape(shape)
        smooth = ndimage.gaussian_filter(histogram, (1.0, 1.0, 0.7, 0.7, 0.7), truncate=2.0)
        anywhere = smooth.sum((0, 1), keepdims=True)
        shares.append(
            0.5 * smooth / (smooth.sum((2, 3, 4), keepdims=True) + 1.0) + 0.5 * anywhere / (anywhere.sum() + 1.0)
        )
    odds = np.log((shares[0] + _RARE) / (shares[1] + _RARE))
    return np.clip(odds, -_COLOUR_MOST, _COLOUR_MOST).reshape(-1)


def _room(pictures: np.ndarray, away: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median [h,w,3] and reach of the noise [h,w] of the room, and where it was seen often enough [h,w]."""
    seen = away.mean(0) >= SEEN_SHARE
    shown = np.where(away[..., None], pictures, np.nan)
    shown[:, ~seen] = 0.0
    room = np.nanmedian(shown, axis=0)
    spread = np.nanmedian(np.abs(shown - room).mean(-1), axis=0)
    reach = ndimage.distance_transform_edt(~seen) if seen.any() else np.full(seen.shape, np.inf)
    return filled_in(room, seen), np.maximum(6 * spread, _NOISE).astype(np.float32), np.exp(-reach / _GUESS_PX)


def solid(odds: np.ndarray) -> np.ndarray:
    """The person as one piece without holes [h,w] bool."""
    person = _largest(odds > 0)
    gaps, count = ndimage.label(~person)
    if count > 1:
        edge = np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]])
        open_air = np.zeros(count + 1, bool)
        open_air[edge] = True
        person = ~open_air[gaps] | person
    return person


def _largest(person: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(person)
    if count <= 1:
        return person
    sizes = np.bincount(labels.reshape(-1))
    sizes[0] = 0
    return labels == sizes.argmax()


def _bins(picture: np.ndarray) -> np.ndarray:
    """Histogram bins [...,h,w] of colours [...,h,w,3] 0..1, each in its cell of the picture."""
    height, width = picture.shape[-3:-1]
    down, across = (np.arange(side, dtype=np.int32) * _CELLS // side for side in (height, width))
    steps = np.clip(picture * _LEVELS, 0, _LEVELS - 1).astype(np.int32)
    bins = (down[:, None] * _CELLS + across) * _LEVELS**3 + steps[..., 2]
    bins += steps[..., 1] * _LEVELS
    bins += steps[..., 0] * _LEVELS**2
    return bins
