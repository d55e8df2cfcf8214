# SPDX-License-Identifier: Apache-2.0
"""The CUDA body of `avatar3d.ops.splat`: a batch of pictures in one set of launches."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from avatar3d.ops import _native
from avatar3d.ops._tile_room import TileRoom

_TILE_PX = 16
_RECORD, _MOMENTS = 12, 12  # floats
_DEPTH = 9  # of the moments: the sum of w times what is upstream of depth
_COLOUR = slice(6, 9)
NAMES = ("means", "quats", "scales", "opacities", "colours")
WIDTHS = ((3,), (4,), (3,), (), (3,))

Drawn = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def draw(inputs: list[Tensor], width: int, height: int, room: TileRoom | None, keep: bool) -> Drawn:
    """rgb [B,3,H,W], alpha and depth [B,H,W], and what the backward pass needs: records, starts, pixels, hits.

    Args:
        inputs: five rows, [N,..] or [B,N,..], cam_from_world [B,4,4], K [B,3,3]; float32, contiguous, on one device.
        room: for the lists; None: the device is asked, and waited for.
    """
    means, images, count = inputs[0], len(inputs[5]), inputs[0].shape[-2]
    cells = images * -(-width // _TILE_PX) * -(-height // _TILE_PX)
    records = means.new_empty(images, count, _RECORD)
    boxes = means.new_empty(images, count, 4, dtype=torch.int16)
    starts = means.new_empty(cells + 1, dtype=torch.int64)
    cursor = means.new_empty(cells, dtype=torch.int64)
    counts = means.new_empty(cells, dtype=torch.int32)
    scene = _scene(inputs, width, height)
    _launch("project", means, scene, records, boxes, starts, counts, cursor)
    hits = means.new_empty(_capacity(starts, room), dtype=torch.int64)
    _launch("list", means, scene, records, boxes, starts, cursor, hits, len(hits))
    rgb = means.new_empty(images, 3, height, width)
    alpha, depth = means.new_empty(images, height, width), means.new_empty(images, height, width)
    pixels = means.new_empty(2, images, height, width) if keep else means.new_empty(2, 0)
    light, last = pixels if keep else (None, None)
    _launch("draw", means, scene, records, starts, hits, len(hits), rgb, alpha, depth, light, last)
    return rgb, alpha, depth, records, starts, pixels, hits


def gradients(
    inputs: list[Tensor], width: int, height: int, kept: list[Tensor], upstream: list[Tensor | None], with_pose: bool
) -> list[Tensor]:
    """Gradients of the five rows and of cam_from_world [B,4,4] (zero unless `with_pose`)."""
    moments = _moments(inputs, width, height, kept, upstream)
    found = [torch.empty_like(tensor) for tensor in inputs[:5]]
    pose = moments.new_empty(len(inputs[5]), 3, 4)
    targets = [*found, pose if with_pose else None]
    to = ctypes.byref(_native.Gradients(*map(_native.address, targets)))
    _launch("gradients", moments, _scene(inputs, width, height), moments, to)
    whole = torch.zeros_like(inputs[5])
    if with_pose:
        whole[:, :3] = pose
    return [*found, whole]


def weights(inputs: list[Tensor], picture: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of w [B,N] and of w times the picture's colour [B,N,3]; picture [B,3,H,W]."""
    height, width = picture.shape[-2:]
    kept = draw(inputs, width, height, None, True)[3:]
    ones = torch.ones_like(picture[:, 0])
    moments = _moments(inputs, width, height, list(kept), [picture, None, ones])
    return moments[..., _DEPTH].contiguous(), moments[..., _COLOUR].contiguous()


def _moments(
    inputs: list[Tensor], width: int, height: int, kept: list[Tensor], upstream: list[Tensor | None]
) -> Tensor:
    records, starts, pixels, hits = kept
    moments = records.new_empty(*records.shape[:2], _MOMENTS)
    scene = _scene(inputs, width, height)
    _launch("moments", records, scene, records, starts, hits, *pixels, *upstream, moments)
    return moments


def _capacity(starts: Tensor, room: TileRoom | None) -> int:
    if room is None:
        return int(starts[-1])
    room.grow()
    room.hear(starts[-1:])
    return room.pairs


def _scene(inputs: list[Tensor], width: int, height: int) -> Any:
    """The C struct; it holds addresses only, so `inputs` must outlive it."""
    own = sum((tensor.ndim > 1 + len(size)) << bit for bit, (tensor, size) in enumerate(zip(inputs, WIDTHS, strict=False)))
    addresses = [tensor.data_ptr() for tensor in inputs]
    return ctypes.byref(_native.CudaScene(*addresses, inputs[0].shape[-2], len(inputs[5]), width, height, own))


def _launch(step: str, on: Tensor, scene: Any, *arguments: Any) -> None:
    raw = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    _native.launch(f"avatar3d_cuda_splat_{step}", "splat", on.device, scene, *raw)
