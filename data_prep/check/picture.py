# SPDX-License-Identifier: Apache-2.0
"""What the pictures themselves say: size, sharpness and light of the face, and whether the room stands still."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage
from scipy import ndimage

from avatar3d.data_prep.check.finding import Finding, Rule
from avatar3d.records import Capture, Landmarks

_LOOKED_AT = 240  # frames, evenly spread
_FACE_PX = 128  # the face is measured at this height, so that a large one is not called blurred
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_BURNT, _BLACK = 250, 6
_FINE_PX, _COARSE_PX = 0.8, 1.6  # widths of the two blurs whose losses are compared
_MOVED_BLUR = 0.8  # of the usual sharpness
_STEADY_FRAMES = 9
_BORDER = 0.16  # of the picture's width at either side, and its upper half: where the room shows
_LEAST_CONTRAST = 2.0  # levels; a plain wall says nothing about the camera
_SURE_SHIFT = 0.05  # height of the correlation's peak
_AGREED_PX, _AGREED_SHARE = 1.5, 0.3  # of two borders; and of the frames, for the figure to count

_RULES = {
    "size": Rule(
        "face size", "{:.0f} px high", 200, 110, "the avatar cannot be sharper than the video",
        "film closer, or at a higher resolution",
    ),
    "blur": Rule(
        "sharpness", "{:.2f}", 0.42, 0.3, "skin, teeth and hair are learned only where they are in focus",
        "clean the lens, focus on the eyes, and keep the camera's own smoothing and beauty filters off",
    ),
    "motion": Rule(
        "motion blur", "{:.1f} % of the frames", 5, 15, "a smeared frame teaches a smeared face",
        "more light gives a shorter exposure; move more slowly",
    ),
    "light": Rule(
        "brightness of the face", "{:.0f} of 255", 70, 45, "in the dark the camera adds noise and smoothing",
        "turn a lamp or a window towards the face",
    ),
    "burnt": Rule(
        "burnt or black skin", "{:.2f} % of the face", 1, 4, "colour that the camera has lost cannot come back",
        "less contrast: an even light, no sun, exposure on the face",
    ),
    "flicker": Rule(
        "flicker", "{:.2f} % of the brightness", 0.6, 1.5, "light that jumps is taken for skin that changes",
        "lock exposure and white balance; avoid lamps that flicker",
    ),
    "camera": Rule(
        "camera movement", "{:.2f} % of the face's height", 1, 3, "the head's pose is measured against a still camera",
        "put the camera on a stand; switch stabilisation off",
    ),
    "room": Rule(
        "movement behind the person", "{:.1f} of 255", 3, 8, "what moves behind the hair is painted into its edge",
        "a still room, nobody passing",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class _Look:
    """One frame, measured."""

    sharpness: float
    brightness: float  # mean of the face, 0..255
    lost: float  # share of the face that is burnt or black


def look(capture: Capture, landmarks: Landmarks, source_scale: float) -> list[Finding]:
    """Findings about the pictures.

    Args:
        source_scale: px of the video per px of the capture's frames.
    """
    found = np.flatnonzero(landmarks.found)
    boxes = _boxes(landmarks.points)
    heights = boxes[found, 3] - boxes[found, 1]
    chosen = found[np.linspace(0, len(found) - 1, min(_LOOKED_AT, len(found))).astype(int)]
    looks = [_measured(capture.frames[frame], boxes[frame]) for frame in chosen]
    sharpness = np.array([each.sharpness for each in looks])
    usual = float(np.median(sharpness))
    shifts, changes = _behind(capture, chosen)
    return [
        _RULES["size"](float(np.median(heights)) * source_scale),
        _RULES["blur"](usual),
        _RULES["motion"](100 * float(np.mean(sharpness < _MOVED_BLUR * usual))),
        _RULES["light"](float(np.median([each.brightness for each in looks]))),
        _RULES["burnt"](100 * float(np.mean([each.lost for each in looks]))),
        _RULES["flicker"](_flicker(capture, boxes)),
        _RULES["camera"](None if shifts is None else 100 * shifts / float(np.median(heights))),
        _RULES["room"](changes),
    ]


def _boxes(points: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom [T,4] of the faces; NaN without one."""
    flat = points[..., :2]
    with np.errstate(invalid="ignore"):
        return np.concatenate([flat.min(1), flat.max(1)], 1)


def _measured(frame: np.ndarray, box: np.ndarray) -> _Look:
    height, width = frame.shape[:2]
    left, top, right, bottom = np.clip(box.round().astype(int), 0, [width, height, width, height])
    # the middle of the face: its outline is hair and background
    inset_x, inset_y = (right - left) // 6, (bottom - top) // 6
    luma = frame[top + inset_y : bottom - inset_y, left + inset_x : right - inset_x] @ _LUMA
    lost = float(np.mean((luma > _BURNT) | (luma < _BLACK)))
    return _Look(_sharpness(luma, bottom - top), float(luma.mean()), lost)


def _sharpness(luma: np.ndarray, face_px: int) -> float:
    """How much of the detail that a coarse blur takes away a fine blur takes already: 1 for points, 0 for mist."""
    scale = min(1.0, _FACE_PX / face_px)
    size = max(round(luma.shape[1] * scale), 8), max(round(luma.shape[0] * scale), 8)
    small = np.asarray(PillowImage.fromarray(luma).resize(size, PillowImage.Resampling.BOX))
    fine = small - ndimage.gaussian_filter(small, _FINE_PX)
    coarse = small - ndimage.gaussian_filter(small, _COARSE_PX)
    return float(fine.std() / max(coarse.std(), 1e-6))


def _flicker(capture: Capture, boxes: np.ndarray) -> float | None:
    """RMS [%] of quick changes of brightness, where it is least: light that flickers does so on face and walls."""
    light = np.array(list(_brightness(capture, boxes)))  # [T,3]
    steady = np.ones(len(light), bool)
    steady[[cut + near for cut in capture.cuts for near in (-1, 0, 1) if 0 <= cut + near < len(light)]] = False
    found = [_quick_pct(values, steady & np.isfinite(values)) for values in light.T]
    return min((pct for pct in found if pct is not None), default=None)


def _quick_pct(values: np.ndarray, used: np.ndarray) -> float | None:
    if used.sum() < 2 * _STEADY_FRAMES:
        return None
    filled = np.interp(np.arange(len(values)), np.flatnonzero(used), values[used])
    quick = filled - ndimage.median_filter(filled, _STEADY_FRAMES, mode="nearest")
    return 100 * float(np.sqrt(np.mean(quick[used] ** 2)) / max(filled.mean(), 1.0))


def _brightness(capture: Capture, boxes: np.ndarray) -> Iterator[tuple[float, float, float]]:
    """Mean brightness of the middle of the face (NaN without one) and of both borders, frame by frame."""
    side = capture.frames.shape[1]
    for picture, box in zip(capture.frames, boxes, strict=True):
        face = float("nan")
        if np.isfinite(box).all():
            centre, reach = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 5
            left, top, right, bottom = np.clip([*(centre - reach), *(centre + reach)], 0, side).astype(int)
            face = float((picture[top : bottom + 1 : 2, left : right + 1 : 2] @ _LUMA).mean())
        walls = [float((picture[: side // 2 : 4, columns][:, ::4] @ _LUMA).mean()) for columns in _borders(side)]
        yield face, walls[0], walls[1]


def _borders(side: int) -> tuple[slice, slice]:
    width = max(int(_BORDER * side), 8)
    return slice(0, width), slice(side - width, side)


def _behind(capture: Capture, chosen: np.ndarray) -> tuple[float | None, float | None]:
    """How far the room shifts within a shot [px, 95th percentile], and how much it changes [levels, RMS].

    Only where both borders tell of the same shift has the camera moved: one alone is hair, a shoulder, a passer-by.
    """
    shifts: list[float] = []
    changes: list[float] = []
    for shot in np.split(chosen, np.searchsorted(chosen, capture.cuts)):
        if len(shot) < 2:
            continue
        found = [_against_usual(capture, shot, columns) for columns in _borders(capture.frames.shape[1])]
        changes += [change for _, change in found]
        apart = np.linalg.norm(found[0][0] - found[1][0], axis=1)
        shifts += np.linalg.norm(found[0][0], axis=1)[apart <= _AGREED_PX].tolist()
    return (
        float(np.percentile(shifts, 95)) if len(shifts) >= _AGREED_SHARE * len(chosen) else None,
        min(changes, default=None),  # a shoulder or hair may fill one side
    )


def _against_usual(capture: Capture, shot: np.ndarray, columns: slice) -> tuple[np.ndarray, float]:
    """Shifts [F,2] px (NaN where it does not show) of a border against its median, and how much it changes."""
    upper = capture.frames.shape[1] // 2
    strips = np.stack([capture.frames[frame, :upper, columns] @ _LUMA for frame in shot])
    usual = np.median(strips, axis=0)
    change = float(np.sqrt(np.median((strips - usual) ** 2, axis=0).mean()))
    if usual.std() < _LEAST_CONTRAST:
        return np.full((len(shot), 2), np.nan), change
    return np.array([_shift(strip, usual) for strip in strips]), change


def _shift(strip: np.ndarray, usual: np.ndarray) -> tuple[float, float]:
    """By how many px, down and across, a strip lies off the usual one (phase correlation, Kuglin and Hines 1975)."""
    window = np.outer(np.hanning(strip.shape[0]), np.hanning(strip.shape[1]))
    product = np.fft.rfft2((strip - strip.mean()) * window) * np.conj(np.fft.rfft2((usual - usual.mean()) * window))
    peak = np.fft.irfft2(product / np.maximum(np.abs(product), 1e-9), strip.shape)
    y, x = np.unravel_index(int(peak.argmax()), peak.shape)
    if peak[y, x] < _SURE_SHIFT:
        return float("nan"), float("nan")
    return float(_signed(y, peak.shape[0])), float(_signed(x, peak.shape[1]))


def _signed(shift: np.intp, period: int) -> int:
    return int(shift) if shift <= period // 2 else int(shift) - period
