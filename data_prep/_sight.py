# SPDX-License-Identifier: Apache-2.0
"""What a detector saw, in the solver's units: u at the face's depth, from the point that the camera looks at.

A long capture's landmarks are half a gigabyte of float32. They are never copied whole: rows are converted when asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avatar3d.errors import InputError
from avatar3d.face.canonical import CanonicalFace
from avatar3d.records import Landmarks

VERTICES = 468
_BLOCK = 512  # frames that are converted at once: their normal equations stay in the processor's caches


@dataclass(frozen=True)
class Sight:
    """Landmarks of all frames; `sight[rows]` gives [t,P,2] float64 u, 0 where no face was found."""

    points: np.ndarray  # [T,P,>=2] float32 px
    found: np.ndarray  # [T] bool
    centre_px: tuple[float, float]  # where the optical axis meets the picture
    px_per_u: tuple[float, float]  # across and down, at the face's depth

    @staticmethod
    def of(landmarks: Landmarks, training: np.ndarray, face: CanonicalFace, centre_px: tuple[float, float]) -> Sight:
        """The landmarks of a capture whose pixels are square; frames [T] `training` say how large the face is.

        Raises:
            InputError: no training frame shows a face.
        """
        found = landmarks.found & np.isfinite(landmarks.points[..., :2]).all((1, 2))
        across = landmarks.points[found & training, :VERTICES, 0]
        if len(across) == 0:
            raise InputError("no frame of the capture shows a face", "film the face from the front, large and well lit")
        px_per_u = float(np.median(np.ptp(across, axis=1)) / np.ptp(face.vertices[:, 0]))
        return Sight(landmarks.points, found, centre_px, (px_per_u, px_per_u))

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, rows: slice | np.ndarray) -> Tensor:
        seen = (self.points[rows, :, :2].astype(np.float64) - self.centre_px) / self.px_per_u
        return torch.from_numpy(np.where(self.found[rows, None, None], seen, 0.0))

    def face(self) -> Sight:
        """The same without the irises."""
        return replace(self, points=self.points[:, :VERTICES])

    def through(self, K: Tensor) -> Sight:
        """The same seen by a camera K [3,3] px: from its optical axis, the picture stretched to square pixels."""
        across = self.px_per_u[0]
        down = across * float(K[1, 1] / K[0, 0])
        return replace(self, centre_px=(float(K[0, 2]), float(K[1, 2])), px_per_u=(across, down))

    def blocks(self) -> Iterator[slice]:
        """Ranges of frames that together are all of them."""
        for start in range(0, len(self), _BLOCK):
            yield slice(start, min(start + _BLOCK, len(self)))


def spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the rows, evenly."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]
