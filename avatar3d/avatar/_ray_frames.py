# SPDX-License-Identifier: Apache-2.0
"""Frames as rays are trained on them: which pixels a step draws, and what was filmed there.

Pixels are those of the picture for which rays are cast: the filmed one, or one of half its size where a head enlarges
what its rays draw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import maximum_filter
from torch import Tensor
from torch.nn.functional import avg_pool2d

from avatar3d.avatar._frames import Frames
from avatar3d.records import Capture, Track

_SHARES = (0.2, 0.1, 0.3, 0.35)  # of a step's pixels: about the lips, the eyes, the face, the person; the rest anywhere
_REGION_FRAMES, _REGION_GROWN = 64, 0.03  # what the person covers; by so much of the picture's height it is grown
_PATCH_SHARE, _PATCH_PX = 0.2, (32, 64)  # side of a patch, of the picture's height; at least (for LPIPS), at most


class RayFrames:
    """Of one capture; `level` halvings smaller than it was filmed."""

    def __init__(self, frames: Frames, capture: Capture, track: Track, room: Tensor, level: int) -> None:
        """Args: room: [H,W,3] as filmed."""
        self.frames, self.level = frames, level
        self.height, self.width = frames.height >> level, frames.width >> level
        wanted = min(max(round(_PATCH_SHARE * self.height), _PATCH_PX[0]), _PATCH_PX[1])
        self.patch_px = min(wanted, self.height, self.width)
        self._room = avg_pool2d(room.permute(2, 0, 1), 2**level) if level else room.permute(2, 0, 1)
        self._region = (_region(capture, track) >> level).to(frames.device)

    def real(self, frame: int, at: Tensor) -> Tensor:
        """The filmed colours [N,3]."""
        x, y = at.long().unbind(1)
        return self.frames.target(frame, self.level)[:, y, x].T

    def room(self, at: Tensor) -> Tensor:
        """The room's colours [N,3]."""
        x, y = at.long().unbind(1)
        return self._room[:, y, x].T

    def sides(self, frame: int, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N] float32 each: 1 where the mask is sure of the person, of the room; and for sure within the face."""
        x, y = (at.long() << self.level).unbind(1)
        person, room = (where[y, x] for where in self.frames.sides(frame))
        return person, room, (self.frames.face_weight(frame, 0.0)[y, x] > 0.99).float()

    def some(self, frame: int, count: int) -> Tensor:
        """Middles [count,2] px of pixels at random: most of them about lips, eyes and face."""
        boxes = [box.tolist() for box in self.frames.boxes(frame) >> self.level]
        face = [edge >> self.level for edge in self.frames.face_box(frame)]
        squares = [boxes[0], boxes[int(torch.randint(1, 3, ()))], face]
        parts = []
        for share, (x0, y0, x1, y1) in zip(_SHARES, squares, strict=False):
            size = torch.tensor([max(x1 - x0, 1), max(y1 - y0, 1)])
            parts.append(torch.tensor([x0, y0]) + torch.rand(int(share * count), 2) * size)
        of_region = torch.randint(len(self._region), (int(_SHARES[3] * count),))
        parts.append(self._region[of_region.to(self._region.device)].cpu().float())
        rest = count - sum(len(part) for part in parts)
        parts.append(torch.rand(rest, 2) * torch.tensor([self.width, self.height]))
        return self._middles(torch.cat(parts))

    def patch(self, frame: int) -> tuple[int, int]:
        """Left and top px of a square of `patch_px`: half of the time about the lips, else anywhere about the head."""
        side = self.patch_px
        if torch.rand(()) < 0.5:
            rows, columns = self.frames.patch(frame, self.level, side / self.height)
            at = columns.start, rows.start
        else:
            at = self._by_the_lips((self.frames.boxes(frame)[0] >> self.level).tolist())
        return min(at[0], max(self.width - side, 0)), min(at[1], max(self.height - side, 0))

    def pixels_of(self, left: int, top: int) -> Tensor:
        """Middles [P*P,2] px of the pixels of a patch, row by row."""
        y, x = torch.meshgrid(torch.arange(self.patch_px), torch.arange(self.patch_px), indexing="ij")
        return self._middles(torch.stack([x, y], -1).reshape(-1, 2) + torch.tensor([left, top]))

    def _by_the_lips(self, box: Sequence[int]) -> tuple[int, int]:
        middle = torch.tensor([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        spread = torch.tensor([box[2] - box[0], box[3] - box[1]]) / 2
        left, top = (middle + (torch.rand(2) - 0.5) * spread - self.patch_px / 2).clamp_min(0).floor().long().tolist()
        return left, top

    def _middles(self, at: Tensor) -> Tensor:
        last = torch.tensor([self.width - 1.0, self.height - 1.0])
        return (at.float().floor().clamp(torch.zeros(2), last) + 0.5).to(self.frames.device)


def _region(capture: Capture, track: Track) -> Tensor:
    """[M,2] px: pixels that a person covers in some frame, and those about them; all without masks."""
    height, width = capture.frames.shape[1:3]
    if capture.masks is None:
        covered = np.ones((height, width), bool)
    else:
        rows = np.linspace(0, track.fitted_frames - 1, min(_REGION_FRAMES, track.fitted_frames)).astype(int)
        covered = np.max(np.stack([capture.masks[row] for row in rows]), axis=0) > 127
        covered = maximum_filter(covered, 2 * max(1, round(_REGION_GROWN * height)) + 1)
    y, x = np.nonzero(covered)
    return torch.from_numpy(np.stack([x, y], 1))
