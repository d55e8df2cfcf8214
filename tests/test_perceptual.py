# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor

from avatar3d import assets
from avatar3d._unpack import read_arrays
from avatar3d.errors import InputError
from avatar3d.perceptual import SMALLEST_PX, Lpips, gradient_loss, sharpness_loss
from avatar3d.store import load_picture

SHAPES = ((64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3))


def made_up_weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {}
    for i, (out, into, side) in enumerate(SHAPES):
        spread = (2 / (into * side * side)) ** 0.5
        arrays[f"w{i}"] = (rng.normal(size=(out, into, side, side)) * spread).astype(np.float32)
        arrays[f"b{i}"] = rng.normal(size=out).astype(np.float32) * 0.1
        arrays[f"h{i}"] = rng.random(out).astype(np.float32)
    return arrays


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lpips") / "weights.safetensors"
    save_file(made_up_weights(), path)
    return path


@pytest.fixture(scope="module")
def real_weights() -> Path:
    if assets.state(assets.LPIPS_ALEX)["where"] not in ("folder", "cache"):
        pytest.skip(f"needs LPIPS's weights; run `avatar3d assets {assets.LPIPS_ALEX}`")
    return assets.find(assets.LPIPS_ALEX)


@pytest.mark.parametrize(("name", "known"), [("ex_p0.png", 0.722), ("ex_p1.png", 0.138)])
def test_the_authors_own_examples(real_weights: Path, name: str, known: float) -> None:
    """imgs/ of github.com/richzhang/PerceptualSimilarity, with the figures that its README gives."""
    folder = os.environ.get("AVATAR3D_LPIPS_EXAMPLES")
    if not folder:
        pytest.skip("needs the example pictures of LPIPS's authors; AVATAR3D_LPIPS_EXAMPLES names no folder")
    reference, picture = (
        torch.from_numpy(load_picture(Path(folder) / file).copy()).permute(2, 0, 1).float() / 255
        for file in ("ex_ref.png", name)
    )
    assert float(Lpips.load(real_weights)(picture, reference)) == pytest.approx(known, abs=5e-4)


def pictures(size: int, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size)
    a = torch.rand(3, size, size, generator=generator)
    return a, (a + noise * torch.randn(a.shape, generator=generator)).clamp(0, 1)


def numpy_lpips(arrays: dict[str, np.ndarray], a: np.ndarray, b: np.ndarray) -> float:
    """The definition, in float64 and loops over kernel positions."""

    def activations(x: np.ndarray) -> list[np.ndarray]:
        shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
        x = ((x * 2 - 1) - shift[:, None, None]) / scale[:, None, None]
        found = []
        for i in range(5):
            if i in (1, 2):
                rows, columns = ((side - 3) // 2 + 1 for side in x.shape[1:])
                windows = [
                    x[:, r : r + 2 * rows - 1 : 2, c : c + 2 * columns - 1 : 2] for r in range(3) for c in range(3)
                ]
                x = np.max(windows, 0)
            kernel, stride, pad = arrays[f"w{i}"].astype(np.float64), (4, 1, 1, 1, 1)[i], (2, 2, 1, 1, 1)[i]
            x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
            side = kernel.shape[-1]
            rows, columns = ((length - side) // stride + 1 for length in x.shape[1:])
            total = np.zeros((len(kernel), rows, columns)) + arrays[f"b{i}"][:, None, None]
            for r in range(side):
                for c in range(side):
                    part = x[:, r : r + stride * (rows - 1) + 1 : stride, c : c + stride * (columns - 1) + 1 : stride]
                    total += np.einsum("oi,ihw->ohw", kernel[:, :, r, c], part)
            x = np.maximum(total, 0)
            found.append(x / (np.sqrt((x**2).sum(0, keepdims=True)) + 1e-10))
        return found

    pairs = zip(activations(a), activations(b), strict=True)
    return float(sum(((x - y) ** 2 * arrays[f"h{i}"][:, None, None]).sum(0).mean() for i, (x, y) in enumerate(pairs)))


@pytest.mark.parametrize("size", [SMALLEST_PX, 50])
def test_lpips_is_its_definition(weights: Path, size: int) -> None:
    a, b = pictures(size)
    expected = numpy_lpips(made_up_weights(), a.double().numpy(), b.double().numpy())
    assert float(Lpips.load(weights)(a, b)) == pytest.approx(expected, abs=1e-5)
    assert float(Lpips.load(weights).to(dtype=torch.float64)(a.double(), b.double())) == pytest.approx(
        expected, abs=1e-9
    )


def test_real_weights_rank_noise_and_agree_with_the_definition(real_weights: Path) -> None:
    lpips = Lpips.load(real_weights)
    a, little = pictures(64, 0.02)
    _, much = pictures(64, 0.2)
    assert float(lpips(a, a)) == 0
    assert 0 < float(lpips(a, little)) < float(lpips(a, much))
    expected = numpy_lpips(read_arrays(real_weights), a.double().numpy(), much.double().numpy())
    assert float(lpips(a, much)) == pytest.approx(expected, abs=1e-5)


def test_a_batch_is_the_mean_of_its_pictures(weights: Path) -> None:
    lpips = Lpips.load(weights)
    (a, b), (c, d) = pictures(40), pictures(40, 0.3)
    singles = (float(lpips(a, b)) + float(lpips(c, d))) / 2
    assert float(lpips(torch.stack([a, c]), torch.stack([b, d]))) == pytest.approx(singles, rel=1e-5)


def test_the_gradient_is_the_slope_and_the_target_gets_none(weights: Path) -> None:
    lpips = Lpips.load(weights).to(dtype=torch.float64)
    a, b = (picture.double() for picture in pictures(35))
    a.requires_grad_()
    b.requires_grad_()
    lpips(a, b).backward()
    assert b.grad is None and a.grad is not None
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(a.shape, generator=generator, dtype=torch.float64)
    step = 1e-6
    with torch.no_grad():
        slope = float(lpips(a + step * direction, b) - lpips(a - step * direction, b)) / (2 * step)
    assert float((a.grad * direction).sum()) == pytest.approx(slope, rel=1e-4)


def test_the_gradient_is_finite_where_nothing_responds(tmp_path: Path) -> None:
    arrays = made_up_weights()
    arrays["b0"] = np.full(64, -100, np.float32)
    save_file(arrays, tmp_path / "dead.safetensors")
    a, b = pictures(40)
    a.requires_grad_()
    Lpips.load(tmp_path / "dead.safetensors")(a, b).backward()
    assert a.grad is not None and torch.isfinite(a.grad).all()


def test_small_pictures_and_wrong_files_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least"):
        Lpips.load(weights)(*pictures(SMALLEST_PX - 1))
    arrays = made_up_weights()
    arrays["w3"] = arrays["w3"][:1]
    save_file(arrays, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="w3"):
        Lpips.load(tmp_path / "x.safetensors")


def test_gradient_loss_of_a_ramp() -> None:
    ramp = torch.arange(16.0)[None, None, :].expand(3, 16, 16) / 16
    flat = torch.zeros(3, 16, 16)
    # the slope across is 1/16 at the first scale and doubles with each; down it is 0
    assert float(gradient_loss(ramp, flat, scales=3)) == pytest.approx((1 + 2 + 4) / 16 / 2 / 3)
    assert float(gradient_loss(flat + 0.3, flat)) == 0
    assert float(gradient_loss(ramp[:, :3, :3], flat[:, :3, :3], scales=9)) == pytest.approx(1 / 16 / 2)


def test_gradient_loss_sees_blur() -> None:
    a, _ = pictures(32)
    blurred = torch.nn.functional.avg_pool2d(a, 3, 1, 1)
    assert float(gradient_loss(blurred, a)) > float(gradient_loss(a * 0.98, a))


def test_sharpness_loss_of_a_wave() -> None:
    """cos(pi x / 2) has the Laplacian -2 cos(pi x / 2), whose mean square over whole periods is 2."""
    wave = torch.cos(torch.pi / 2 * torch.arange(18.0)).expand(3, 18, 18)
    assert float(sharpness_loss(wave, torch.zeros(3, 18, 18))) == pytest.approx(math.sqrt(2), abs=2e-3)
    assert float(sharpness_loss(wave, wave.transpose(1, 2))) == pytest.approx(0, abs=1e-6)  # wherever it lies
    assert float(sharpness_loss(torch.full((3, 18, 18), 0.7), torch.zeros(3, 18, 18))) == pytest.approx(0, abs=1e-6)


def test_sharpness_loss_asks_for_what_blur_took() -> None:
    real, _ = pictures(32)
    made = torch.nn.functional.avg_pool2d(real, 3, 1, 1).requires_grad_()
    sharpness_loss(made, real).backward()
    assert made.grad is not None
    assert torch.isfinite(made.grad).all()
    sharper = made.detach() - 1e-3 * made.grad / made.grad.norm()
    assert float(sharpness_loss(sharper, real)) < float(sharpness_loss(made.detach(), real))
