# SPDX-License-Identifier: Apache-2.0
"""What some pixels of a radiance field's picture show: field, flat picture behind it, room."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from avatar3d.contracts import DrawPixels
from avatar3d.geometry import rays
from avatar3d.records import Camera, Radiance


@dataclass(frozen=True)
class Seen:
    """N pixels."""

    person: Tensor  # [N,3] 0..1, times alpha
    alpha: Tensor  # [N]
    own_alpha: Tensor  # [N] of the field alone

    def over(self, room: Tensor) -> Tensor:
        """Before a room [N,3]; [N,3]."""
        return self.person + (1 - self.alpha[:, None]) * room


def seen(draw: DrawPixels, radiance: Radiance, camera: Camera, at: Tensor, jitter: Tensor | None = None) -> Seen:
    """A person at points [N,2] px, by rays as they are cast, before any enlarging; differentiable.

    Args:
        jitter: [N] 0..1, see `avatar3d.ops.march`.
    """
    field = draw.pixels(radiance, camera, at, jitter)
    flat, flat_alpha, _ = radiance.behind(*rays(at, camera.K, camera.cam_from_world))
    light = 1 - field.alpha
    return Seen(field.rgb + light[:, None] * flat, field.alpha + light * flat_alpha, field.alpha)
