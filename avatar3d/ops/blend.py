# SPDX-License-Identifier: Apache-2.0
"""Tables blended at a frame's codes, and an Adam step that never stores the tables' gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from avatar3d.ops import _native

__all__ = ["adam_rank1", "adam_rank1_reference", "blend", "blend_reference"]


def blend(codes: Tensor, tables: Tensor, path: str = "auto") -> Tensor:
    """sum_k codes_k tables_k; differentiable in both.

    Args:
        codes: [K].
        tables: [K,...].
        path: "native", "reference" or "auto".

    Returns:
        [...].
    """
    if codes.ndim != 1 or tables.ndim < 2 or len(codes) != len(tables):
        raise ValueError(f"blend: codes of shape {tuple(codes.shape)} for tables of shape {tuple(tables.shape)}")
    if not _native.use_native("blend", path, tables.device):
        return blend_reference(codes, tables)
    return _blend(codes, tables)


def blend_reference(codes: Tensor, tables: Tensor) -> Tensor:
    """The twin of `blend` in plain torch."""
    return (codes[None] @ tables.flatten(1))[0].unflatten(0, tables.shape[1:])


@torch.no_grad()
def adam_rank1(
    tables: Tensor, first: Tensor, second: Tensor, codes: Tensor, gradient: Tensor, lr: float, step: int,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, path: str = "auto",
) -> None:  # fmt: skip
    """One step of Adam (Kingma and Ba, 2015) on `tables`, in place, whose gradient is codes_k times `gradient`.

    Args:
        tables: [K,...]; `first` and `second`, its moments, are of the same shape and are updated too.
        codes: [K] that the tables were blended at.
        gradient: [...] of the blend.
        step: counts from 1.
    """
    if not _native.use_native("adam_rank1", path, tables.device):
        adam_rank1_reference(tables, first, second, codes, gradient, lr, step, betas, eps)
        return
    shape = tuple(tables.shape)
    state = [(tables, shape), (first, shape), (second, shape)]
    if not all(tensor.is_contiguous() for tensor, _ in state):
        raise ValueError("adam_rank1: tables and moments are updated in place, so they must be contiguous")
    named = dict(zip(("tables", "first", "second"), state, strict=True))
    inputs = _native.prepared("adam_rank1", **named, codes=(codes, shape[:1]), gradient=(gradient, shape[1:]))
    # table -= lr * (first / c1) / (sqrt(second / c2) + eps)
    c1, c2 = 1 - betas[0] ** step, 1 - betas[1] ** step
    sizes = (shape[0], gradient.numel())
    numbers = (lr / c1, 1 / math.sqrt(c2), *betas, eps)
    _native.checked(
        _native.library().avatar3d_adam_rank1_step(*map(_native.address, inputs), *sizes, *numbers), "adam_rank1"
    )


@torch.no_grad()
def adam_rank1_reference(
    tables: Tensor, first: Tensor, second: Tensor, codes: Tensor, gradient: Tensor, lr: float, step: int,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
) -> None:  # fmt: skip
    """The twin of `adam_rank1` in plain torch."""
    full = codes.view(-1, *[1] * gradient.ndim) * gradient
    first.lerp_(full, 1 - betas[0])
    second.lerp_(full * full, 1 - betas[1])
    size = (second / (1 - betas[1] ** step)).sqrt_().add_(eps)
    tables.addcdiv_(first, size, value=-lr / (1 - betas[0] ** step))


@torch.library.custom_op("avatar3d::blend", mutates_args=())
def _blend(codes: Tensor, tables: Tensor) -> Tensor:
    shape = tuple(tables.shape)
    inputs = _native.prepared("blend", codes=(codes, shape[:1]), tables=(tables, shape))
    out = tables.new_empty(shape[1:])
    pointers = [tensor.data_ptr() for tensor in inputs]
    _native.checked(_native.library().avatar3d_blend_forward(*pointers, shape[0], out.numel(), out.data_ptr()), "blend")
    return out


@_blend.register_fake
def _(_codes: Tensor, tables: Tensor) -> Tensor:
    return tables.new_empty(tables.shape[1:])


@torch.library.custom_op("avatar3d::blend_codes_gradient", mutates_args=())
def _codes_gradient(tables: Tensor, gradient: Tensor) -> Tensor:
    shape = tuple(tables.shape)
    inputs = _native.prepared("blend", tables=(tables, shape), gradient=(gradient, shape[1:]))
    out = tables.new_empty(shape[0])
    pointers = [tensor.data_ptr() for tensor in inputs]
    status = _native.library().avatar3d_blend_codes_gradient(*pointers, shape[0], gradient.numel(), out.data_ptr())
    _native.checked(status, "blend")
    return out


@_codes_gradient.register_fake
def _(tables: Tensor, _gradient: Tensor) -> Tensor:
    return tables.new_empty(tables.shape[0])


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG001 - torch names it
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
    codes, tables = ctx.saved_tensors
    to_codes = _codes_gradient(tables, gradient) if ctx.needs_input_grad[0] else None
    to_tables = codes.view(-1, *[1] * gradient.ndim) * gradient if ctx.needs_input_grad[1] else None
    return to_codes, to_tables


_blend.register_autograd(_differentiate, setup_context=_remember)
