# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from avatar3d.ops.ssim import _image_loss, image_loss, image_loss_reference, ssim, ssim_reference


def pictures(height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    a = torch.rand(3, height, width, generator=g)
    b = (a + 0.1 * torch.randn(3, height, width, generator=g)).clamp(0, 1)
    return a, b, 0.1 + torch.rand(height, width, generator=g)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (37, 53), (64, 48), (16, 160)])
def test_kernel_agrees_with_float64(isa: str, size: tuple[int, int], share: float) -> None:
    a, b, weight = pictures(*size)
    a.requires_grad_()
    loss = image_loss(a, b, weight, share, "native")
    (gradient,) = torch.autograd.grad(3 * loss, a)
    exact_a = a.detach().double().requires_grad_()
    exact = image_loss_reference(exact_a, b.double(), weight.double(), share)
    (truth,) = torch.autograd.grad(3 * exact, exact_a)
    assert loss.item() == pytest.approx(exact.item(), abs=3e-7)
    assert float((gradient - truth).norm() / truth.norm()) < 3e-6


def test_reference_gradient_is_the_derivative() -> None:
    a, b, weight = (t.double() for t in pictures(6, 7))
    a.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: image_loss(x, b, weight, 0.4, "reference"), (a,), eps=1e-7, atol=1e-6)


def test_ssim_is_wangs_in_the_interior() -> None:
    """Against windows by scipy, with the variances kept apart as in the paper."""
    a, b, _ = (t.double() for t in pictures(60, 60))

    def blur(x: Tensor) -> np.ndarray:
        return np.stack([gaussian_filter(plane, 1.5, mode="constant", radius=5) for plane in x.numpy()])

    mean_a, mean_b = blur(a), blur(b)
    variance_a, variance_b, covariance = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    value /= (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    assert float(ssim_reference(a, b)) == pytest.approx(value.mean(), abs=1e-12)


def test_a_picture_is_like_itself(isa: str) -> None:
    a, b, weight = pictures(30, 40)
    assert float(ssim(a, a, "native")) == pytest.approx(1, abs=1e-6)
    assert float(ssim(a, b, "native")) == pytest.approx(float(ssim_reference(a, b)), abs=1e-6)
    assert float(image_loss(a, a, weight, 0.2, "native")) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("path", ["native", "reference"])
def test_weights_of_zero_leave_the_similarity(path: str, kernels: None) -> None:
    a, b, weight = pictures(20, 20)
    loss = image_loss(a, b, torch.zeros_like(weight), 0.25, path)
    assert float(loss) == pytest.approx(0.25 * (1 - float(ssim_reference(a, b))), abs=1e-6)


def test_target_gets_no_gradient(kernels: None) -> None:
    a, b, weight = pictures(20, 20)
    for path in ("native", "reference"):
        loss = image_loss(a.requires_grad_(), b.requires_grad_(), weight, 0.2, path)
        assert torch.autograd.grad(loss, b, allow_unused=True) == (None,)


def test_nan_is_not_hidden(isa: str) -> None:
    a, b, weight = pictures(20, 20)
    a[1, 7, 7] = float("nan")
    assert image_loss(a, b, weight, 0.2, "native").isnan()


def test_wrong_inputs_are_refused_by_name(kernels: None) -> None:
    a, b, weight = pictures(20, 24)
    with pytest.raises(ValueError, match="target has shape"):
        image_loss(a, b[:, 1:], weight, 0.2)
    with pytest.raises(ValueError, match="weight has shape"):
        image_loss(a, b, weight[1:], 0.2)
    with pytest.raises(ValueError, match=r"rgb is torch.float64"):
        image_loss(a.double(), b, weight, 0.2)


def test_op_is_registered_as_torch_expects(kernels: None) -> None:
    a, b, weight = pictures(20, 24)
    torch.library.opcheck(_image_loss, (a.requires_grad_(), b, weight, 0.2, True))
