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
    """Gaussians of one frame; differentiable in everything.

    mean' = B m + w (H m - B m) with m = mean + offset[0:3] and w = sigmoid(skin_logit);
    quat' = (b + w (h - b)) (1, offset[3:6] / 2) quat with unit quaternions h, b on the same half of the sphere;
    colour' = clamp(colour + offset[6:9], 0, 1).

    Args:
        means: [N,3] u in head space.
        quats: [N,4] wxyz, of any length.
        colours: [N,3].
        skin_logits: [N].
        offsets: [N,9].
        world_from_head, world_from_body: poses [7]; their gradients are those along the sphere of unit quaternions.
        path: "native", "reference" or "auto".

    Returns:
        means [N,3] u in world space, quats [N,4], colours [N,3].
    """
    count = len(means)
    shapes: dict[str, tuple[Tensor, tuple[int, ...]]]
    shapes = {"quats": (quats, (count, 4)), "colours": (colours, (count, 3)), "offsets": (offsets, (count, 9))}
    shapes |= {"means": (means, (count, 3)), "skin_logits": (skin_logits, (count,))}
    shapes |= {"world_from_head": (world_from_head, (7,)), "world_from_body": (world_from_body, (7,))}
    for name, (tensor, shape) in shapes.items():
        if tuple(tensor.shape) != shape:
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


@torch.library.custom_op("avatar3d::rig", mutates_args=())
def _rig(
    means: Tensor, quats: Tensor, colours: Tensor, skin_logits: Tensor, offsets: Tensor,
    world_from_head: Tensor, world_from_body: Tensor,
) -> Carried:  # fmt: skip
    inputs = _inputs(means, quats, colours, skin_logits, offsets, world_from_head, world_from_body)
    out = means.new_empty(means.shape), means.new_empty(quats.shape), means.new_empty(colours.shape)
    pointers = [tensor.data_ptr() for tensor in inputs]
    status = _native.library().avatar3d_rig_forward(*pointers, len(means), *(tensor.data_ptr() for tensor in out))
    _native.checked(status, "rig")
    return out


@_rig.register_fake
def _(means: Tensor, quats: Tensor, colours: Tensor, *_: Tensor) -> Carried:
    return means.new_empty(means.shape), means.new_empty(quats.shape), means.new_empty(colours.shape)


@torch.library.custom_op("avatar3d::rig_backward", mutates_args=())
def _rig_backward(
    means: Tensor, quats: Tensor, colours: Tensor, skin_logits: Tensor, offsets: Tensor,
    world_from_head: Tensor, world_from_body: Tensor, d_means: Tensor, d_quats: Tensor, d_colours: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    inputs = _inputs(means, quats, colours, skin_logits, offsets, world_from_head, world_from_body)
    upstream = [tensor.contiguous() for tensor in (d_means, d_quats, d_colours)]
    found = [means.new_empty(tensor.shape) for tensor in inputs[:5]]
    poses = [means.new_empty(6), means.new_empty(6)]
    pointers = [tensor.data_ptr() for tensor in inputs + upstream]
    outputs = [tensor.data_ptr() for tensor in (*found, *poses)]
    status = _native.library().avatar3d_rig_backward(*pointers, len(means), *outputs)
    _native.checked(status, "rig backward")
    to_poses = [_pose_gradient(p, g) for p, g in zip((world_from_head, world_from_body), poses, strict=True)]
    return found[0], found[1], found[2], found[3], found[4], to_poses[0], to_poses[1]


@_rig_backward.register_fake
def _(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.new_empty(tensor.shape) for tensor in tensors[:7])


def _pose_gradient(pose: Tensor, turn_and_shift: Tensor) -> Tensor:
    """From the gradient of a turn v (R -> exp(v) R): half of (0, v) q is how the quaternion moves, hence twice."""
    quat = pose[:4]
    turn = torch.cat([turn_and_shift.new_zeros(1), turn_and_shift[:3]])
    return torch.cat([2 * quat_multiply(turn, quat) / (quat * quat).sum(), turn_and_shift[3:]])


def _remember(ctx: Any, inputs: tuple[Tensor, ...], output: Carried) -> None:  # noqa: ARG001 - torch names it
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, *upstream: Tensor) -> tuple[Tensor, ...]:
    return _rig_backward(*ctx.saved_tensors, *upstream)


_rig.register_autograd(_differentiate, setup_context=_remember)
