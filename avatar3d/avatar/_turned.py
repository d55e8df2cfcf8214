# SPDX-License-Identifier: Apache-2.0
"""Poses, turned and shifted.

One on the CPU is worked out in plain numbers: torch's bookkeeping costs far more than seven sums. On a GPU they would
have to be waited for.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from avatar3d.geometry import quat_from_rotvec, quat_multiply

Numbers = list[float]


def turned(pose: Tensor, deviation: Tensor) -> Tensor:
    """Poses [...,7] turned about their own origin and shifted by deviations [...,6] (rotation vector, translation).

    Differentiable in both.
    """
    if pose.device.type == "cpu" and pose.ndim == deviation.ndim == 1:
        result: Tensor = _Turned.apply(pose, deviation)
        return result
    turn = quat_multiply(quat_from_rotvec(deviation[..., :3]), pose[..., :4])
    return torch.cat([turn, pose[..., 4:] + deviation[..., 3:]], -1)


class _Turned(torch.autograd.Function):
    """Out: (r q, t + s) for a pose (q, t) and a deviation (v, s), r the unit quaternion of the rotation vector v."""

    @staticmethod
    def forward(ctx: Any, pose: Tensor, deviation: Tensor) -> Tensor:
        given, moved = pose.tolist(), deviation.tolist()
        turn, sinc = _turn(moved[:3])
        ctx.known = given, moved, turn, sinc
        return pose.new_tensor(_product(turn, given[:4]) + [a + b for a, b in zip(given[4:], moved[3:], strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor]:
        given, moved, turn, sinc = ctx.known
        pull = upstream.tolist()
        w, x, y, z = given[:4]
        to_turn = _product(pull[:4], [w, -x, -y, -z])
        to_quat = _product([turn[0], -turn[1], -turn[2], -turn[3]], pull[:4])
        to_vector = _vector_gradient(moved[:3], turn[0], sinc, to_turn)
        return upstream.new_tensor(to_quat + pull[4:]), upstream.new_tensor(to_vector + pull[4:])


def _turn(v: Numbers) -> tuple[Numbers, float]:
    """(cos(|v| / 2), s v) and s = sin(|v| / 2) / |v|."""
    angle = math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
    sinc = math.sin(angle / 2) / angle if angle > _SMALL else 0.5 - angle * angle / 48
    return [math.cos(angle / 2), sinc * v[0], sinc * v[1], sinc * v[2]], sinc


_SMALL = 1e-4


def _vector_gradient(v: Numbers, cos: float, sinc: float, to_turn: Numbers) -> Numbers:
    """From that of the quaternion: dcos = -s/2 v, ds = (cos/2 - s) / |v|^2 v, whose limit is -v / 24."""
    angle_sq = v[0] * v[0] + v[1] * v[1] + v[2] * v[2]
    bend = (cos / 2 - sinc) / angle_sq if angle_sq > _SMALL else -1 / 24
    along = v[0] * to_turn[1] + v[1] * to_turn[2] + v[2] * to_turn[3]
    common = bend * along - sinc / 2 * to_turn[0]
    return [common * value + sinc * pull for value, pull in zip(v, to_turn[1:], strict=True)]


def _product(a: Numbers, b: Numbers) -> Numbers:
    """Hamilton's."""
    aw, ax, ay, az = a
    bw, bx, by, bz = b
    return [
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    ]
