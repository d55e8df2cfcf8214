# SPDX-License-Identifier: Apache-2.0
"""How the drawing ops of `avatar3d.ops.splat`, on the CPU and on CUDA, meet torch's autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_TENSORS = 7  # means, quats, scales, opacities, colours, cam_from_world, K; all but the last have gradients


def make_differentiable(draw: Any, backward: Any) -> None:
    """Register `backward` as the gradient of `draw`.

    Args:
        draw: an op (seven tensors, width, height, ..., keep) -> (rgb, alpha, depth, what backward needs ...), which
            promises to be differentiable where `keep` is true.
        backward: an op (seven tensors, width, height, what it needs ..., d_rgb, d_alpha, d_depth, with_pose) -> six
            gradients; the last one only matters `with_pose`.
    """

    def shapes(*arguments: Any) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in arguments[: _TENSORS - 1])

    def remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.size, ctx.others = inputs[_TENSORS : _TENSORS + 2], len(inputs) - _TENSORS + 1
        if inputs[-1]:
            ctx.save_for_backward(*inputs[:_TENSORS], *output[3:])

    def differentiate(ctx: Any, d_rgb: Tensor | None, d_alpha: Tensor | None, d_depth: Tensor | None, *_: Any) -> Any:
        saved = ctx.saved_tensors
        with_pose = ctx.needs_input_grad[_TENSORS - 2]
        upstream = (d_rgb, d_alpha, d_depth)
        *found, pose = backward(*saved[:_TENSORS], *ctx.size, *saved[_TENSORS:], *upstream, with_pose)
        return *found, pose if with_pose else None, *[None] * ctx.others

    backward.register_fake(shapes)
    draw.register_autograd(differentiate, setup_context=remember)
