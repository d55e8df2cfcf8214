# SPDX-License-Identifier: Apache-2.0
"""The loss of a batch of pictures, on the CPU and by the CUDA body, against plain torch."""

from __future__ import annotations

import pytest
import torch
from test_ssim import pictures
from torch import Tensor

from avatar3d.ops.ssim import image_loss, image_loss_reference, ssim


def batch_of(images: int, height: int, width: int) -> list[Tensor]:
    return [torch.stack(parts) for parts in zip(*(pictures(height, width, i) for i in range(images)), strict=True)]


def compare(given: list[Tensor], share: float, device: torch.device) -> None:
    rgb, target, weight = (tensor.to(device) for tensor in given)
    rgb.requires_grad_()
    loss = image_loss(rgb, target, weight, share, "native")
    upstream = torch.rand(loss.shape)
    (gradient,) = torch.autograd.grad(loss, rgb, upstream.to(device))
    exact = given[0].double().requires_grad_()
    truth = image_loss_reference(exact, given[1].double(), given[2].double(), share)
    (expected,) = torch.autograd.grad(truth, exact, upstream.double())
    assert loss.shape == truth.shape
    assert torch.allclose(loss.detach().cpu().double(), truth.detach(), atol=3e-7)
    assert float((gradient.cpu() - expected).norm() / expected.norm()) < 3e-6
    with torch.no_grad():
        assert torch.equal(image_loss(rgb, target, weight, share, "native"), loss)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_batch_on_the_cpu(kernels: None, share: float) -> None:
    compare(batch_of(3, 21, 35), share, torch.device("cpu"))


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(("images", "size"), [(1, (1, 1)), (3, (37, 53)), (2, (16, 64)), (1, (5, 70))])
def test_batch_on_cuda(cuda: torch.device, images: int, size: tuple[int, int], share: float) -> None:
    compare(batch_of(images, *size), share, cuda)


def test_one_picture_on_cuda(cuda: torch.device) -> None:
    compare(list(pictures(20, 41)), 0.2, cuda)


def test_a_picture_without_weight_has_no_l1_term(cuda: torch.device) -> None:
    rgb, target, weight = (tensor.to(cuda) for tensor in batch_of(2, 20, 40))
    weight[1] = 0
    loss = image_loss(rgb, target, weight, 0.25, "native")
    assert float(loss[1]) == pytest.approx(0.25 * (1 - float(ssim(rgb, target, "native")[1])), abs=1e-6)


def test_nan_stays_in_its_picture(cuda: torch.device) -> None:
    rgb, target, weight = (tensor.to(cuda) for tensor in batch_of(2, 20, 40))
    rgb[0, 1, 3, 3] = float("nan")
    loss = image_loss(rgb, target, weight, 0.2, "native")
    assert loss.isnan().tolist() == [True, False]


def test_the_reference_takes_batches() -> None:
    rgb, target, weight = batch_of(2, 14, 15)
    single = [image_loss_reference(*one, 0.2) for one in zip(rgb, target, weight, strict=True)]
    assert torch.allclose(image_loss_reference(rgb, target, weight, 0.2), torch.stack(single))


def test_misshapen_batches_are_named() -> None:
    rgb, target, weight = batch_of(2, 14, 15)
    with pytest.raises(ValueError, match="weight"):
        image_loss(rgb, target, weight[0], 0.2)
    with pytest.raises(ValueError, match="target"):
        image_loss(rgb, target[:1], weight, 0.2)
