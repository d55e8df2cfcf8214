# SPDX-License-Identifier: Apache-2.0
"""How close a made picture is to the real one: PSNR, SSIM and sharpness. Pictures are [H,W,3] uint8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import laplace
from torch import Tensor

from avatar3d.metrics.regions import Box

_PEAK = 255.0
_LEAST_MSE = 1e-3  # 78 dB: equal pictures get a finite figure
_SSIM_SIGMA_PX = 1.5
SSIM_RADIUS_PX = 5  # 3.5 sigma
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def psnr(mean_squared_error: float) -> float:
    """dB, from the mean squared error of values 0..255."""
    return float(10 * np.log10(_PEAK**2 / max(mean_squared_error, _LEAST_MSE)))


def squared_error(made: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Mean over the three colours of the squared difference, [H,W] float64."""
    difference = made.astype(np.int32) - real
    return np.square(difference).sum(-1) / 3


@dataclass(frozen=True)
class SsimSide:
    """What SSIM needs of one picture: it and its local moments at every position that a whole window fits around."""

    picture: Tensor  # [3,H,W] float64 0..255
    mean: Tensor  # [3,H-10,W-10]
    variance: Tensor  # [3,H-10,W-10]


def ssim_side(picture: np.ndarray) -> SsimSide:
    """Local moments of a picture; at least 11 px a side."""
    x = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1), np.float64))
    mean = _windowed(x)
    return SsimSide(x, mean, _windowed(x * x) - mean * mean)


def ssim_map(a: SsimSide, b: SsimSide) -> np.ndarray:
    """SSIM at every position a whole window fits around, mean of the three colours: [H-10,W-10].

    Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004: Gaussian window of
    sigma 1.5 px, 11 px wide; population covariance.
    """
    c1, c2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
    product = a.mean * b.mean
    covariance = _windowed(a.picture * b.picture) - product
    likeness = (2 * product + c1) * (2 * covariance + c2)
    bound = (a.mean**2 + b.mean**2 + c1) * (a.variance + b.variance + c2)
    return (likeness / bound).mean(0).numpy()


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM of two whole pictures."""
    return float(ssim_map(ssim_side(a), ssim_side(b)).mean())


def ssim_in(likeness: np.ndarray, box: Box) -> float | None:
    """SSIM of a rectangle from the whole picture's `ssim_map`; None where no window fits into it.

    A position of the map at (row, column) stands for the pixel 5 px further down and right, so the rectangle's own
    windows are the map's positions from its corner on.
    """
    inner = likeness[box.y0 : box.y1 - 2 * SSIM_RADIUS_PX, box.x0 : box.x1 - 2 * SSIM_RADIUS_PX]
    return float(inner.mean()) if inner.size else None


def sharpness(picture: np.ndarray, where: np.ndarray) -> float:
    """Variance of the grey picture's Laplacian over a mask [H,W]."""
    return float(laplace(picture.astype(np.float32) @ _LUMA)[where].var())


def _gaussian_window() -> list[float]:
    at = np.arange(-SSIM_RADIUS_PX, SSIM_RADIUS_PX + 1)
    window = np.exp(-0.5 * (at / _SSIM_SIGMA_PX) ** 2)
    return list(map(float, window / window.sum()))


_WINDOW = _gaussian_window()


def _windowed(x: Tensor) -> Tensor:
    # sums of shifted pictures: a fifth of the time of a convolution with two small kernels, or less
    for axis in (1, 2):
        length = x.shape[axis] - 2 * SSIM_RADIUS_PX
        total = x.narrow(axis, 0, length) * _WINDOW[0]
        for shift, weight in enumerate(_WINDOW[1:], 1):
            total.add_(x.narrow(axis, shift, length), alpha=weight)
        x = total
    return x
