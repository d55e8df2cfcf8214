# SPDX-License-Identifier: Apache-2.0
"""Weighted L1 and structural similarity of pictures, with the gradient made in the forward pass.

SSIM (Wang et al. 2004): 11x11 Gaussian window of sigma 1.5 px, zeros beyond the picture, C1 = .01^2, C2 = .03^2, values
0..1, mean over pixels and channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from avatar3d.ops import _native

__all__ = ["image_loss", "image_loss_reference", "ssim", "ssim_reference"]

C1, C2 = 0.01**2, 0.03**2
REACH_PX, SIGMA_PX = 5, 1.5


def image_loss(rgb: Tensor, target: Tensor, weight: Tensor, ssim_share: float, path: str = "auto") -> Tensor:
    """(1-s) sum(weight |rgb - target|) / (3 sum(weight)) + s (1 - SSIM) of each picture; differentiable in rgb only.

    Args:
        rgb, target: [3,H,W] 0..1, or [B,3,H,W].
        weight: [H,W] or [B,H,W], not negative, of the L1 term; where it is zero everywhere that term is zero.
        ssim_share: s, 0..1.
        path: "native" (the kernel; float32; CPU, CUDA), "reference", or "auto": native where there is one.

    Returns:
        A scalar, or [B].

    Raises:
        ValueError: a tensor of another shape or type; names it.
    """
    for name, tensor, shape in (("target", target, rgb.shape), ("weight", weight, rgb.shape[:-3] + rgb.shape[-2:])):
        if tensor.shape != shape or rgb.ndim not in (3, 4) or rgb.shape[-3] != 3:
            raise ValueError(f"image_loss: {name} has shape {tuple(tensor.shape)} for rgb of {tuple(rgb.shape)}")
    if not _native.use_native("image_loss", path, rgb.device):
        return image_loss_reference(rgb, target, weight, ssim_share)
    wanted = torch.is_grad_enabled() and rgb.requires_grad
    loss, _ = _image_loss(rgb, target.detach(), weight.detach(), float(ssim_share), wanted)
    return loss


def image_loss_reference(rgb: Tensor, target: Tensor, weight: Tensor, ssim_share: float) -> Tensor:
    """The twin of `image_loss` in plain torch."""
    target, weight = target.detach(), weight.detach()
    total = 3 * weight.sum((-2, -1))
    difference = (weight[..., None, :, :] * (rgb - target).abs()).sum((-3, -2, -1))
    difference = difference / torch.where(total > 0, total, torch.ones_like(total))
    if not ssim_share:
        return difference
    return (1 - ssim_share) * difference + ssim_share * (1 - ssim_reference(rgb, target))


def ssim(a: Tensor, b: Tensor, path: str = "auto") -> Tensor:
    """Mean structural similarity of pictures [3,H,W] or [B,3,H,W], a scalar or [B]; differentiable in a only."""
    return 1 - image_loss(a, b, torch.zeros_like(a[..., 0, :, :]), 1.0, path)


def ssim_reference(a: Tensor, b: Tensor) -> Tensor:
    """The twin of `ssim` in plain torch."""
    b = b.detach()
    offsets = torch.arange(-REACH_PX, REACH_PX + 1, dtype=torch.float64)
    taps = torch.exp(-(offsets**2) / (2 * SIGMA_PX**2))
    taps = (taps / taps.sum()).to(a)
    mean_a, mean_b, square_a, square_b, product = (_blur(plane, taps) for plane in (a, b, a * a, b * b, a * b))
    covariance = product - mean_a * mean_b
    variances = square_a - mean_a**2 + square_b - mean_b**2
    above = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    return (above / ((mean_a**2 + mean_b**2 + C1) * (variances + C2))).mean((-3, -2, -1))


def _blur(pictures: Tensor, taps: Tensor) -> Tensor:
    planes = pictures.reshape(-1, 1, *pictures.shape[-2:])
    across = conv2d(planes, taps.view(1, 1, 1, -1), padding=(0, REACH_PX))
    return conv2d(across, taps.view(1, 1, -1, 1), padding=(REACH_PX, 0)).reshape(pictures.shape)


@torch.library.custom_op("avatar3d::image_loss", mutates_args=())
def _image_loss(
    rgb: Tensor, target: Tensor, weight: Tensor, ssim_share: float, with_gradient: bool
) -> tuple[Tensor, Tensor]:
    shape, flat = tuple(rgb.shape), tuple(weight.shape)
    inputs = _native.prepared("image_loss", rgb=(rgb, shape), target=(target, shape), weight=(weight, flat))
    loss = rgb.new_empty(shape[:-3])
    gradient = rgb.new_empty(shape if with_gradient else (0,))
    if _native.body(rgb.device) == "cuda":
        _on_cuda(inputs, ssim_share, loss, gradient if with_gradient else None)
        return loss, gradient
    kernel, count = _native.library().avatar3d_image_loss, loss.numel()
    planar, losses = [tensor.view(count, -1) for tensor in inputs], loss.view(count)
    gradients = gradient.view(count, -1) if with_gradient else [None] * count
    for *image, one, found in zip(*planar, losses, gradients, strict=True):
        pointers = (tensor.data_ptr() for tensor in image)
        status = kernel(*pointers, flat[-1], flat[-2], ssim_share, one.data_ptr(), _native.address(found))
        _native.checked(status, "image_loss")
    return loss, gradient


def _on_cuda(inputs: list[Tensor], ssim_share: float, loss: Tensor, gradient: Tensor | None) -> None:
    height, width = inputs[2].shape[-2:]
    sizes, device = (width, height, loss.numel()), loss.device
    scratch = loss.new_empty(_native.library("cuda").avatar3d_cuda_image_loss_scratch(*sizes, gradient is not None))
    outputs = map(_native.address, (scratch, loss, gradient))
    pointers = [tensor.data_ptr() for tensor in inputs]
    _native.launch("avatar3d_cuda_image_loss", "image_loss", device, *pointers, *sizes, ssim_share, *outputs)


@_image_loss.register_fake
def _(rgb: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    return rgb.new_empty(rgb.shape[:-3]), rgb.new_empty(rgb.shape if arguments[-1] else (0,))


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    if inputs[-1]:
        ctx.save_for_backward(output[1])


def _differentiate(ctx: Any, upstream: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, None, None, None, None]:
    gradient = None if upstream is None else upstream[..., None, None, None] * ctx.saved_tensors[0]
    return gradient, None, None, None, None


_image_loss.register_autograd(_differentiate, setup_context=_remember)
