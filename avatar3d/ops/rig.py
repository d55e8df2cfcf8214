# SPDX-License-Identifier: Apache-2.0
"""The linear rig: offsets are added to Gaussians, which a blend of two rigid frames then carries into the world."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from avatar3d.geometry import apply_pose, matrix_from_quat, normalise, quat_multiply
from avatar3d.ops import _native

__all__ = ["rig", "rig_reference"]

Carried = tuple[Tensor, Tensor, Tensor]


def rig(
    means: Tensor, quats: Tensor, colours: Tensor, skin_logits: Tensor, offsets: Tensor,
    world_from_head: Tensor, world_from_body: Tensor, path: str = "auto",
) -> Carried:  # fmt: skip
    """Gaussians of one frame or of a batch; differentiable in everything.

    mean' = B m + w (H m - B m) with m = mean + offset[0:3] and w = sigmoid(skin_logit);
    quat' = (b + w (h - b)) (1, offset[3:6] / 2) quat with unit quaternions h, b on the same half of the sphere;
    colour' = clamp(colour + offset[6:9], 0, 1).

    Args:
        means: [N,3] u in head space.
        quats: [N,4] wxyz, of any length.
        colours: [N,3].
        skin_logits: [N].
        offsets: [N,9], or [B,N,9] of a batch.
        world_from_head, world_from_body: poses [7], or [B,7]; their gradients are those along the sphere of unit
            quaternions.
        path: "native" (the kernel; float32; CPU, CUDA), "reference", or "auto": native where there is one.

    Returns:
        means [N,3] u in world space, quats [N,4], colours [N,3]; of a batch with B in front.
    """
    count, batch = len(means), tuple(offsets.shape[:-2])
    shapes: dict[str, tuple[Tensor, tuple[int, ...]]]
    shapes = {"quats": (quats, (count, 4)), "colours": (colours, (count, 3)), "offsets": (offsets, (*batch, count, 9))}
    shapes |= {"means": (means, (count, 3)), "skin_logits": (skin_logits, (count,))}
    shapes |= {"world_from_head": (world_from_head, (*batch, 7)), "world_from_body": (world_from_body, (*batch, 7))}
    for name, (tensor, shape) in shapes.items():
        if tuple(tensor.shape) != shape or len(batch) > 1:
            raise ValueError(f"rig: {name} has shape {tuple(tensor.shape)}, expected {shape}")
    inputs = (means, quats, colours, skin_logits, offsets, world_from_head, world_from_body)
    if not _native.use_native("rig", path, means.device):
        return rig_reference(*inputs)
    return _rig(*inputs)


def rig_reference(
    means: Tensor, quats: Tensor, colours: Tensor, skin_logits: Tensor, offsets: Tensor,
    world_from_head: Tensor, world_from_body: Tensor,
) -> Carried:  # fmt: skip
    """The twin of `rig` in plain torch."""
    if offsets.ndim == 3:
        shared, own = (means, quats, colours, skin_logits), (offsets, world_from_head, world_from_body)
        images = [rig_reference(*shared, *(tensor[image] for tensor in own)) for image in range(len(offsets))]
        return tuple(torch.stack(tensors) for tensors in zip(*images, strict=True))  # type: ignore[return-value]
    moved = means + offsets[:, :3]
    skin = skin_logits.sigmoid()[:, None]
    head_quat, body_quat = normalise(world_from_head[:4]), normalise(world_from_body[:4])
    body_quat = torch.where((head_quat * body_quat).sum() < 0, -body_quat, body_quat)
    apart = moved @ (matrix_from_quat(head_quat) - matrix_from_quat(body_quat)).T
    apart = apart + world_from_head[4:] - world_from_body[4:]
    half_turn = torch.cat([torch.ones_like(skin), 0.5 * offsets[:, 3:6]], 1)
    frame_quat = body_quat + skin * (head_quat - body_quat)
    return (
        apply_pose(world_from_body, moved) + skin * apart,
        quat_multiply(frame_quat, quat_multiply(half_turn, quats)),
        (colours + offsets[:, 6:]).clamp(0, 1),
    )


def _inputs(*tensors: Tensor) -> list[Tensor]:
    names = ("means", "quats", "colours", "skin_logits", "offsets", "world_from_head", "world_from_body")
    return _native.prepared("rig", **{n: (t, tuple(t.shape)) for n, t in zip(names, tensors, strict=True)})


def _carried_like(means: Tensor, offsets: Tensor) -> Carried:
    rows = offsets.shape[:-1]
    return means.new_empty(*rows, 3), means.new_empty(*rows, 4), means.new_empty(*rows, 3)


def _images(*tensors: Tensor) -> list[tuple[int, ...]]:
    """Where each image's part of contiguous tensors [B,..] lies, image by image."""
    return list(zip(*([part.data_ptr() for part in tensor] for tensor in tensors), strict=True))


def _batch(tensor: Tensor, plain: int) -> Tensor:
    """With the dimension of images, which a tensor of `plain` dimensions lacks."""
    return tensor.reshape(-1, *tensor.shape[tensor.ndim - plain :])


@torch.library.custom_op("avatar3d::rig", mutates_args=())
def _rig(
    means: Tensor, quats: Tensor, colours: Tensor, skin_logits: Tensor, offsets: Tensor,
    world_from_head: Tensor, world_from_body: Tensor,
) -> Carried:  # fmt: skip
    inputs = _inputs(means, quats, colours, skin_logits, offsets, world_from_head, world_from_body)
    out = _carried_like(means, offsets)
    pointers = [tensor.data_ptr() for tensor in inputs]
    if _native.body(means.device) == "cuda":
        sizes, outputs = (len(means), offsets.shape[:-2].numel()), [tensor.data_ptr() for tensor in out]
        _native.launch("avatar3d_cuda_rig_forward", "rig", means.device, *pointers, *sizes, *outputs)
        return out
    own = [_batch(tensor, plain) for tensor, plain in zip((*inputs[4:], *out), (2, 1, 1, 2, 2, 2), strict=True)]
    for image in _images(*own):
        status = _native.library().avatar3d_rig_forward(*pointers[:4], *image[:3], len(means), *image[3:])
        _native.checked(status, "rig")
    return out


@_rig.register_fake
def _(means: Tensor, *others: Tensor) -> Carried:
    return _carried_like(means, others[3])


@torch.library.custom_op("avatar3d::rig_backward", mutates_args=())
def _rig_backward(
    means: Tensor, quats: Tensor, colours: Tensor, skin_logits: Tensor, offsets: Tensor,
    world_from_head: Tensor, world_from_body: Tensor, d_means: Tensor, d_quats: Tensor, d_colours: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    inputs = _inputs(means, quats, colours, skin_logits, offsets, world_from_head, world_from_body)
    upstream = [tensor.contiguous() for tensor in (d_means, d_quats, d_colours)]
    batch = offsets.shape[:-2]
    found = [means.new_empty(tensor.shape) for tensor in inputs[:5]]
    poses = [means.new_empty(*batch, 6), means.new_empty(*batch, 6)]
    if _native.body(means.device) == "cuda":
        sizes = len(means), batch.numel()
        scratch = means.new_empty(_native.library("cuda").avatar3d_cuda_rig_scratch(*sizes))
        pointers = [tensor.data_ptr() for tensor in (*inputs, *upstream)]
        outputs = [tensor.data_ptr() for tensor in (scratch, *found, *poses)]
        _native.launch("avatar3d_cuda_rig_backward", "rig", means.device, *pointers, *sizes, *outputs)
    else:
        _backward_on_cpu(inputs, upstream, found, poses)
    to_poses = [_pose_gradient(p, g) for p, g in zip((world_from_head, world_from_body), poses, strict=True)]
    return found[0], found[1], found[2], found[3], found[4], to_poses[0], to_poses[1]


def _backward_on_cpu(inputs: list[Tensor], upstream: list[Tensor], found: list[Tensor], poses: list[Tensor]) -> None:
    """Image by image, into `found` and `poses`; what the images share is added up."""
    own = [_batch(t, plain) for t, plain in zip((*inputs[4:], *upstream), (2, 1, 1, 2, 2, 2), strict=True)]
    shared = [tensor.data_ptr() for tensor in inputs[:4]]
    results = [_batch(found[4], 2), *(_batch(tensor, 1) for tensor in poses)]
    count = len(inputs[0])
    for number, image in enumerate(_images(*own, *results)):
        part = [torch.empty_like(tensor) for tensor in found[:4]] if number else found[:4]
        outputs = (*(tensor.data_ptr() for tensor in part), *image[6:])
        status = _native.library().avatar3d_rig_backward(*shared, *image[:6], count, *outputs)
        _native.checked(status, "rig backward")
        if number:
            torch._foreach_add_(found[:4], part)


@_rig_backward.register_fake
def _(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.new_empty(tensor.shape) for tensor in tensors[:7])


def _pose_gradient(pose: Tensor, turn_and_shift: Tensor) -> Tensor:
    """From the gradient of a turn v (R -> exp(v) R): half of (0, v) q is how the quaternion moves, hence twice."""
    quat = pose[..., :4]
    turn = torch.cat([torch.zeros_like(turn_and_shift[..., :1]), turn_and_shift[..., :3]], -1)
    to_quat = 2 * quat_multiply(turn, quat) / (quat * quat).sum(-1, keepdim=True)
    return torch.cat([to_quat, turn_and_shift[..., 3:]], -1)


def _remember(ctx: Any, inputs: tuple[Tensor, ...], output: Carried) -> None:  # noqa: ARG001 - torch names it
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, *upstream: Tensor) -> tuple[Tensor, ...]:
    return _rig_backward(*ctx.saved_tensors, *upstream)


_rig.register_autograd(_differentiate, setup_context=_remember)
