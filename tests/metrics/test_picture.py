# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from avatar3d.metrics.picture import psnr, sharpness, squared_error, ssim, ssim_in, ssim_map, ssim_side
from avatar3d.metrics.regions import Box


def noisy(size: tuple[int, int] = (64, 48), spread: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    real = rng.integers(60, 190, (*size, 3), dtype=np.uint8)
    return real, (real + rng.normal(0, spread, real.shape)).round().astype(np.uint8)


def ssim_by_formula(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Window by window, in loops."""
    at = np.arange(-5, 6)
    line = np.exp(-(at**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    height, width = a.shape[0] - 10, a.shape[1] - 10
    out = np.zeros((height, width, 3))
    for row in range(height):
        for column in range(width):
            for colour in range(3):
                x = a[row : row + 11, column : column + 11, colour].astype(float)
                y = b[row : row + 11, column : column + 11, colour].astype(float)
                mx, my = (window * x).sum(), (window * y).sum()
                vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
                both = (window * (x - mx) * (y - my)).sum()
                out[row, column, colour] = ((2 * mx * my + c1) * (2 * both + c2)) / (
                    (mx * mx + my * my + c1) * (vx + vy + c2)
                )
    return out.mean(-1)


def test_psnr_of_known_noise() -> None:
    rng = np.random.default_rng(1)
    real = np.full((200, 200, 3), 128, np.uint8)
    made = (real + rng.normal(0, 8, real.shape)).round().astype(np.uint8)
    # rounding adds 1/12 to the noise's variance
    assert psnr(squared_error(made, real).mean()) == pytest.approx(10 * np.log10(255**2 / (64 + 1 / 12)), abs=0.05)


def test_equal_pictures_get_a_finite_figure() -> None:
    real, _ = noisy()
    assert psnr(squared_error(real, real).mean()) == pytest.approx(78.13, abs=0.01)
    assert ssim(real, real) == pytest.approx(1.0)


def test_the_squared_error_does_not_wrap_around() -> None:
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert (squared_error(black, white) == 255**2).all() and (squared_error(white, black) == 255**2).all()


def test_ssim_is_its_formula() -> None:
    real, made = noisy((20, 17))
    np.testing.assert_allclose(ssim_map(ssim_side(made), ssim_side(real)), ssim_by_formula(made, real), atol=1e-10)


def test_ssim_of_a_rectangle_is_that_of_the_cut() -> None:
    real, made = noisy()
    likeness = ssim_map(ssim_side(made), ssim_side(real))
    for box in (Box(0, 0, 48, 64), Box(7, 9, 40, 41), Box(20, 0, 48, 30)):
        assert ssim_in(likeness, box) == pytest.approx(ssim(box.cut(made), box.cut(real)), abs=1e-12)
    assert ssim_in(likeness, Box(3, 3, 13, 60)) is None


def test_sharpness_falls_with_blur_and_looks_only_where_told() -> None:
    real, _ = noisy()
    blurred = ((real[:-1, :-1].astype(int) + real[1:, 1:]) // 2).astype(np.uint8)
    everywhere = np.ones(blurred.shape[:2], bool)
    assert sharpness(blurred, everywhere) < 0.8 * sharpness(real, np.ones(real.shape[:2], bool))
    half = everywhere.copy()
    half[:, 20:] = False
    altered = blurred.copy()
    altered[:, 22:] = 0
    assert sharpness(altered, half) == sharpness(blurred, half)
