# SPDX-License-Identifier: Apache-2.0
"""Person masks and the empty room, without a network: geometry of the tracked head, colours, and what stays still.

Three kinds of evidence are added up as log odds per pixel: where a head and a torso can be (`_silhouette`), whose
colours these are (histograms learned from the sure places of the shot, then once more from the first answer), and how
far the pixel is from the room's own colour there, as soon as the room has been seen. A guided filter fits the edge to
the picture.

What it cannot know: a room that is never uncovered. Behind a torso that does not move the plate is a guess from the
surroundings, and clothes of the background's colour may be lost at the outline. The camera must stand still in a shot.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage
from scipy import ndimage

from avatar3d.data_prep._silhouette import Place, median_place, place_of, silhouette_score
from avatar3d.data_prep._smooth import shots
from avatar3d.records import Capture, Progress, Track, Watch, unwatched
from avatar3d.store import Work, file_hash, frames_writer, key_of, load_capture, load_picture, save_picture

_VERSION = 1
_WORKING_PX = 144  # decisions are made at about this size; the guided filter carries them to the whole size
_SAMPLES = 24  # frames of a shot that its colours are learned from
_LEVELS, _CELLS = 16, 6  # histogram bins per colour channel, and cells of the picture along each side
_RARE = 1e-4  # share of pixels below which a colour says nothing
_COLOUR_MOST = 3.0  # log odds that a colour can add
_ROOM_MOST = 4.0  # log odds that the room's own colour can add
_UNLIKE_PERSON = 0.3  # a room whose colour speaks for the person more than this (log odds) is a person held still
_SEEN_SHARE = 0.2  # of the samples, in which a pixel must show the room
_MEMORY = 0.35  # share of the frame before in a frame's log odds
_EDGE_PX, _EDGE_CONTRAST = 3, 0.02**2  # guided filter: radius at the working size, variance that counts as an edge


def masks(capture: Capture, track: Track, work: Work, watch: Watch = unwatched) -> Capture:
    """Writes the person's alpha of every frame and the background plate, and returns the capture with both.

    The track has been saved to `work` before; nothing is done where the masks were made from the same one. Memory does
    not grow with the length.
    """
    key = key_of("masks", _VERSION, capture.source_hash, capture.frames.shape, file_hash(work.track_file))
    if work.key("masks") == key and work.masks.is_file() and work.background.is_file():
        made = load_capture(work)
        return dataclasses.replace(capture, masks=made.masks, background=made.background)
    frames, height, width = capture.frames.shape[:3]
    ranges = shots(frames, capture.cuts)
    with frames_writer(work.masks, (frames, height, width)) as alpha:
        for shot in ranges:
            model = _learn(capture, track, shot)
            for frame, picture in _matted(capture, track, shot, model):
                alpha[frame] = picture
                if frame % 25 == 0:
                    watch(Progress("masks", frame / frames))
        longest = max(ranges, key=lambda shot: shot.stop - shot.start)
        save_picture(work.background, _plate(capture, alpha, longest))
    work.finish("masks", key)
    watch(Progress("masks", 1.0))
    return dataclasses.replace(
        capture, masks=np.load(work.masks, mmap_mode="r"), background=load_picture(work.background)
    )


@dataclass(frozen=True)
class _Shot:
    """What is known of one shot, at the working size."""

    scale: float
    usual: Place
    colours: np.ndarray  # log odds of a colour in a cell, see `_bins`
    room: np.ndarray | None = None  # [h,w,3] 0..1 median of the room
    spread: np.ndarray | None = None  # [h,w] its deviation
    seen: np.ndarray | None = None  # [h,w] bool, where the room was seen


def _learn(capture: Capture, track: Track, shot: slice) -> _Shot:
    """Colours and room of a shot from a few of its frames: geometry first, then its own first answer."""
    scale = min(1.0, _WORKING_PX / max(capture.frames.shape[1:3]))
    samples = np.unique(np.linspace(shot.start, shot.stop - 1, _SAMPLES).astype(int))
    pictures = np.stack([_small(capture.frames[frame], scale) for frame in samples])
    places = [place_of(track, int(frame), scale) for frame in samples]
    usual = median_place(places)
    where = np.stack([silhouette_score(place, usual, *pictures.shape[1:3]) for place in places])
    model = _Shot(scale, usual, _colour_odds(pictures, where > 3.5, where < -3.5))
    for _ in range(2):
        odds = np.stack([_odds(model, picture, score) for picture, score in zip(pictures, where, strict=True)])
        person = np.stack([_solid(each) for each in odds])
        away = np.stack([~ndimage.binary_dilation(each, iterations=2) for each in person])
        room, spread, seen = _room(pictures, away)
        seen &= model.colours[_bins(room)] < _UNLIKE_PERSON
        model = _Shot(scale, usual, _colour_odds(pictures, person & (odds > 1), away & (odds < -1)), room, spread, seen)
    return model


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
            0.8 * smooth / (smooth.sum((2, 3, 4), keepdims=True) + 1.0) + 0.2 * anywhere / (anywhere.sum() + 1.0)
        )
    odds = np.log((shares[0] + _RARE) / (shares[1] + _RARE))
    return np.clip(odds, -_COLOUR_MOST, _COLOUR_MOST).reshape(-1)


def _room(pictures: np.ndarray, away: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median [h,w,3] and deviation [h,w] of the room, and where it was seen often enough [h,w]."""
    seen = away.mean(0) >= _SEEN_SHARE
    shown = np.where(away[..., None], pictures, np.nan)
    shown[:, ~seen] = 0.0
    room = np.nanmedian(shown, axis=0)
    spread = np.nanmedian(np.abs(shown - room).mean(-1), axis=0)
    return room.astype(np.float32), spread.astype(np.float32), seen


def _odds(model: _Shot, picture: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Log odds [h,w] that a pixel shows the person."""
    colours = ndimage.uniform_filter(model.colours[_bins(picture)], 3)
    odds = where + colours
    if model.room is None or model.spread is None or model.seen is None:
        return odds
    off = np.abs(picture - model.room).mean(-1)
    unlike = off / np.maximum(6 * model.spread, 12 / 255)  # 1: as far off as noise reaches
    evidence = np.clip(4 * (ndimage.uniform_filter(unlike, 3) - 0.6), -_ROOM_MOST / 2, _ROOM_MOST)
    return odds + np.where(model.seen, evidence, 0.0).astype(np.float32)


def _solid(odds: np.ndarray) -> np.ndarray:
    """The person as one piece without holes [h,w] bool."""
    person = ndimage.binary_opening(odds > 0, iterations=1)
    labels, count = ndimage.label(person)
    if count > 1:
        sizes = np.bincount(labels.reshape(-1))
        sizes[0] = 0
        person = labels == sizes.argmax()
    return ndimage.binary_fill_holes(ndimage.binary_closing(person, iterations=2) | person)


def _matted(capture: Capture, track: Track, shot: slice, model: _Shot) -> Iterator[tuple[int, np.ndarray]]:
    """Every frame of a shot with its alpha [H,W] uint8."""
    before: np.ndarray | None = None
    for frame in range(shot.start, shot.stop):
        whole = capture.frames[frame]
        small = _small(whole, model.scale)
        where = silhouette_score(place_of(track, frame, model.scale), model.usual, *small.shape[:2])
        odds = _odds(model, small, where)
        before = odds if before is None else (1 - _MEMORY) * odds + _MEMORY * before
        yield frame, _fitted_edge(_solid(before), small, whole)


def _fitted_edge(person: np.ndarray, small: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The decision [h,w] carried to the whole picture [H,W,3] by a guided filter (He et al., 2013; 2015 for its size).

    Far from the outline nothing is left to the filter: alpha is 0 or 1 there.
    """
    guide = small.mean(-1)
    wish = ndimage.gaussian_filter(person.astype(np.float32), 0.7)
    size = 2 * _EDGE_PX + 1
    mean_guide, mean_wish = ndimage.uniform_filter(guide, size), ndimage.uniform_filter(wish, size)
    spread = ndimage.uniform_filter(guide * guide, size) - mean_guide**2
    slope = (ndimage.uniform_filter(guide * wish, size) - mean_guide * mean_wish) / (spread + _EDGE_CONTRAST)
    level = mean_wish - slope * mean_guide
    height, width = whole.shape[:2]
    slope, level = (_resized(ndimage.uniform_filter(part, size), height, width) for part in (slope, level))
    alpha = slope * (whole.astype(np.float32).mean(-1) / 255) + level
    inner = _resized(
        ndimage.binary_erosion(person, iterations=_EDGE_PX, border_value=1).astype(np.float32), height, width
    )
    outer = _resized(ndimage.binary_dilation(person, iterations=_EDGE_PX).astype(np.float32), height, width)
    sharp = np.clip((alpha - 0.5) * 1.6 + 0.5, inner, outer)
    return (np.clip(sharp, 0, 1) * 255 + 0.5).astype(np.uint8)


def _plate(capture: Capture, alpha: np.ndarray, shot: slice) -> np.ndarray:
    """The room [H,W,3] uint8 of one shot: the median where it shows often enough, else filled in from around."""
    samples = np.unique(np.linspace(shot.start, shot.stop - 1, _SAMPLES).astype(int))
    margin = max(1, capture.frames.shape[1] // 64)  # hair and motion blur reach beyond the outline
    shown = [ndimage.binary_erosion(alpha[frame] < 8, iterations=margin, border_value=1) for frame in samples]
    seen = np.mean(shown, axis=0) >= _SEEN_SHARE
    rows = []
    for start in range(0, capture.frames.shape[1], 64):  # in strips, so that samples of large frames need little memory
        strip = slice(start, start + 64)
        pictures = np.stack([capture.frames[frame, strip] for frame in samples]).astype(np.float32)
        pictures[~np.stack([each[strip] for each in shown])] = np.nan
        pictures[:, ~seen[strip]] = 0.0
        rows.append(np.nanmedian(pictures, axis=0))
    return filled_in(np.concatenate(rows), seen).round().astype(np.uint8)


def filled_in(picture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A picture [H,W,3] whose unknown pixels are drawn in from the known ones around them, smoother the further away.

    Pull and push (Gortler et al., 1996): known pixels are averaged to half the size until nothing is unknown, and what
    is missing at each size comes from the size below.
    """
    if known.all():
        return picture.astype(np.float32)
    if not known.any():
        return np.full_like(picture, 127.0, dtype=np.float32)
    height, width = known.shape
    odd = ((0, height % 2), (0, width % 2))
    weight = _halved(np.pad(known.astype(np.float32), odd)[..., None])
    half = _halved(np.pad(np.where(known[..., None], picture, 0.0).astype(np.float32), (*odd, (0, 0))))
    below = filled_in(half / np.maximum(weight, 1e-6), weight[..., 0] > 0)
    wide = np.stack([_resized(below[..., channel], height, width) for channel in range(3)], -1)
    return np.where(known[..., None], picture, wide).astype(np.float32)


def _halved(field: np.ndarray) -> np.ndarray:
    """[H/2,W/2,C] means of two by two."""
    height, width, channels = field.shape
    return field.reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3))


def _small(picture: np.ndarray, scale: float) -> np.ndarray:
    """[h,w,3] float32 0..1 at `scale`, averaged."""
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    image = PillowImage.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((width, height), PillowImage.Resampling.BOX), np.float32) / 255


def _resized(field: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(
        PillowImage.fromarray(field.astype(np.float32)).resize((width, height), PillowImage.Resampling.BILINEAR)
    )


def _bins(picture: np.ndarray) -> np.ndarray:
    """Histogram bins [...,h,w] of colours [...,h,w,3] 0..1, each in its cell of the picture."""
    height, width = picture.shape[-3:-1]
    cell = (np.arange(height) * _CELLS // height)[:, None] * _CELLS + np.arange(width) * _CELLS // width
    steps = np.minimum((picture * _LEVELS).astype(np.int64), _LEVELS - 1)
    return ((cell * _LEVELS + steps[..., 0]) * _LEVELS + steps[..., 1]) * _LEVELS + steps[..., 2]
