# SPDX-License-Identifier: Apache-2.0
"""The CUDA body of `avatar3d.ops.splat`: a batch of pictures in one set of launches."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from avatar3d.ops import _native
from avatar3d.ops._splat_autograd import make_differentiable

_TILE_PX = 16
_RECORD, _MOMENTS = 12, 12  # floats
_DEPTH = 9  # of the moments: the sum of w times what is upstream of depth
_COLOUR = slice(6, 9)
NAMES = ("means", "quats", "scales", "opacities", "colours", "cam_from_world", "K")
_WIDTHS = (3, 4, 3, 0, 3)  # of a row per Gaussian; 0: a number

Drawn = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


ASK = -1  # as a capacity: the device is asked how many pairs there are, and waited for


@torch.library.custom_op("avatar3d::splat_cuda", mutates_args=())
def draw(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor,
    cam_from_world: Tensor, K: Tensor, width: int, height: int, capacity: int, keep: bool,
) -> Drawn:  # fmt: skip
    """rgb [B,3,H,W], alpha and depth [B,H,W], and what the backward pass needs: records, starts, pixels, hits.

    Args:
        means, quats, scales, opacities, colours: [N,..] shared by all images, or [B,N,..].
        cam_from_world, K: [B,4,4] and [B,3,3].
        capacity: of the tile lists, in pairs; ASK: as many as there are. The last of starts says how many there are.
        keep: whether there will be a backward pass; if not, pixels are left out.
    """
    inputs = _inputs(means, quats, scales, opacities, colours, cam_from_world, K)
    return _draw("splat_project", (), inputs, width, height, capacity, keep)


@draw.register_fake
def _(means: Tensor, *arguments: Any) -> Drawn:
    K, width, height, capacity, keep = arguments[-5:]
    pairs = torch.library.get_ctx().new_dynamic_size() if capacity == ASK else capacity
    kept = _kept(means, len(K), width, height, keep)
    return *_pictures(means, len(K), width, height), *kept, means.new_empty(pairs, dtype=torch.int64)


@torch.library.custom_op("avatar3d::splat_cuda_backward", mutates_args=())
def _backward(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor,
    cam_from_world: Tensor, K: Tensor, width: int, height: int,
    records: Tensor, starts: Tensor, pixels: Tensor, hits: Tensor,
    d_rgb: Tensor | None, d_alpha: Tensor | None, d_depth: Tensor | None, with_pose: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    if torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError("splat: its gradient has no deterministic form on CUDA; use the CPU, or path='reference'")
    inputs = _inputs(means, quats, scales, opacities, colours, cam_from_world, K)
    moments = _moments(inputs, width, height, (records, starts, pixels, hits), (d_rgb, d_alpha, d_depth))
    found = [torch.empty_like(tensor) for tensor in inputs[:5]]
    pose = torch.zeros_like(inputs[5])
    rows = moments.new_empty(len(K), 3, 4)
    targets = ctypes.byref(_native.Gradients(*map(_native.address, (*found, rows if with_pose else None))))
    _launch("splat_gradients", moments, _scene(inputs, width, height), moments, targets)
    if with_pose:
        pose[:, :3] = rows
    return found[0], found[1], found[2], found[3], found[4], pose


make_differentiable(draw, _backward)


def weights(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, cam_from_world: Tensor, K: Tensor, picture: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum of w [B,N] and of w times the picture's colour [B,N,3]; picture [B,3,H,W], the rest as in `draw`."""
    height, width = picture.shape[-2:]
    inputs = _inputs(means, quats, scales, opacities, torch.zeros_like(means), cam_from_world, K)
    (picture,) = _native.prepared("splat_weights", picture=(picture, tuple(picture.shape)))
    kept = draw(*inputs, width, height, ASK, True)[3:]
    # sums of w times a picture are the gradients of colour and depth for that picture and ones upstream
    moments = _moments(inputs, width, height, kept, (picture, None, torch.ones_like(picture[:, 0])))
    return moments[..., _DEPTH].contiguous(), moments[..., _COLOUR].contiguous()


def draw_posed(
    inputs: list[Tensor], posing: Any, width: int, height: int, capacity: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """rgb, alpha, depth, starts, as `draw`, of Gaussians that are posed on the way (a pointer to a CudaPosing)."""
    rgb, alpha, depth, _, starts, *_ = _draw("posed_project", (posing,), inputs, width, height, capacity, False)
    return rgb, alpha, depth, starts


def _draw(
    project: str, more: tuple[Any, ...], inputs: list[Tensor], width: int, height: int, capacity: int, keep: bool
) -> Drawn:
    """The launches of a picture; `project` is the first of them and takes `more` than the others."""
    means, K = inputs[0], inputs[6]
    records, starts, pixels = _kept(means, len(K), width, height, keep)
    boxes = means.new_empty(*records.shape[:2], 4, dtype=torch.int16)
    cursor = torch.empty_like(starts[1:])
    counts = torch.empty_like(cursor, dtype=torch.int32)
    scene = _scene(inputs, width, height)
    _launch(project, means, scene, *more, records, boxes, starts, counts, cursor)
    hits = means.new_empty(int(starts[-1]) if capacity == ASK else capacity, dtype=torch.int64)
    _launch("splat_list", means, scene, records, boxes, starts, cursor, hits, len(hits))
    pictures = _pictures(means, len(K), width, height)
    light, last = pixels if keep else (None, None)
    _launch("splat_draw", means, scene, records, starts, hits, len(hits), *pictures, light, last)
    return *pictures, records, starts, pixels, hits


def _inputs(*tensors: Tensor) -> list[Tensor]:
    return _native.prepared("splat", **{n: (t, tuple(t.shape)) for n, t in zip(NAMES, tensors, strict=True)})


def _pictures(means: Tensor, images: int, width: int, height: int) -> tuple[Tensor, Tensor, Tensor]:
    size = (height, width)
    return means.new_empty(images, 3, *size), means.new_empty(images, *size), means.new_empty(images, *size)


def _kept(means: Tensor, images: int, width: int, height: int, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """records [B,N,12], starts [B tiles + 1], pixels [2,B,H,W] or, unless `keep`, [2,0,H,W]."""
    cells = images * -(-width // _TILE_PX) * -(-height // _TILE_PX)
    records = means.new_empty(images, means.shape[-2], _RECORD)
    pixels = means.new_empty(2, images if keep else 0, height, width)
    return records, means.new_empty(cells + 1, dtype=torch.int64), pixels


def _moments(
    inputs: list[Tensor], width: int, height: int, kept: tuple[Tensor, ...], upstream: tuple[Tensor | None, ...]
) -> Tensor:
    records, starts, pixels, hits = kept
    upstream = tuple(None if d is None else d.contiguous() for d in upstream)
    moments = records.new_empty(*records.shape[:2], _MOMENTS)
    scene = _scene(inputs, width, height)
    _launch("splat_moments", records, scene, records, starts, hits, *pixels, *upstream, moments)
    return moments


def _scene(inputs: list[Tensor], width: int, height: int) -> Any:
    """The C struct; it holds addresses only, so `inputs` must outlive it."""
    rows = zip(inputs[:5], _WIDTHS, strict=True)
    own = sum((tensor.ndim > 1 + bool(size)) << bit for bit, (tensor, size) in enumerate(rows))
    addresses = [tensor.data_ptr() for tensor in inputs]
    return ctypes.byref(_native.CudaScene(*addresses, inputs[0].shape[-2], len(inputs[5]), width, height, own))


def _launch(step: str, on: Tensor, scene: Any, *arguments: Any) -> None:
    raw = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    _native.launch(f"avatar3d_cuda_{step}", "splat", on.device, scene, *raw)
