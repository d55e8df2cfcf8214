# SPDX-License-Identifier: Apache-2.0
"""Tables blended at the codes of a frame or a batch, and an Adam step that never stores the tables' gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from avatar3d.ops import _native

__all__ = ["adam_low_rank", "adam_low_rank_reference", "blend", "blend_reference"]


def blend(codes: Tensor, tables: Tensor, path: str = "auto") -> Tensor:
    """sum_k codes_k tables_k; differentiable in both.

    Args:
        codes: [K], or [B,K] of a batch.
        tables: [K,...].
        path: "native" (the kernel; float32; CPU, CUDA), "reference", or "auto": native where there is one.

    Returns:
        [...], or [B,...].
    """
    if codes.ndim not in (1, 2) or tables.ndim < 2 or codes.shape[-1] != len(tables):
        raise ValueError(f"blend: codes of shape {tuple(codes.shape)} for tables of shape {tuple(tables.shape)}")
    if not _native.use_native("blend", path, tables.device):
        return blend_reference(codes, tables)
    return _blend(codes, tables)


def blend_reference(codes: Tensor, tables: Tensor) -> Tensor:
    """The twin of `blend` in plain torch."""
    return (codes.reshape(-1, len(tables)) @ tables.flatten(1)).reshape(*codes.shape[:-1], *tables.shape[1:])


@torch.no_grad()
def adam_low_rank(
    tables: Tensor, first: Tensor, second: Tensor, codes: Tensor, gradient: Tensor, lr: float, step: int,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, path: str = "auto",
) -> None:  # fmt: skip
    """One step of Adam (Kingma and Ba, 2015) on `tables`, in place, whose gradient is sum_b codes_bk gradient_b.

    Args:
        tables: [K,...]; `first` and `second`, its moments, are of the same shape and are updated too.
        codes: [K] or [B,K] that the tables were blended at.
        gradient: [...] or [B,...] of the blend.
        step: counts from 1.
    """
    shape = tuple(tables.shape)
    batch = tuple(codes.shape[:-1])
    if not _native.use_native("adam_low_rank", path, tables.device):
        adam_low_rank_reference(tables, first, second, codes, gradient, lr, step, betas, eps)
        return
    state = [(tables, shape), (first, shape), (second, shape)]
    if not all(tensor.is_contiguous() for tensor, _ in state):
        raise ValueError("adam_low_rank: tables and moments are updated in place, so they must be contiguous")
    named = dict(zip(("tables", "first", "second"), state, strict=True))
    upstream = {"codes": (codes, (*batch, shape[0])), "gradient": (gradient, (*batch, *shape[1:]))}
    pointers = map(_native.address, _native.prepared("adam_low_rank", **named, **upstream))
    # table -= lr * (first / c1) / (sqrt(second / c2) + eps)
    c1, c2 = 1 - betas[0] ** step, 1 - betas[1] ** step
    numbers = (lr / c1, 1 / math.sqrt(c2), 1 - betas[0], 1 - betas[1], eps)
    _call("adam_low_rank_step", "adam_low_rank", tables.device, *pointers, *_sizes(codes, tables), *numbers)


@torch.no_grad()
def adam_low_rank_reference(
    tables: Tensor, first: Tensor, second: Tensor, codes: Tensor, gradient: Tensor, lr: float, step: int,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
) -> None:  # fmt: skip
    """The twin of `adam_low_rank` in plain torch."""
    full = _outer(codes, gradient, tables)
    first.lerp_(full, 1 - betas[0])
    second.lerp_(full * full, 1 - betas[1])
    size = (second / (1 - betas[1] ** step)).sqrt_().add_(eps)
    tables.addcdiv_(first, size, value=-lr / (1 - betas[0] ** step))


def _outer(codes: Tensor, gradient: Tensor, tables: Tensor) -> Tensor:
    """The gradient by the tables: sum over images of codes times gradient."""
    return (codes.reshape(-1, len(tables)).T @ gradient.reshape(-1, tables[0].numel())).view(tables.shape)


def _sizes(codes: Tensor, tables: Tensor) -> tuple[int, int, int]:
    """Images, codes, width."""
    return codes.shape[:-1].numel(), len(tables), tables.shape[1:].numel()


def _call(name: str, op: str, device: torch.device, *arguments: Any) -> None:
    if _native.body(device) == "cuda":
        _native.launch(f"avatar3d_cuda_{name}", op, device, *arguments)
    else:
        _native.checked(getattr(_native.library(), f"avatar3d_{name}")(*arguments), op)


@torch.library.custom_op("avatar3d::blend", mutates_args=())
def _blend(codes: Tensor, tables: Tensor) -> Tensor:
    shape = tuple(tables.shape)
    batch = tuple(codes.shape[:-1])
    inputs = _native.prepared("blend", codes=(codes, (*batch, shape[0])), tables=(tables, shape))
    out = tables.new_empty(*batch, *shape[1:])
    images, *sizes = _sizes(codes, tables)
    pointers = [tensor.data_ptr() for tensor in inputs]
    if _native.body(tables.device) == "cuda":
        _call("blend_forward", "blend", tables.device, *pointers, images, *sizes, out.data_ptr())
        return out
    for code, row in zip(inputs[0].view(-1, shape[0]), out.view(images, -1), strict=True):
        _call("blend_forward", "blend", tables.device, code.data_ptr(), pointers[1], *sizes, row.data_ptr())
    return out


@_blend.register_fake
def _(codes: Tensor, tables: Tensor) -> Tensor:
    return tables.new_empty(*codes.shape[:-1], *tables.shape[1:])


@torch.library.custom_op("avatar3d::blend_codes_gradient", mutates_args=())
def _codes_gradient(codes: Tensor, tables: Tensor, gradient: Tensor) -> Tensor:
    shape = tuple(tables.shape)
    batch = tuple(codes.shape[:-1])
    inputs = _native.prepared("blend", tables=(tables, shape), gradient=(gradient, (*batch, *shape[1:])))
    out = tables.new_empty(*batch, shape[0])
    images, *sizes = _sizes(codes, tables)
    pointers = [tensor.data_ptr() for tensor in inputs]
    if _native.body(tables.device) == "cuda":
        scratch = tables.new_empty(_native.library("cuda").avatar3d_cuda_blend_scratch(images, *sizes))
        outputs = scratch.data_ptr(), out.data_ptr()
        _call("blend_codes_gradient", "blend", tables.device, *pointers, images, *sizes, *outputs)
        return out
    for upstream, row in zip(inputs[1].view(images, -1), out.view(images, -1), strict=True):
        rows = pointers[0], upstream.data_ptr()
        _call("blend_codes_gradient", "blend", tables.device, *rows, *sizes, row.data_ptr())
    return out


@_codes_gradient.register_fake
def _(codes: Tensor, tables: Tensor, _gradient: Tensor) -> Tensor:
    return tables.new_empty(codes.shape)


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG001 - torch names it
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
    codes, tables = ctx.saved_tensors
    to_codes = _codes_gradient(codes, tables, gradient) if ctx.needs_input_grad[0] else None
    to_tables = _outer(codes, gradient, tables) if ctx.needs_input_grad[1] else None
    return to_codes, to_tables


_blend.register_autograd(_differentiate, setup_context=_remember)
