# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import Tensor

from avatar3d.ops import _native
from avatar3d.ops.picture import (
    _mask_loss,
    _picture_loss,
    mask_loss,
    mask_loss_reference,
    picture_loss,
    picture_loss_reference,
)
from avatar3d.ops.ssim import image_loss

NAMES = ("rgb", "alpha", "background")


def layers(height: int, width: int, seed: int = 0) -> tuple[list[Tensor], Tensor, Tensor]:
    """rgb, alpha, background; target; weight."""
    g = torch.Generator().manual_seed(seed)
    background = torch.rand(3, height, width, generator=g)
    alpha = torch.rand(height, width, generator=g)
    rgb = alpha * torch.rand(3, height, width, generator=g)
    target = (rgb + (1 - alpha) * background + 0.1 * torch.randn(3, height, width, generator=g)).clamp(0, 1)
    return [rgb, alpha, background], target, 0.1 + torch.rand(height, width, generator=g)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (37, 53), (64, 48), (16, 160), (33, 17), (130, 64), (400, 20)])
def test_kernel_agrees_with_float64(isa: str, size: tuple[int, int], share: float) -> None:
    parts, target, weight = layers(*size)
    leaves = [part.requires_grad_() for part in parts]
    loss = picture_loss(*parts, target, weight, share, "native")
    exact_leaves = [part.detach().double().requires_grad_() for part in parts]
    exact = picture_loss_reference(*exact_leaves, target.double(), weight.double(), share)
    assert loss.item() == pytest.approx(exact.item(), abs=3e-7)
    found = torch.autograd.grad(3 * loss, leaves)
    truth = torch.autograd.grad(3 * exact, exact_leaves)
    for name, ours, theirs in zip(NAMES, found, truth, strict=True):
        assert float((ours - theirs).norm()) <= 5e-6 * float(theirs.norm()), name


def test_a_gradient_that_is_not_asked_for_is_not_given(kernels: None) -> None:
    (rgb, alpha, background), target, weight = layers(20, 24)
    loss = picture_loss(rgb, alpha.requires_grad_(), background, target, weight, 0.2, "native")
    (unscaled,) = torch.autograd.grad(loss, alpha, retain_graph=True)
    (scaled,) = torch.autograd.grad(loss, alpha, torch.tensor(0.5))
    assert torch.allclose(scaled, 0.5 * unscaled)
    assert not picture_loss(rgb, alpha.detach(), background, target, weight, 0.2, "native").requires_grad


def test_two_threads_give_the_bits_of_one(isa: str) -> None:
    parts, target, weight = layers(150, 70)
    leaves = [part.requires_grad_() for part in parts]
    before = _native.threads()
    runs = []
    try:
        for threads in (1, 2):
            _native.set_threads(threads)
            loss = picture_loss(*parts, target, weight, 0.2, "native")
            runs.append((loss, *torch.autograd.grad(loss, leaves)))
    finally:
        _native.set_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_it_is_the_image_loss_of_the_composed_picture(isa: str) -> None:
    (rgb, alpha, background), target, weight = layers(40, 50)
    composed = rgb + (1 - alpha) * background
    expected = image_loss(composed, target, weight, 0.3, "native")
    assert float(picture_loss(rgb, alpha, background, target, weight, 0.3)) == pytest.approx(float(expected), abs=1e-7)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_is_not_hidden(isa: str, layer: int, bad: float) -> None:
    parts, target, weight = layers(20, 20)
    parts[layer].view(-1)[45] = bad
    assert not picture_loss(*parts, target, weight, 0.2, "native").isfinite()


def test_wrong_inputs_are_refused_by_name(kernels: None) -> None:
    (rgb, alpha, background), target, weight = layers(20, 24)
    with pytest.raises(ValueError, match="alpha has shape"):
        picture_loss(rgb, alpha[1:], background, target, weight, 0.2)
    with pytest.raises(ValueError, match="background has shape"):
        picture_loss(rgb, alpha, background[:2], target, weight, 0.2)
    with pytest.raises(ValueError, match=r"background is torch\.float64"):
        picture_loss(rgb, alpha, background.double(), target, weight, 0.2)


def test_op_is_registered_as_torch_expects(kernels: None) -> None:
    (rgb, alpha, background), target, weight = layers(20, 24)
    torch.library.opcheck(
        _picture_loss, (rgb.requires_grad_(), alpha.requires_grad_(), background, target, weight, 0.2, True)
    )


def masked(height: int, width: int) -> tuple[Tensor, Tensor]:
    """alpha, and a mask that is sure here and there."""
    g = torch.Generator().manual_seed(3)
    mask = torch.randint(0, 256, (height, width), generator=g, dtype=torch.uint8)
    mask[torch.rand(height, width, generator=g) < 0.5] = 255
    mask[:, ::3] = 0
    return torch.rand(height, width, generator=g), mask


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (64, 48), (200, 180)])
def test_mask_kernel_agrees_with_float64(isa: str, size: tuple[int, int]) -> None:
    alpha, mask = masked(*size)
    alpha[0, 0], mask[0, 0] = 1, 255  # no distance, no slope
    loss = mask_loss(alpha.requires_grad_(), mask, 0.05, "native")
    exact_alpha = alpha.detach().double().requires_grad_()
    exact = mask_loss_reference(exact_alpha, mask, 0.05)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6, abs=1e-9)
    (found,), (truth,) = torch.autograd.grad(3 * loss, alpha), torch.autograd.grad(3 * exact, exact_alpha)
    assert torch.allclose(found.double(), truth, rtol=1e-6, atol=0)


def test_a_mask_that_is_nowhere_sure_asks_for_nothing(kernels: None) -> None:
    alpha = torch.rand(9, 7).requires_grad_()
    loss = mask_loss(alpha, torch.full((9, 7), 128, dtype=torch.uint8), 0.05, "native")
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, alpha)[0].any()


def test_mask_is_checked_and_numbers_are_not_hidden(kernels: None) -> None:
    alpha, mask = masked(20, 24)
    with pytest.raises(ValueError, match=r"mask is torch\.uint8"):
        mask_loss(alpha, mask[1:], 0.05)
    with pytest.raises(ValueError, match=r"mask is torch\.float32"):
        mask_loss(alpha, mask.float(), 0.05)
    alpha[3, 3] = float("nan")
    assert mask_loss(alpha, mask, 0.05, "native").isnan()
    torch.library.opcheck(_mask_loss, (torch.rand(20, 24).requires_grad_(), mask, 0.05, True))
