# SPDX-License-Identifier: Apache-2.0
"""Where a camera goes about a head that stands still: poses and fields of view at a steady rate, and between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from avatar3d.geometry import compose, intrinsics, invert, matrix_from_pose
from avatar3d.records import Camera

__all__ = ["CameraPath"]


@dataclass(frozen=True)
class CameraPath:
    """One row of poses is one moment; the head stands still in head space, as `export --format nerfstudio` has it."""

    head_from_camera: Tensor  # [M,7]; camera axes are OpenCV's
    tangents: Tensor  # [M] of half the vertical field of view
    fps: float  # moments per second
    width: int  # px
    height: int  # px
    cycle: bool = False  # begins anew at its end, and else stays there

    def at(self, time_s: float, world_from_head: Tensor, width: int | None = None) -> Camera:
        """The camera at a time, about a head whose pose [7] is given; in between, its neighbours' mixture.

        Args:
            width: px; the height follows the path's shape.
        """
        width = self.width if width is None else width
        height = max(1, round(self.height * width / self.width))
        count, place = len(self.tangents), time_s * self.fps
        place = place % count if self.cycle else min(place, count - 1.0)
        below = min(int(place), count - 1)
        above = (below + 1) % count if self.cycle else min(below + 1, count - 1)
        first, second = self.head_from_camera[below], self.head_from_camera[above]
        if first[:4] @ second[:4] < 0:
            second = torch.cat([-second[:4], second[4:]])
        share = place - below
        # neighbours are a small turn apart, so a straight line is as good as an arc
        world_from_camera = compose(world_from_head, torch.lerp(first, second, share))
        tangent = float(torch.lerp(self.tangents[below], self.tangents[above], share))
        cam_from_world = matrix_from_pose(invert(world_from_camera))
        return Camera(intrinsics(height / (2 * tangent), width, height), cam_from_world, width, height)
