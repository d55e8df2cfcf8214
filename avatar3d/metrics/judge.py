# SPDX-License-Identifier: Apache-2.0
"""All figures of one production against the real frames, in the names that everything prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from threading import Lock

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from avatar3d.metrics import motion, picture
from avatar3d.metrics.regions import Regions, find_regions
from avatar3d.perceptual import SMALLEST_PX, Lpips
from avatar3d.records import Landmarks

_LIPS_PX = 64  # side of the lip square as LPIPS sees it
_FEWEST_MOUTH_PX = 20


@dataclass(frozen=True)
class Figures:
    """The measures of one production. None: it cannot be said (no weights, no face, too few frames)."""

    psnr_full: float | None  # dB; regions as in `avatar3d.metrics.regions`
    psnr_head: float | None
    psnr_face: float | None
    psnr_lips: float | None
    psnr_mouth: float | None  # pooled over the frames whose mouth is open by 20 px or more
    ssim_full: float | None
    ssim_head: float | None  # in the head's bounding box
    lpips_head: float | None  # in the head's bounding box
    lpips_lips: float | None  # of the lip square at 64 x 64
    sharpness: float | None  # Laplacian variance in the head, over that of the real frames
    lmd_pct_iod: float | None  # lip landmark distance, % of inter-ocular distance
    aperture_r: float | None  # correlation of the mouth's opening
    aperture_gain: float | None  # its spread over the real one's
    aperture_lag_frames: float | None  # positive: later than the real one
    bs_mse_upper: float | None  # expression scores, brows cheeks eyes
    bs_mse_lower: float | None  # expression scores, jaw mouth
    jitter_pct_iod: float | None
    jitter_real_pct_iod: float | None
    found: float | None  # share of made frames in which a face is found

    @classmethod
    def names(cls) -> list[str]:
        """The measures, in order."""
        return [entry.name for entry in fields(cls)]


@dataclass(frozen=True)
class Look:
    """What one made frame showed; the regions' figures are NaN where the truth has no face."""

    psnr_full: float
    psnr_head: float = np.nan
    psnr_face: float = np.nan
    psnr_lips: float = np.nan
    ssim_full: float = np.nan
    ssim_head: float = np.nan
    lpips_head: float = np.nan
    lpips_lips: float = np.nan
    mouth_error: float = 0.0  # sum of squared errors
    mouth_px: int = 0
    laplacian: float = 0.0
    laplacian_real: float = 0.0


@dataclass(frozen=True)
class _Real:
    """What every production's look at a real frame shares."""

    index: int
    frame: np.ndarray  # [H,W,3] uint8
    moments: picture.SsimSide
    regions: Regions | None
    laplacian: float = 0.0
    head: list[Tensor] | None = None  # LPIPS features
    lips: list[Tensor] | None = None


class Judge:
    """Compares productions with the same real frames.

    What depends on a real frame only is kept until a look at another frame: show it all productions' frames of one
    moment before those of the next, and each real frame is worked on once, in memory that does not grow.

    Args:
        frames: [T,H,W,3] uint8, at least 11 px a side; may be a memory map.
        landmarks: of these frames.
        shots: [T], the shot of each frame (`motion.shots_of`).
        lpips: without it the LPIPS figures are None.
    """

    def __init__(self, frames: np.ndarray, landmarks: Landmarks, shots: np.ndarray, lpips: Lpips | None = None) -> None:
        self.frames, self.landmarks, self.shots, self.lpips = frames, landmarks, shots, lpips
        self.points = _nearest_found(landmarks)
        self.iod_px = motion.eye_distance(self.points) if self.points is not None else np.nan
        self._real: _Real | None = None
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.frames)

    def look(self, index: int, made: np.ndarray) -> Look:
        """The picture figures of one made frame [H,W,3] uint8, against real frame `index`.

        Several threads may look at once.

        Raises:
            ValueError: the frame has another size.
        """
        real = self._shared(index)
        if made.shape != real.frame.shape or made.dtype != np.uint8:
            raise ValueError(f"made: uint8 {real.frame.shape} expected, got {made.dtype} {made.shape}")
        error = picture.squared_error(made, real.frame)
        likeness = picture.ssim_map(picture.ssim_side(made), real.moments)
        whole = picture.psnr(error.mean()), float(likeness.mean())
        regions = real.regions
        if regions is None:
            return Look(psnr_full=whole[0], ssim_full=whole[1])
        head = picture.ssim_in(likeness, regions.head_box)
        lips = regions.lips_box.cut(error)
        lpips_head, lpips_lips = self._lpips(real, made)
        return Look(
            psnr_full=whole[0],
            psnr_head=_psnr_of(error[regions.head]),
            psnr_face=_psnr_of(error[regions.face]),
            psnr_lips=_psnr_of(lips),
            ssim_full=whole[1],
            ssim_head=np.nan if head is None else head,
            lpips_head=lpips_head,
            lpips_lips=lpips_lips,
            mouth_error=float(error[regions.mouth].sum()),
            mouth_px=int(regions.mouth.sum()),
            laplacian=picture.sharpness(made, regions.head),
            laplacian_real=real.laplacian,
        )

    def figures(self, looks: list[Look], landmarks: Landmarks) -> Figures:
        """All figures of a production from the `look` at each of its frames and the landmarks found in them."""
        if not len(looks) == len(landmarks.points) == len(self):
            raise ValueError(
                f"looks, landmarks: {len(self)} frames expected, got {len(looks)}, {len(landmarks.points)}"
            )
        per_iod = 100 / self.iod_px
        real, made = self.landmarks, landmarks
        opening = motion.follow(
            motion.aperture(real.points) * per_iod, motion.aperture(made.points) * per_iod, self.shots
        )
        upper, lower = motion.score_errors(real.scores, made.scores)
        return Figures(
            **mean_looks(looks, _AVERAGED),
            psnr_mouth=_pooled_mouth(looks),
            sharpness=_ratio(sum(look.laplacian for look in looks), sum(look.laplacian_real for look in looks)),
            lmd_pct_iod=_mean(motion.lip_distance(real.points, made.points) * per_iod),
            aperture_r=opening.r,
            aperture_gain=opening.gain,
            aperture_lag_frames=opening.lag_frames,
            bs_mse_upper=upper,
            bs_mse_lower=lower,
            jitter_pct_iod=_scaled(motion.jitter(made.points, self.shots), per_iod),
            jitter_real_pct_iod=_scaled(motion.jitter(real.points, self.shots), per_iod),
            found=float(made.found.mean()),
        )

    def _shared(self, index: int) -> _Real:
        with self._lock:
            if self._real is None or self._real.index != index:
                self._real = self._prepare(index)
            return self._real

    def _prepare(self, index: int) -> _Real:
        real = np.asarray(self.frames[index])
        moments = picture.ssim_side(real)
        if self.points is None:
            return _Real(index, real, moments, None)
        regions = find_regions(self.points[index], *real.shape[:2])
        head, lips = self._features(regions, real)
        return _Real(index, real, moments, regions, picture.sharpness(real, regions.head), head, lips)

    def _features(self, regions: Regions, frame: np.ndarray) -> tuple[list[Tensor] | None, list[Tensor] | None]:
        if self.lpips is None:
            return None, None
        head, lips = regions.head_box.cut(frame), regions.lips_box.cut(frame)
        with torch.no_grad():
            return (
                self.lpips.features(_tensor(head)) if min(head.shape[:2]) >= SMALLEST_PX else None,
                self.lpips.features(_tensor(_resized(lips))) if lips.size else None,
            )

    def _lpips(self, real: _Real, made: np.ndarray) -> tuple[float, float]:
        if self.lpips is None or real.regions is None:
            return np.nan, np.nan
        head, lips = self._features(real.regions, made)
        return self._distance(real.head, head), self._distance(real.lips, lips)

    def _distance(self, real: list[Tensor] | None, made: list[Tensor] | None) -> float:
        if self.lpips is None or real is None or made is None:
            return np.nan
        return float(self.lpips.distance(real, made))


_AVERAGED = ("psnr_full", "psnr_head", "psnr_face", "psnr_lips", "ssim_full", "ssim_head", "lpips_head", "lpips_lips")


def mean_looks(looks: Sequence[Look], names: Sequence[str]) -> dict[str, float | None]:
    """Means of measures of `Look` over those looks that have them; None where none has."""
    return {name: _mean([getattr(look, name) for look in looks]) for name in names}


def _nearest_found(landmarks: Landmarks) -> np.ndarray | None:
    """Points [T,478,3] where frames without a face take those of the nearest frame with one; None if there is none."""
    known = np.flatnonzero(landmarks.found)
    if not len(known):
        return None
    nearest = np.abs(np.arange(len(landmarks.found))[:, None] - known).argmin(1)
    return landmarks.points[known[nearest]]


def _psnr_of(error: np.ndarray) -> float:
    return picture.psnr(float(error.mean())) if error.size else np.nan


def _pooled_mouth(looks: list[Look]) -> float | None:
    open_mouths = [look for look in looks if look.mouth_px >= _FEWEST_MOUTH_PX]
    pixels = sum(look.mouth_px for look in open_mouths)
    return picture.psnr(sum(look.mouth_error for look in open_mouths) / pixels) if pixels else None


def _mean(values: list[float] | np.ndarray) -> float | None:
    finite = np.asarray(values)[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def _ratio(a: float, b: float) -> float | None:
    return a / b if b else None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None or not np.isfinite(factor) else value * factor


def _tensor(frame: np.ndarray) -> Tensor:
    return torch.from_numpy(frame.transpose(2, 0, 1).astype(np.float32) / 255)


def _resized(frame: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize((_LIPS_PX, _LIPS_PX), Image.Resampling.BILINEAR))
