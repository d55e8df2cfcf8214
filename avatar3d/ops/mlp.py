# SPDX-License-Identifier: Apache-2.0
"""Small networks without biases, for many points at once: zeros go in, zeros come out."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from avatar3d.ops import _native

__all__ = ["Layers", "mlp", "mlp_reference"]

MOST_LAYERS, MOST_WIDTH = 6, 128  # as kMostLayers and kMostWidth in csrc/mlp/mlp.h


@dataclass(frozen=True)
class Layers:
    """The shape of a network: the width of what goes in, then that of what each layer makes."""

    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.widths) <= MOST_LAYERS + 1 or not all(1 <= width <= MOST_WIDTH for width in self.widths):
            raise ValueError(
                f"Layers: widths are {self.widths}, expected 2 to {MOST_LAYERS + 1} numbers in 1..{MOST_WIDTH}"
            )

    @property
    def weights(self) -> int:
        """How many there are."""
        return sum(wide * out for wide, out in pairwise(self.widths))

    def split(self, weights: Tensor) -> list[Tensor]:
        """Views [in,out] of weights [self.weights], layer by layer."""
        shapes = list(pairwise(self.widths))
        parts = weights.split([wide * out for wide, out in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def mlp(inputs: Tensor, weights: Tensor, layers: Layers, path: str = "auto") -> Tensor:
    """Rows through every layer, max(0, .) between them; differentiable once, in inputs and weights.

    The same bits in every run, on any number of threads. What lies between the layers is made again on the way back
    instead of kept.

    Args:
        inputs: [N,layers.widths[0]].
        weights: [layers.weights], layer after layer [in,out].
        path: "native" (the kernel; float32; CPU, CUDA), "reference" or "auto": native where there is one.

    Returns:
        [N,layers.widths[-1]].

    Raises:
        ValueError: a tensor of another shape or type; names it.
        RuntimeError: path is "native" and there is no kernel; says why.
    """
    if inputs.ndim != 2 or inputs.shape[1] != layers.widths[0]:
        raise ValueError(f"mlp: inputs have shape {tuple(inputs.shape)}, expected (N, {layers.widths[0]})")
    if tuple(weights.shape) != (layers.weights,):
        raise ValueError(f"mlp: weights have shape {tuple(weights.shape)}, expected {(layers.weights,)}")
    if not _native.use_native("mlp", path, inputs.device):
        return mlp_reference(inputs, weights, layers)
    return _mlp(inputs, weights, list(layers.widths))


def mlp_reference(inputs: Tensor, weights: Tensor, layers: Layers) -> Tensor:
    """The twin of `mlp` in plain torch."""
    *hidden, last = layers.split(weights)
    for matrix in hidden:
        inputs = (inputs @ matrix).relu()
    return inputs @ last


class _Shape(ctypes.Structure):
    """A3dMlp of csrc/mlp/mlp.h."""

    _fields_ = [("widths", ctypes.POINTER(ctypes.c_int32)), ("layers", ctypes.c_int32)]


def _struct(widths: Sequence[int]) -> Any:
    return ctypes.byref(_Shape((ctypes.c_int32 * len(widths))(*widths), len(widths) - 1))


@torch.library.custom_op("avatar3d::mlp", mutates_args=())
def _mlp(inputs: Tensor, weights: Tensor, widths: Sequence[int]) -> Tensor:
    given = _native.prepared("mlp", inputs=(inputs, tuple(inputs.shape)), weights=(weights, tuple(weights.shape)))
    out = inputs.new_empty(len(inputs), widths[-1])
    arguments = (_struct(widths), *(tensor.data_ptr() for tensor in given), len(inputs), out.data_ptr())
    if _native.body(inputs.device) == "cuda":
        _native.launch("avatar3d_cuda_mlp_forward", "mlp", inputs.device, *arguments)
    else:
        _native.checked(_native.library().avatar3d_mlp_forward(*arguments), "mlp")
    return out


@_mlp.register_fake
def _(inputs: Tensor, _weights: Tensor, widths: Sequence[int]) -> Tensor:
    return inputs.new_empty(inputs.shape[0], widths[-1])


@torch.library.custom_op("avatar3d::mlp_backward", mutates_args=())
def _mlp_backward(
    inputs: Tensor, weights: Tensor, gradient: Tensor, widths: Sequence[int], by_inputs: bool, by_weights: bool
) -> tuple[Tensor, Tensor]:
    """Gradients by inputs and weights; empty where they are not wanted."""
    named = {"inputs": inputs, "weights": weights, "gradient": gradient}
    given = _native.prepared("mlp", **{name: (tensor, tuple(tensor.shape)) for name, tensor in named.items()})
    found = inputs.new_empty(inputs.shape if by_inputs else 0), weights.new_empty(weights.shape if by_weights else 0)
    pointers = [tensor.data_ptr() for tensor in given]
    wanted = [tensor.data_ptr() if want else None for tensor, want in zip(found, (by_inputs, by_weights), strict=True)]
    shape, count = _struct(widths), len(inputs)
    if _native.body(inputs.device) == "cuda":
        scratch = inputs.new_empty(_native.library("cuda").avatar3d_cuda_mlp_scratch(shape, count) if by_weights else 0)
        arguments = (shape, *pointers, count, scratch.data_ptr(), *wanted)
        _native.launch("avatar3d_cuda_mlp_backward", "mlp backward", inputs.device, *arguments)
    else:
        _native.checked(_native.library().avatar3d_mlp_backward(shape, *pointers, count, *wanted), "mlp backward")
    return found


@_mlp_backward.register_fake
def _(inputs: Tensor, weights: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    by_inputs, by_weights = others[-2:]
    return inputs.new_empty(inputs.shape if by_inputs else 0), weights.new_empty(weights.shape if by_weights else 0)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - torch names it
    ctx.save_for_backward(*inputs[:2])
    ctx.widths = inputs[2]


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    by_inputs, by_weights = ctx.needs_input_grad[:2]
    to_inputs, to_weights = _mlp_backward(*ctx.saved_tensors, gradient, ctx.widths, by_inputs, by_weights)
    return to_inputs if by_inputs else None, to_weights if by_weights else None, None


_mlp.register_autograd(_differentiate, setup_context=_remember)
