# SPDX-License-Identifier: Apache-2.0
"""What a trivial method reaches, driven by the same held-out landmarks: a head has to beat these to be worth its name.

Each yields a frame [H,W,3] uint8 for every held-out frame; none sees a pixel of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.spatial import Delaunay
from torch.nn import functional

from avatar3d.face.groups import CHIN, LIPS

_CANDIDATES = 5
_MOUTH_WEIGHT = 5.0
_BLOCK = 64  # frames read at a time
_LEAST_AREA = 1e-12  # of a triangle, as a share of its longest side squared


def mean_image(frames: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """The mean of the training frames [T,H,W,3], `count` times."""
    total = np.zeros(frames.shape[1:], np.int64)
    for start in range(0, len(frames), _BLOCK):
        total += frames[start : start + _BLOCK].sum(0, dtype=np.int64)
    mean = np.rint(total / len(frames)).astype(np.uint8)
    for _ in range(count):
        yield mean


def nearest_frames(points: np.ndarray, known: np.ndarray, wanted: np.ndarray, count: int = 1) -> np.ndarray:
    """The training frames whose landmarks are nearest to each wanted frame's, nearest first: rows of `points`.

    Args:
        points: [T,478,2 or 3] px of the training frames; distance is taken in the picture's plane.
        known: [T] bool, the frames that may be chosen.
        wanted: [N,478,2 or 3] px.

    Returns:
        [N,count]; fewer columns where fewer frames are known.
    """
    rows = np.flatnonzero(known)
    flat = points[rows, :, :2].reshape(len(rows), -1).astype(np.float64)
    chosen = [
        rows[np.square(flat - target[:, :2].reshape(-1)).sum(1).argsort(kind="stable")[:count]] for target in wanted
    ]
    return np.array(chosen, int)


def nearest_frame(
    frames: np.ndarray, points: np.ndarray, known: np.ndarray, wanted: np.ndarray
) -> Iterator[np.ndarray]:
    """For each wanted frame the training frame with the nearest landmarks."""
    for row in nearest_frames(points, known, wanted)[:, 0]:
        yield np.asarray(frames[row])


def warp(frames: np.ndarray, points: np.ndarray, known: np.ndarray, wanted: np.ndarray) -> Iterator[np.ndarray]:
    """For each wanted frame the most alike of the five nearest training frames, bent to its landmarks."""
    for target, candidates in zip(wanted, nearest_frames(points, known, wanted, _CANDIDATES), strict=True):
        row = min(candidates, key=lambda row: bend(points[row], target))
        yield bent(np.asarray(frames[row]), points[row], target)


def bend(source: np.ndarray, target: np.ndarray) -> float:
    """How far landmarks [478,2 or 3] differ by more than a similarity, px^2; lips and chin count five times."""
    a, b = (points[:, 0].astype(np.float64) + 1j * points[:, 1] for points in (source, target))
    a, b = a - a.mean(), b - b.mean()
    turn = np.vdot(a, b) / np.vdot(a, a)
    weight = np.ones(len(a))
    weight[[*LIPS, *CHIN]] = _MOUTH_WEIGHT
    return float((weight * np.abs(turn * a - b) ** 2).sum() / weight.sum())


def bent(picture: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """A picture [H,W,3] uint8 whose landmarks move from `source` to `target` [478,2 or 3] px.

    Affine within each triangle of a Delaunay triangulation of the target's landmarks and the picture's corners, which
    stay where they are; bicubic.
    """
    height, width = picture.shape[:2]
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
    inside = _within(target, width, height)
    targets = np.concatenate([target[inside, :2].astype(np.float64), corners])
    sources = np.concatenate([source[inside, :2].astype(np.float64), corners])
    at = _carried(width, height, targets, sources)
    grid = torch.from_numpy(at / (width, height) * 2 - 1).float()[None]
    planes = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32))[None]
    drawn = functional.grid_sample(planes, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return drawn[0].clamp(0, 255).round().byte().permute(1, 2, 0).numpy()


def _within(points: np.ndarray, width: int, height: int) -> np.ndarray:
    # a landmark beyond the picture's edge would leave the fixed corners inside the hull
    return np.all((points[:, :2] > 0) & (points[:, :2] < (width, height)), axis=1)


def _carried(width: int, height: int, targets: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Where in the source each pixel of the target comes from [height,width,2] px."""
    # corners in one order: the two triangles beside an edge then find it at the same places
    corners = np.sort(Delaunay(targets).simplices, 1)
    a, b, c = targets[corners].transpose(1, 0, 2)
    across, down = b - a, c - a
    area = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
    flat = np.abs(area) <= _LEAST_AREA * np.maximum(np.square(across).sum(1), np.square(down).sum(1))
    inverse = np.stack([down[:, 1], -down[:, 0], -across[:, 1], across[:, 0]], 1).reshape(-1, 2, 2)
    inverse /= np.where(flat, np.inf, area)[:, None, None]
    A, B, C = sources[corners].transpose(1, 0, 2)
    slopes = np.stack([B - A, C - A], 2) @ inverse
    slopes[flat] = np.eye(2)  # landmarks that coincide make a triangle without area, whose pixels stay where they are
    shift = np.where(flat[:, None], a, A) - (slopes @ a[..., None])[..., 0]
    triangle = _covering(np.stack([a, b, c], 1), width, height)
    y, x = np.mgrid[0:height, 0:width] + 0.5
    steps, shifts = slopes[triangle], shift[triangle]
    return steps[..., 0] * x[..., None] + steps[..., 1] * y[..., None] + shifts


def _covering(corners: np.ndarray, width: int, height: int) -> np.ndarray:
    """[height,width]: which of the triangles [F,3,2], which leave no gap, the middle of each pixel lies in."""
    y = np.arange(height) + 0.5
    left = np.full((len(corners), height), np.inf)
    right = np.full((len(corners), height), -np.inf)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        a, b = corners[:, one], corners[:, other]
        low, high = (np.searchsorted(y, edge) for edge in (np.minimum(a[:, 1], b[:, 1]), np.maximum(a[:, 1], b[:, 1])))
        face, row = _counted(low, high - low)
        x = a[face, 0] + (y[row] - a[face, 1]) * ((b[face, 0] - a[face, 0]) / (b[face, 1] - a[face, 1]))
        left[face, row], right[face, row] = np.minimum(left[face, row], x), np.maximum(right[face, row], x)
    face, row = np.nonzero(left < right)
    first, last = (np.ceil(edge[face, row] - 0.5).astype(int).clip(0, width) for edge in (left, right))
    span, column = _counted(first, last - first)
    found = np.zeros((height, width), int)
    found[row[span], column] = face[span]
    return found


def _counted(first: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """first[i], first[i] + 1, ... of count[i] numbers for every i, after one another; beside each its i."""
    which = np.repeat(np.arange(len(count)), count)
    return which, np.arange(len(which)) + np.repeat(first - (count.cumsum() - count), count)
