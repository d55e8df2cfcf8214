# SPDX-License-Identifier: Apache-2.0
"""What rays see of a medium that glows and absorbs: samples along them, weighted front to back (Max 1995)."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from avatar3d.ops import _native
from avatar3d.ops.march import Samples

__all__ = ["MOST_VALUES", "composite", "composite_reference"]

MOST_VALUES = 16  # of a sample, as kMostValues in csrc/composite/composite.h


def composite(
    density: Tensor, values: Tensor, samples: Samples, stop: float = 1e-4, path: str = "auto"
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over each ray's samples: T alpha value, where alpha = 1 - exp(-density length) and T = prod (1 - alpha).

    T runs over the samples in front of this one. A ray ends with the sample that takes T below `stop`: what lies
    behind it counts for nothing. Differentiable once, in density and values.

    Args:
        density: [S], 0 or more, absorbed along a length of 1.
        values: [S,C], C in 1..16.
        samples: where they are; see `march`.
        stop: 0..1, the light at which a ray ends.
        path: "native" (the kernel; float32), "reference" or "auto": native where there is one.

    Returns:
        values [N,C], alpha [N] (the sum of T alpha), depth [N] (the middles of the samples, weighted: not divided by
        alpha).

    Raises:
        ValueError: a tensor of another shape or type; names it.
        RuntimeError: path is "native" and there is no kernel; says why.
    """
    _check(density, values, samples)
    if not _native.use_native("composite", path, density.device):
        return composite_reference(density, values, samples, stop)
    summed, alpha, depth = _composite(density, values, samples.begins, samples.ends, samples.first, stop)
    return summed, alpha, depth


def composite_reference(
    density: Tensor, values: Tensor, samples: Samples, stop: float = 1e-4
) -> tuple[Tensor, Tensor, Tensor]:
    """The twin of `composite` in plain torch."""
    first = samples.first
    if not (first[0] == 0 and first[-1] == len(density) and (first.diff() >= 0).all()):
        raise ValueError(f"composite: {_native.FAULTS[4]}")
    rays = len(first) - 1
    row = torch.repeat_interleave(torch.arange(rays, device=density.device), first.diff(), output_size=len(density))
    column = torch.arange(len(row), device=row.device) - first[row]
    deepest = int(column.max()) + 1 if len(row) else 0
    # below 0 counts as 0, and what is no number stays none
    absorbed = (density * (samples.ends - samples.begins)).clamp_min(0)
    by_ray = density.new_zeros(rays, deepest).index_put((row, column), absorbed)
    light = (-pad(by_ray.cumsum(1), (1, 0))).exp()[row, column]
    weight = torch.where(light >= stop, light * -(-absorbed).expm1(), 0)
    # where a ray has ended, not even what is no number counts
    seen = torch.where(light[:, None] >= stop, values, 0)
    summed = values.new_zeros(rays, values.shape[1]).index_add(0, row, weight[:, None] * seen)
    alpha = weight.new_zeros(rays).index_add(0, row, weight)
    depth = weight.new_zeros(rays).index_add(0, row, weight * (samples.begins + samples.ends) / 2)
    return summed, alpha, depth


def _check(density: Tensor, values: Tensor, samples: Samples) -> None:
    count = len(samples.begins)
    if density.shape != (count,):
        raise ValueError(f"composite: density has shape {tuple(density.shape)}, expected {(count,)}")
    if values.ndim != 2 or len(values) != count or not 1 <= values.shape[1] <= MOST_VALUES:
        raise ValueError(f"composite: values have shape {tuple(values.shape)}, expected ({count}, 1..{MOST_VALUES})")
    first = samples.first  # what stands in it is looked at by the kernel on the CPU; elsewhere that would take waiting
    if first.ndim != 1 or not len(first) or first.dtype != torch.int64 or first.device != density.device:
        found = f"{first.dtype} of shape {tuple(first.shape)} on {first.device}"
        raise ValueError(f"composite: samples.first is {found}, expected torch.int64 (N+1,) on {density.device}")


class _Samples(ctypes.Structure):
    """A3dSamples of csrc/composite/composite.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("begins", "ends", "first")),
        ("rays", ctypes.c_int64),
        ("count", ctypes.c_int64),
    ]


def _call(name: str, given: dict[str, Tensor], first: Tensor, stop: float, *others: int | None) -> None:
    """Runs a function of the kernel; `given`: density, values, begins, ends and what else is read."""
    named = {key: (tensor, tuple(tensor.shape)) for key, tensor in given.items()}
    density, values, begins, ends, *more = _native.prepared("composite", **named)
    first = first.contiguous()
    samples = _Samples(begins.data_ptr(), ends.data_ptr(), first.data_ptr(), len(first) - 1, len(density))
    medium = (ctypes.byref(samples), density.data_ptr(), values.data_ptr(), values.shape[1], stop)
    arguments = (*medium, *(tensor.data_ptr() for tensor in more), *others)
    if _native.body(density.device) == "cuda":
        _native.launch(f"avatar3d_cuda_composite_{name}", "composite", density.device, *arguments)
    else:
        _native.checked(getattr(_native.library(), f"avatar3d_composite_{name}")(*arguments), "composite")


@torch.library.custom_op("avatar3d::composite", mutates_args=())
def _composite(
    density: Tensor, values: Tensor, begins: Tensor, ends: Tensor, first: Tensor, stop: float
) -> tuple[Tensor, Tensor, Tensor]:
    given = {"density": density, "values": values, "begins": begins, "ends": ends}
    rays = len(first) - 1
    out = values.new_empty(rays, values.shape[1]), values.new_empty(rays), values.new_empty(rays)
    _call("forward", given, first, stop, *(tensor.data_ptr() for tensor in out))
    return out


@_composite.register_fake
def _(_density: Tensor, values: Tensor, _begins: Tensor, _ends: Tensor, first: Tensor, _stop: float) -> Any:
    rays = first.shape[0] - 1
    return values.new_empty(rays, values.shape[1]), values.new_empty(rays), values.new_empty(rays)


@torch.library.custom_op("avatar3d::composite_backward", mutates_args=())
def _composite_backward(
    density: Tensor, values: Tensor, begins: Tensor, ends: Tensor, first: Tensor, stop: float,
    by_summed: Tensor, by_alpha: Tensor, by_depth: Tensor, by_values: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients by density and values; the latter empty where they are not wanted."""
    given = {"density": density, "values": values, "begins": begins, "ends": ends}
    given |= {"gradient": by_summed, "gradient of alpha": by_alpha, "gradient of depth": by_depth}
    found = torch.empty_like(density), values.new_empty(values.shape if by_values else 0)
    _call("backward", given, first, stop, found[0].data_ptr(), found[1].data_ptr() if by_values else None)
    return found


@_composite_backward.register_fake
def _(density: Tensor, values: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(density), values.new_empty(values.shape if others[-1] else 0)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch names it
    ctx.save_for_backward(*inputs[:5])
    ctx.stop = inputs[5]


def _differentiate(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
    by_values = ctx.needs_input_grad[1]
    to_density, to_values = _composite_backward(*ctx.saved_tensors, ctx.stop, *gradients, by_values)
    return to_density, to_values if by_values else None, None, None, None, None


_composite.register_autograd(_differentiate, setup_context=_remember)
