# SPDX-License-Identifier: Apache-2.0
"""Differentiable 3D Gaussian splatting (Kerbl et al. 2023) of one picture, or of a batch of them.

Conventions are gsplat's "classic" ones, but for less blur: picture covariance + 0.1 px^2; alpha = min(.999,
o exp(-d^t P^-1 d / 2)), dropped below 1/255; a pixel stops before the light left falls to 1e-4; near to far by depth;
near plane at 0.01. A Gaussian with a NaN, an infinity, a number beyond 1e9 or a quaternion without length is not drawn
and has no gradient.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from avatar3d.ops import _native, _splat_cuda
from avatar3d.ops._harmonics import colours_seen
from avatar3d.ops._splat_autograd import make_differentiable
from avatar3d.ops._tile_room import TileRoom
from avatar3d.ops.splat_reference import splat_reference, splat_weights_reference

__all__ = ["TileRoom", "splat", "splat_reference", "splat_weights", "splat_weights_reference"]

_TILE_PX = 16


def splat(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor,
    cam_from_world: Tensor, K: Tensor, width: int, height: int, path: str = "auto", room: TileRoom | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Draw Gaussians; differentiable in everything but K.

    On the CPU pictures and gradients are the same bits on every run and with any number of threads. On CUDA pictures
    are, but gradients are summed in no fixed order: where torch is told to use deterministic algorithms they refuse.

    Any tensor may have one more dimension in front, B images: the result has it then too, and what has none is shared
    by all images. On a GPU a batch is one set of launches, on a CPU one image after another.

    Args:
        means: [N,3] u.
        quats: [N,4] wxyz, of any length.
        scales: [N,3] u, standard deviations along the three axes.
        opacities: [N] 0..1.
        colours: [N,3], used as they are, or spherical harmonics [N,(L+1)^2,3], L in 0..3, drawn as max(0, SH + .5).
            What could be both [B,N,3] and harmonics is [B,N,3] where another tensor has B images.
        cam_from_world: [4,4], OpenCV axes; its gradient is the plain one of twelve free numbers.
        K: [3,3] px.
        width, height: px, at least 1.
        path: "native" (the kernel; float32; CPU, CUDA), "reference" (plain torch) or "auto": native where there is one.
        room: on CUDA, for the tile lists, so that nothing waits for the device (see TileRoom); no use elsewhere.

    Returns:
        rgb [3,H,W] multiplied by alpha, alpha [H,W], depth [H,W] = sum of weight times z [u]; with B in front if asked.

    Raises:
        ValueError: a tensor of another shape or type; names it.
        RuntimeError: path is "native" and there is no kernel; says why.
    """
    scene = (means, quats, scales, opacities, colours, cam_from_world, K)
    images = _check(*scene, width, height)
    native = _native.use_native("splat", path, means.device)
    if native and _native.body(means.device) == "cuda":
        return _on_cuda(scene, images, width, height, room)
    if images is None:
        return _one(native, scene, width, height)
    drawn = [_one(native, _image(scene, image, images), width, height) for image in range(images)]
    rgb, alpha, depth = (torch.stack(pictures) for pictures in zip(*drawn, strict=True))
    return rgb, alpha, depth


def _one(native: bool, scene: tuple[Tensor, ...], width: int, height: int) -> tuple[Tensor, Tensor, Tensor]:
    means, quats, scales, opacities, colours, cam_from_world, K = scene
    if not native:
        return splat_reference(means, quats, scales, opacities, colours, cam_from_world, K, width, height)
    seen = colours_seen(colours, means, cam_from_world)
    inputs = (means, quats, scales, opacities, seen, cam_from_world, K)
    rgb, alpha, depth, *_ = _splat(*inputs, width, height, _wants_gradients(inputs))
    return rgb, alpha, depth


def _on_cuda(
    scene: tuple[Tensor, ...], images: int | None, width: int, height: int, room: TileRoom | None
) -> tuple[Tensor, Tensor, Tensor]:
    count = images or 1
    *rows, colours, cam_from_world, K = scene
    if _has_harmonics(colours, images, rows[0].shape[-2]):
        each = [_image(scene, image, count) if images else scene for image in range(count)]
        colours = torch.stack([colours_seen(one[4], one[0], one[5]) for one in each])
    inputs = (*rows, colours, cam_from_world.expand(count, 4, 4), K.expand(count, 3, 3))
    if room:
        room.grow()
    capacity = room.pairs if room else _splat_cuda.ASK
    rgb, alpha, depth, _, starts, *_ = _splat_cuda.draw(*inputs, width, height, capacity, _wants_gradients(inputs))
    if room:
        room.hear(starts[-1:])
    return (rgb, alpha, depth) if images else (rgb[0], alpha[0], depth[0])


def _wants_gradients(inputs: tuple[Tensor, ...]) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)


@torch.no_grad()
def splat_weights(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor,
    cam_from_world: Tensor, K: Tensor, picture: Tensor, path: str = "auto",
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What each Gaussian covers of a picture: weights w = alpha times light, summed over pixels. Not differentiable.

    Args:
        picture: [3,H,W]; the others as in `splat`.

    Returns:
        sum of w [N], sum of w times the picture's colour [N,3]: their quotient is the mean colour covered.
    """
    height, width = picture.shape[1:]
    if _check(means, quats, scales, opacities, means, cam_from_world, K, width, height):
        raise ValueError("splat_weights takes one picture; call it for each image")
    if not _native.use_native("splat", path, means.device):
        return splat_weights_reference(means, quats, scales, opacities, cam_from_world, K, picture)
    if _native.body(means.device) == "cuda":
        views = (cam_from_world[None], K[None], picture[None])
        weight, colour = _splat_cuda.weights(means, quats, scales, opacities, *views)
        return weight[0], colour[0]
    inputs = _inputs(means, quats, scales, opacities, torch.zeros_like(means), cam_from_world, K)
    (picture,) = _native.prepared("splat_weights", picture=(picture, (3, height, width)))
    kept = _draw(inputs, width, height, True)[3:]
    weight, colour = means.new_empty(len(means)), means.new_empty(len(means), 3)
    outputs = [tensor.data_ptr() for tensor in (picture, weight, colour)]
    scene, state = _scene(inputs, width, height), _kept(*kept)
    _native.checked(_native.library().avatar3d_splat_weights(scene, state, *outputs), "splat_weights")
    return weight, colour


_DIMENSIONS = {"means": 2, "quats": 2, "scales": 2, "opacities": 1, "cam_from_world": 2, "K": 2}  # without B


def _check(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor,
    cam_from_world: Tensor, K: Tensor, width: int, height: int,
) -> int | None:  # fmt: skip
    """How many images there are, None where no tensor has a dimension for them."""
    count = means.shape[-2] if means.ndim > 1 else 0
    shapes: dict[str, tuple[Tensor, tuple[int, ...]]]
    shapes = {"means": (means, (count, 3)), "quats": (quats, (count, 4)), "scales": (scales, (count, 3))}
    shapes |= {"opacities": (opacities, (count,)), "cam_from_world": (cam_from_world, (4, 4)), "K": (K, (3, 3))}
    batches = {len(tensor) for tensor, shape in shapes.values() if tuple(tensor.shape[1:]) == shape}
    if colours.ndim == 4 or (colours.ndim == 3 and len(colours) != count == colours.shape[1]):
        batches.add(len(colours))
    if len(batches) > 1 or 0 in batches:
        raise ValueError(f"splat: batches of {sorted(batches)} images; all must be of one size, at least 1")
    images = batches.pop() if batches else None
    for name, (tensor, shape) in shapes.items():
        if tuple(tensor.shape) not in (shape, (images, *shape)):
            raise ValueError(f"splat: {name} has shape {tuple(tensor.shape)}, expected {shape}, or B images in front")
    plain = tuple(colours.shape) in ((count, 3), (images, count, 3))
    if not plain and (colours.ndim not in (3, 4) or colours.shape[-3] != count or colours.shape[-1] != 3):
        raise ValueError(f"splat: colours have shape {tuple(colours.shape)}, expected ({count}, 3) or ({count}, M, 3)")
    if width < 1 or height < 1:
        raise ValueError(f"splat: a picture of {width} x {height} pixels; both must be at least 1")
    return images


def _has_harmonics(colours: Tensor, images: int | None, count: int) -> bool:
    return colours.ndim > 2 and tuple(colours.shape) != (images, count, 3)


def _image(scene: tuple[Tensor, ...], image: int, images: int) -> tuple[Tensor, ...]:
    """One image's tensors, as `splat` takes them without B."""
    colours, count = scene[4], scene[0].shape[-2]
    own = colours.ndim > 2 + _has_harmonics(colours, images, count)
    named = dict(zip(_splat_cuda.NAMES, scene, strict=True))
    return tuple(
        tensor[image] if (own if name == "colours" else tensor.ndim > _DIMENSIONS[name]) else tensor
        for name, tensor in named.items()
    )


def _inputs(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor, cam_from_world: Tensor, K: Tensor
) -> list[Tensor]:
    n = len(means)
    return _native.prepared(
        "splat", means=(means, (n, 3)), quats=(quats, (n, 4)), scales=(scales, (n, 3)), opacities=(opacities, (n,)),
        colours=(colours, (n, 3)), cam_from_world=(cam_from_world, (4, 4)), K=(K, (3, 3)),
    )  # fmt: skip


def _scene(inputs: list[Tensor], width: int, height: int) -> Any:
    return ctypes.byref(_native.Scene(*(tensor.data_ptr() for tensor in inputs), len(inputs[0]), width, height))


def _kept(records: Tensor, tile_start: Tensor, pixels: Tensor, hits: Tensor | None) -> Any:
    return ctypes.byref(_native.Kept(*map(_native.address, (records, tile_start, pixels, hits))))


def _state(means: Tensor, width: int, height: int, keep: bool) -> list[Tensor]:
    """records [N,16], tile_start [tiles+1], pixels [2,tiles,256]: what the backward pass needs besides the hits."""
    tiles = (-(-width // _TILE_PX)) * (-(-height // _TILE_PX)) if keep else 0
    count = len(means) if keep else 0
    return [
        means.new_empty(count, 16),
        means.new_empty(tiles + 1, dtype=torch.int64),
        means.new_empty(2, tiles, _TILE_PX * _TILE_PX),
    ]


Drawn = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def _draw(inputs: list[Tensor], width: int, height: int, keep: bool) -> Drawn:
    means = inputs[0]
    rgb, alpha, depth = (means.new_empty(*shape, height, width) for shape in ((3,), (), ()))
    records, tile_start, pixels = _state(means, width, height, keep)
    hits = means.new_empty(0, 2, dtype=torch.int32)

    def allocate(count: int) -> int | None:
        nonlocal hits
        try:
            hits = means.new_empty(count, 2, dtype=torch.int32)
        except (MemoryError, RuntimeError):
            return None
        return hits.data_ptr()

    status = _native.library().avatar3d_splat_forward(
        _scene(inputs, width, height),
        _kept(records, tile_start, pixels, None),
        _native.Allocate(allocate) if keep else _native.Allocate(),
        *(tensor.data_ptr() for tensor in (rgb, alpha, depth)),
    )
    _native.checked(status, "splat")
    return rgb, alpha, depth, records, tile_start, pixels, hits


@torch.library.custom_op("avatar3d::splat", mutates_args=())
def _splat(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor,
    cam_from_world: Tensor, K: Tensor, width: int, height: int, keep: bool,
) -> Drawn:  # fmt: skip
    return _draw(_inputs(means, quats, scales, opacities, colours, cam_from_world, K), width, height, keep)


@_splat.register_fake
def _(means: Tensor, *arguments: Any) -> Drawn:
    width, height, keep = arguments[-3:]
    rgb, alpha, depth = (means.new_empty(*shape, height, width) for shape in ((3,), (), ()))
    records, tile_start, pixels = _state(means, width, height, keep)
    hits = torch.library.get_ctx().new_dynamic_size() if keep else 0
    return rgb, alpha, depth, records, tile_start, pixels, means.new_empty(hits, 2, dtype=torch.int32)


@torch.library.custom_op("avatar3d::splat_backward", mutates_args=())
def _splat_backward(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor,
    cam_from_world: Tensor, K: Tensor, width: int, height: int,
    records: Tensor, tile_start: Tensor, pixels: Tensor, hits: Tensor,
    d_rgb: Tensor | None, d_alpha: Tensor | None, d_depth: Tensor | None, with_pose: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    inputs = _inputs(means, quats, scales, opacities, colours, cam_from_world, K)
    upstream = [None if d is None else d.contiguous() for d in (d_rgb, d_alpha, d_depth)]
    gradients = [torch.empty_like(tensor) for tensor in inputs[:5]]
    pose = torch.zeros_like(inputs[5])
    targets = [*(tensor.data_ptr() for tensor in gradients), pose.data_ptr() if with_pose else None]
    status = _native.library().avatar3d_splat_backward(
        _scene(inputs, width, height),
        _kept(records, tile_start, pixels, hits),
        *map(_native.address, upstream),
        ctypes.byref(_native.Gradients(*targets)),
    )
    _native.checked(status, "splat backward")
    return gradients[0], gradients[1], gradients[2], gradients[3], gradients[4], pose


make_differentiable(_splat, _splat_backward)
