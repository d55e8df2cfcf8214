# SPDX-License-Identifier: Apache-2.0
"""Losses of a drawn picture, each in one pass: over a background against the real one, and alpha against a mask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from avatar3d.ops import _native
from avatar3d.ops.ssim import image_loss, image_loss_reference

__all__ = ["mask_loss", "mask_loss_reference", "picture_loss", "picture_loss_reference"]


def picture_loss(
    rgb: Tensor, alpha: Tensor, background: Tensor, target: Tensor, weight: Tensor, ssim_share: float,
    path: str = "auto",
) -> Tensor:  # fmt: skip
    """`image_loss` of rgb + (1 - alpha) background, a scalar; differentiable in these three.

    Where there is no kernel of its own, as for CUDA tensors, torch composes and `image_loss` compares.

    Args:
        rgb: [3,H,W], multiplied by alpha.
        alpha: [H,W] 0..1.
        background: [3,H,W] 0..1.
        target, weight, ssim_share: as in `image_loss`.
        path: "native" (float32 on the CPU), "reference", or "auto": native where there is one.

    Raises:
        ValueError: a tensor of another shape or type; names it.
    """
    planar, flat = tuple(rgb.shape), tuple(rgb.shape[1:])
    for name, tensor, shape in (
        ("alpha", alpha, flat), ("background", background, planar), ("target", target, planar), ("weight", weight, flat)
    ):  # fmt: skip
        if tuple(tensor.shape) != shape or rgb.ndim != 3 or rgb.shape[0] != 3:
            raise ValueError(f"picture_loss: {name} has shape {tuple(tensor.shape)} for rgb of {planar}")
    if path == "reference":
        return picture_loss_reference(rgb, alpha, background, target, weight, ssim_share)
    if not _native.use_native("picture_loss", path, rgb.device):
        return image_loss(rgb + (1 - alpha) * background, target, weight, ssim_share, path)
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (rgb, alpha, background))
    loss, *_ = _picture_loss(rgb, alpha, background, target.detach(), weight.detach(), float(ssim_share), wanted)
    return loss


def picture_loss_reference(
    rgb: Tensor, alpha: Tensor, background: Tensor, target: Tensor, weight: Tensor, ssim_share: float
) -> Tensor:
    """The twin of `picture_loss` in plain torch."""
    return image_loss_reference(rgb + (1 - alpha) * background, target, weight, ssim_share)


Found = tuple[Tensor, Tensor, Tensor, Tensor]


@torch.library.custom_op("avatar3d::picture_loss", mutates_args=())
def _picture_loss(
    rgb: Tensor, alpha: Tensor, background: Tensor, target: Tensor, weight: Tensor, ssim_share: float, wanted: bool
) -> Found:
    height, width = weight.shape
    planar, flat = (3, height, width), (height, width)
    inputs = _native.prepared(
        "picture_loss", rgb=(rgb, planar), alpha=(alpha, flat), background=(background, planar),
        target=(target, planar), weight=(weight, flat),
    )  # fmt: skip
    found = _empty(rgb, planar, flat, wanted)
    loss, *gradients = (tensor.data_ptr() for tensor in found)
    pointers = [tensor.data_ptr() for tensor in inputs]
    targets = gradients if wanted else [None] * 3
    status = _native.library().avatar3d_picture_loss(*pointers, width, height, ssim_share, loss, *targets)
    _native.checked(status, "picture_loss")
    return found


def _empty(rgb: Tensor, planar: tuple[int, ...], flat: tuple[int, ...], wanted: bool) -> Found:
    shapes = [shape if wanted else (0,) for shape in (planar, flat, planar)]
    return rgb.new_empty(()), rgb.new_empty(shapes[0]), rgb.new_empty(shapes[1]), rgb.new_empty(shapes[2])


@_picture_loss.register_fake
def _(rgb: Tensor, alpha: Tensor, *arguments: Any) -> Found:
    return _empty(rgb, tuple(rgb.shape), tuple(alpha.shape), arguments[-1])


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Found) -> None:
    ctx.set_materialize_grads(False)
    if inputs[-1]:
        ctx.save_for_backward(*output[1:])


def _differentiate(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if upstream is None:
        return (None,) * 7
    # seven megabytes need not be multiplied by the one that a plain sum of terms sends back; a tracer's stand-in for a
    # tensor, which is of another type, has no value to look at
    plain = type(upstream) is Tensor and bool(upstream == 1)
    wanted = ctx.needs_input_grad[:3]
    pairs = zip(ctx.saved_tensors, wanted, strict=True)
    return *((g if plain else upstream * g) if needed else None for g, needed in pairs), None, None, None, None


_picture_loss.register_autograd(_differentiate, setup_context=_remember)


def mask_loss(alpha: Tensor, mask: Tensor, sure: float, path: str = "auto") -> Tensor:
    """Mean over the pixels of |alpha - mask / 255| where the mask is sure, and 0 where it is not; a scalar.

    Args:
        alpha: [H,W] 0..1; differentiable.
        mask: [H,W] uint8.
        sure: a mask counts below this and above one minus this, 0..1.
        path: "native" (float32 on the CPU), "reference", or "auto": native where there is one.

    Raises:
        ValueError: a tensor of another shape or type; names it.
    """
    if mask.shape != alpha.shape or mask.dtype != torch.uint8:
        raise ValueError(f"mask_loss: mask is {mask.dtype} of {tuple(mask.shape)}, expected uint8 {tuple(alpha.shape)}")
    if not _native.use_native("mask_loss", path, alpha.device):
        return mask_loss_reference(alpha, mask, sure)
    wanted = torch.is_grad_enabled() and alpha.requires_grad
    loss, _ = _mask_loss(alpha, mask, sure, wanted)
    return loss


def mask_loss_reference(alpha: Tensor, mask: Tensor, sure: float) -> Tensor:
    """The twin of `mask_loss` in plain torch."""
    level = mask.to(alpha.dtype) / 255
    known = (level < sure) | (level > 1 - sure)
    return torch.where(known, (alpha - level).abs(), torch.zeros_like(alpha)).mean()


@torch.library.custom_op("avatar3d::mask_loss", mutates_args=())
def _mask_loss(alpha: Tensor, mask: Tensor, sure: float, wanted: bool) -> tuple[Tensor, Tensor]:
    (given,) = _native.prepared("mask_loss", alpha=(alpha, tuple(mask.shape)))
    bits = mask.contiguous()
    loss, gradient = alpha.new_empty(()), alpha.new_empty(mask.shape if wanted else (0,))
    target = gradient.data_ptr() if wanted else None
    kernel = _native.library().avatar3d_mask_loss
    status = kernel(given.data_ptr(), bits.data_ptr(), bits.numel(), sure, loss.data_ptr(), target)
    _native.checked(status, "mask_loss")
    return loss, gradient


@_mask_loss.register_fake
def _(alpha: Tensor, mask: Tensor, _sure: float, wanted: bool) -> tuple[Tensor, Tensor]:
    return alpha.new_empty(()), alpha.new_empty(mask.shape if wanted else (0,))


def _remember_mask(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    if inputs[-1]:
        ctx.save_for_backward(output[1])


def _differentiate_mask(ctx: Any, upstream: Tensor | None, _: Any) -> tuple[Tensor | None, None, None, None]:
    gradient = None if upstream is None else upstream * ctx.saved_tensors[0]
    return gradient, None, None, None


_mask_loss.register_autograd(_differentiate_mask, setup_context=_remember_mask)
