# SPDX-License-Identifier: Apache-2.0
"""How stored pixels become the picture that is shown: rotation and mirror flags, pixels that are not square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

Box = tuple[int, int, int, int]  # left, top, right, bottom px


@dataclass(frozen=True)
class Layout:
    """A stored picture and the way it is shown: stretched to square pixels, transposed, then flipped."""

    width: int  # px as shown
    height: int  # px as shown
    aspect: float = 1.0  # width of a stored pixel over its height
    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, picture: VideoFrame, stream: VideoStream) -> Layout:
        """The layout that the file's flags ask for; turns that are no multiple of 90 degrees are rounded."""
        aspect = float(stream.sample_aspect_ratio or 1)
        size = (round(picture.width * aspect), picture.height)
        data = picture.side_data.get("DISPLAYMATRIX")
        if data is None:
            return cls(*size, aspect)
        # row vectors: x' = a x + c y, y' = b x + d y, 16.16 fixed point
        a, b, _, c, d = np.frombuffer(cast(bytes, data), np.int32)[:5].tolist()
        if abs(a) >= abs(b):
            return cls(*size, aspect, False, a < 0, d < 0)
        return cls(*size[::-1], aspect, True, c < 0, b < 0)

    @property
    def box(self) -> Box:
        """The whole picture."""
        return (0, 0, self.width, self.height)

    def shown(self, stored: np.ndarray) -> np.ndarray:
        """The picture as shown, [H,W,C], from stored rows whose pixels are square already."""
        turned = stored.swapaxes(0, 1) if self.transposed else stored
        return turned[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]

    def stored_box(self, box: Box) -> Box:
        """Where the box of the shown picture lies in the stored one."""
        left, top, right, bottom = box
        if self.flip_x:
            left, right = self.width - right, self.width - left
        if self.flip_y:
            top, bottom = self.height - bottom, self.height - top
        if self.transposed:
            left, top, right, bottom = top, left, bottom, right
        return (round(left / self.aspect), top, round(right / self.aspect), bottom)
