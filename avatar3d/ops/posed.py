# SPDX-License-Identifier: Apache-2.0
"""Pictures of a linear head straight from its codes and poses: blend, rig and splat in one, for drawing only.

On CUDA one kernel blends the tables, carries the Gaussians and projects them, for all images of a batch; offsets and
posed Gaussians are never written to memory. Elsewhere the three ops run one after another.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from avatar3d.ops import _native, _splat_cuda
from avatar3d.ops._tile_room import TileRoom
from avatar3d.ops.blend import blend
from avatar3d.ops.rig import rig
from avatar3d.ops.splat import splat

__all__ = ["posed", "posed_reference"]

_CHANNELS, _POSE = 9, 7
Pictures = tuple[Tensor, Tensor, Tensor]


@torch.no_grad()
def posed(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor, skin_logits: Tensor,
    tables: Tensor, codes: Tensor, world_from_head: Tensor, world_from_body: Tensor,
    cam_from_world: Tensor, K: Tensor, width: int, height: int, path: str = "auto", room: TileRoom | None = None,
) -> Pictures:  # fmt: skip
    """Draw a head at B codes and poses. Not differentiable.

    Args:
        means, quats, colours, skin_logits: the Gaussians at rest, as in `rig`: [N,3] u, [N,4] wxyz, [N,3], [N].
        scales, opacities: [N,3] u, [N] 0..1.
        tables: [T,N,9], offsets of position, rotation vector and colour per code.
        codes: [B,T].
        world_from_head, world_from_body: poses [B,7], wxyz and translation.
        cam_from_world, K: [4,4] and [3,3] px, or one per image: [B,4,4], [B,3,3].
        path, room: as in `splat`.

    Returns:
        rgb [B,3,H,W] multiplied by alpha, alpha [B,H,W], depth [B,H,W].

    Raises:
        ValueError: a tensor of another shape or type; names it.
        RuntimeError: path is "native" and there is no kernel; says why.
    """
    rest = (means, quats, scales, opacities, colours, skin_logits)
    motion = (tables, codes, world_from_head, world_from_body)
    _check(*rest, *motion, cam_from_world, K, width, height)
    if _native.body(means.device) != "cuda" or not _native.use_native("posed", path, means.device):
        return _one_by_one(*rest, *motion, cam_from_world, K, width, height, path)
    images, (tables, codes, skin_logits, *poses) = len(codes), _posing(*motion, skin_logits)
    views = (cam_from_world.expand(images, 4, 4), K.expand(images, 3, 3))
    scene = zip(_splat_cuda.NAMES, (means, quats, scales, opacities, colours, *views), strict=True)
    inputs = _native.prepared("posed", **{name: (tensor, tuple(tensor.shape)) for name, tensor in scene})
    addresses = [tensor.data_ptr() for tensor in (tables, codes, skin_logits, *poses)]
    posing = ctypes.byref(_native.CudaPosing(*addresses, len(tables)))
    if room:
        room.grow()
    capacity = room.pairs if room else _splat_cuda.ASK
    rgb, alpha, depth, starts = _splat_cuda.draw_posed(inputs, posing, width, height, capacity)
    if room:
        room.hear(starts[-1:])
    return rgb, alpha, depth


@torch.no_grad()
def posed_reference(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor, skin_logits: Tensor,
    tables: Tensor, codes: Tensor, world_from_head: Tensor, world_from_body: Tensor,
    cam_from_world: Tensor, K: Tensor, width: int, height: int,
) -> Pictures:  # fmt: skip
    """The twin of `posed` in plain torch."""
    rest = (means, quats, scales, opacities, colours, skin_logits)
    motion = (tables, codes, world_from_head, world_from_body)
    return _one_by_one(*rest, *motion, cam_from_world, K, width, height, "reference")


def _one_by_one(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor, skin_logits: Tensor,
    tables: Tensor, codes: Tensor, heads: Tensor, bodies: Tensor,
    cam_from_world: Tensor, K: Tensor, width: int, height: int, path: str,
) -> Pictures:  # fmt: skip
    drawn = []
    for image, (code, head, body) in enumerate(zip(codes, heads, bodies, strict=True)):
        offsets = blend(code, tables, path)
        at, turned, seen = rig(means, quats, colours, skin_logits, offsets, head, body, path)
        pose = cam_from_world[image] if cam_from_world.ndim > 2 else cam_from_world
        lens = K[image] if K.ndim > 2 else K
        drawn.append(splat(at, turned, scales, opacities, seen, pose, lens, width, height, path))
    rgb, alpha, depth = (torch.stack(pictures) for pictures in zip(*drawn, strict=True))
    return rgb, alpha, depth


def _posing(tables: Tensor, codes: Tensor, heads: Tensor, bodies: Tensor, skin_logits: Tensor) -> list[Tensor]:
    named = {"tables": tables, "codes": codes, "skin_logits": skin_logits}
    named |= {"world_from_head": heads, "world_from_body": bodies}
    return _native.prepared("posed", **{name: (tensor, tuple(tensor.shape)) for name, tensor in named.items()})


def _check(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor, skin_logits: Tensor,
    tables: Tensor, codes: Tensor, heads: Tensor, bodies: Tensor,
    cam_from_world: Tensor, K: Tensor, width: int, height: int,
) -> None:  # fmt: skip
    count = len(means)
    if codes.ndim != 2 or not len(codes):
        raise ValueError(f"posed: codes have shape {tuple(codes.shape)}, expected [B,T] of at least one image")
    images, terms = codes.shape
    shapes: dict[str, tuple[Tensor, tuple[int, ...]]]
    shapes = {"means": (means, (count, 3)), "quats": (quats, (count, 4)), "scales": (scales, (count, 3))}
    shapes |= {"opacities": (opacities, (count,)), "colours": (colours, (count, 3))}
    shapes |= {"skin_logits": (skin_logits, (count,)), "tables": (tables, (terms, count, _CHANNELS))}
    shapes |= {"world_from_head": (heads, (images, _POSE)), "world_from_body": (bodies, (images, _POSE))}
    for name, (tensor, shape) in shapes.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"posed: {name} has shape {tuple(tensor.shape)}, expected {shape}")
    for name, tensor, shape in (("cam_from_world", cam_from_world, (4, 4)), ("K", K, (3, 3))):
        if tuple(tensor.shape) not in (shape, (images, *shape)):
            raise ValueError(f"posed: {name} has shape {tuple(tensor.shape)}, expected {shape} or {(images, *shape)}")
    if width < 1 or height < 1:
        raise ValueError(f"posed: a picture of {width} x {height} pixels; both must be at least 1")
