# SPDX-License-Identifier: Apache-2.0
"""Finished pictures, whole numbers over a background, for looking at and not for learning from.

On the CPU one kernel does everything from the Gaussians, or from a linear head's codes, to the bytes: offsets, posed
Gaussians, alpha and depth never leave the caches. Elsewhere the ops that learning uses run one after another.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from avatar3d.ops import _native
from avatar3d.ops.posed import posed
from avatar3d.ops.splat import splat

__all__ = ["filmed", "filmed_posed", "filmed_posed_reference", "filmed_reference"]

_CHANNELS, _POSE = 9, 7


@torch.no_grad()
def filmed(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor,
    background: Tensor, cam_from_world: Tensor, K: Tensor, path: str = "auto",
) -> Tensor:  # fmt: skip
    """Gaussians over a background: round(255 (rgb + (1 - alpha) background)) within 0..255.

    Args:
        means, quats, scales, opacities, colours, cam_from_world, K: as in `splat`, of one image, plain colours.
        background: [3,H,W] 0..1, of the picture's size.
        path: "native" (the kernel; float32 on the CPU), "reference", or "auto": native where there is one.

    Returns:
        [H,W,3] uint8.

    Raises:
        ValueError: a tensor of another shape or type; names it.
        RuntimeError: path is "native" and there is no kernel; says why.
    """
    scene = (means, quats, scales, opacities, colours)
    height, width = _sides(background)
    if path == "reference" or not _native.use_native("filmed", path, means.device):
        picture = splat(*scene, cam_from_world, K, width, height, path)
        return _finished(picture[0], picture[1], background)
    return _drawn(scene, background, cam_from_world, K)


@torch.no_grad()
def filmed_posed(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor, skin_logits: Tensor,
    tables: Tensor, code: Tensor, background: Tensor, cam_from_world: Tensor, K: Tensor, path: str = "auto",
) -> Tensor:  # fmt: skip
    """A linear head at one code and pose over a background, as `filmed`.

    Args:
        means, quats, scales, opacities, colours, skin_logits: the Gaussians at rest, as in `posed`.
        tables: [T,M,9], as in `posed`, of the first M Gaussians; the codes leave the others where they are.
        code: [T+14], codes and the poses world_from_head and world_from_body [7].
        background, path: as in `filmed`.
    """
    scene = (means, quats, scales, opacities, colours)
    height, width = _sides(background)
    terms, moving = tables.shape[:2] if tables.ndim == 3 else (-1, -1)
    if tables.shape[2:] != (_CHANNELS,) or moving > len(means):
        raise ValueError(f"filmed: tables have shape {tuple(tables.shape)}, expected [T,M,9] of M <= {len(means)}")
    if tuple(code.shape) != (terms + 2 * _POSE,):
        raise ValueError(f"filmed: code has shape {tuple(code.shape)}, expected {(terms + 2 * _POSE,)}")
    if path == "reference" or not _native.use_native("filmed", path, means.device):
        codes, head, body = code[None].split([terms, _POSE, _POSE], 1)
        full = torch.cat([tables, tables.new_zeros(terms, len(means) - moving, _CHANNELS)], 1)
        given = (*scene, skin_logits, full, codes, head, body, cam_from_world, K, width, height)
        rgb, alpha, _ = posed(*given, path)
        return _finished(rgb[0], alpha[0], background)
    return _drawn(scene, background, cam_from_world, K, (tables, skin_logits, code))


def filmed_reference(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor,
    background: Tensor, cam_from_world: Tensor, K: Tensor,
) -> Tensor:  # fmt: skip
    """The twin of `filmed` in plain torch."""
    return filmed(means, quats, scales, opacities, colours, background, cam_from_world, K, "reference")


def filmed_posed_reference(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor, skin_logits: Tensor,
    tables: Tensor, code: Tensor, background: Tensor, cam_from_world: Tensor, K: Tensor,
) -> Tensor:  # fmt: skip
    """The twin of `filmed_posed` in plain torch."""
    rest = (means, quats, scales, opacities, colours, skin_logits, tables, code)
    return filmed_posed(*rest, background, cam_from_world, K, "reference")


def _drawn(
    scene: tuple[Tensor, ...], background: Tensor, cam_from_world: Tensor, K: Tensor,
    posing: tuple[Tensor, Tensor, Tensor] | None = None,
) -> Tensor:  # fmt: skip
    count, (height, width) = len(scene[0]), _sides(background)
    shapes: tuple[tuple[int, ...], ...] = ((count, 3), (count, 4), (count, 3), (count,), (count, 3))
    named: dict[str, tuple[Tensor, tuple[int, ...]]]
    named = dict(
        zip(("means", "quats", "scales", "opacities", "colours"), zip(scene, shapes, strict=True), strict=True)
    )
    named |= {"cam_from_world": (cam_from_world, (4, 4)), "K": (K, (3, 3))}
    *inputs, room = _native.prepared("filmed", **named, background=(background, (3, height, width)))
    picture = torch.empty(height, width, 3, dtype=torch.uint8)
    where = ctypes.byref(_native.Scene(*(tensor.data_ptr() for tensor in inputs), count, width, height))
    moved, code = (None, None) if posing is None else _posing(*posing, count)
    posed_by = None if moved is None else ctypes.byref(moved[0])
    addresses = (posed_by, _native.address(code), picture.data_ptr())
    _native.checked(_native.library().avatar3d_filmed(where, room.data_ptr(), *addresses), "filmed")
    return picture


def _posing(tables: Tensor, skin_logits: Tensor, code: Tensor, count: int) -> tuple[Any, Tensor]:
    """What the kernel is told, with the tensors that it points into, and the code."""
    given = {"skin_logits": (skin_logits, (count,)), "tables": (tables, tuple(tables.shape))}
    skin, tables, code = _native.prepared("filmed", **given, code=(code, tuple(code.shape)))
    return (_native.Posed(tables.data_ptr(), skin.data_ptr(), *tables.shape[:2]), tables, skin), code


def _finished(rgb: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    picture = (rgb + (1 - alpha) * background).permute(1, 2, 0)
    return picture.mul(255).add_(0.5).clamp_(0, 255).to(torch.uint8)


def _sides(background: Tensor) -> tuple[int, int]:
    """Height and width of the picture."""
    if background.ndim != 3 or len(background) != 3 or 0 in background.shape:
        raise ValueError(f"filmed: background has shape {tuple(background.shape)}, expected [3,H,W]")
    return background.shape[1], background.shape[2]
