# SPDX-License-Identifier: Apache-2.0
"""A head seen from sides that no frame shows: there is no truth there, but a head is solid.

From where it was filmed a stack of thin veils is as opaque as a surface, and training likes veils, each of which has a
gradient. From a side they no longer lie behind one another, and the room shines through a cheek.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageDraw
from scipy.spatial import ConvexHull
from torch import Tensor

from avatar3d.avatar._scatter import CORE
from avatar3d.avatar._turned import turned
from avatar3d.geometry import apply_pose, project
from avatar3d.records import Camera

_YAW_DEG, _PITCH_DEG = 35.0, 25.0  # the furthest sides; a little beyond what is asked of a head


class Aside:
    """`look` at a head from somewhere; all of it is worked out on the CPU.

    Args:
        solid: [S,3] u in head space: points whose convex hull is solid.
        rest: world_from_head [7] from which the head is turned.
        camera: that films it.
    """

    def __init__(self, solid: np.ndarray, rest: Tensor, camera: Camera) -> None:
        self.corners = torch.from_numpy(solid[ConvexHull(solid).vertices]).float()
        self.rest, self.camera = rest.cpu(), camera

    def look(self, level: int) -> tuple[Tensor, Tensor]:
        """A random side, world_from_head [7], and where the head is opaque then: [H,W] float32, 1 there, 0 elsewhere.

        Args:
            level: halvings of the picture's size.
        """
        yaw, pitch = ((2 * torch.rand(2) - 1) * torch.tensor([_YAW_DEG, _PITCH_DEG])).tolist()
        turn = torch.tensor([math.radians(pitch), math.radians(yaw), 0.0, 0.0, 0.0, 0.0])
        view = turned(self.rest, turn)
        return view, self._region(view, level)

    def _region(self, world_from_head: Tensor, level: int) -> Tensor:
        seen = project(apply_pose(world_from_head, self.corners), self.camera.K.float()).numpy() / 2**level
        drawn = PillowImage.new("L", (self.camera.width >> level, self.camera.height >> level))
        ImageDraw.Draw(drawn).polygon([(float(x), float(y)) for x, y in seen[ConvexHull(seen).vertices]], fill=1)
        return torch.from_numpy(np.asarray(drawn, np.float32))


def solid_of(parts: Mapping[str, Tensor], face: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """What is solid of a head with these parts and a face [468,3] u, and the pose from which it is turned: see `Aside`.

    Beside the face it is the core, which stands well within the outline that the masks show.
    """
    core = parts["means"][parts["group"] == CORE].detach().cpu().numpy()
    return np.concatenate([face, core]), parts["rest_pose"]


def see_through(alpha: Tensor, solid: Tensor) -> Tensor:
    """How much of what is behind shines through a head, mean of 1 - alpha [H,W] where it is `solid` [H,W] 0..1."""
    return (solid * (1 - alpha)).sum() / solid.sum().clamp_min(1)
