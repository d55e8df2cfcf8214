# SPDX-License-Identifier: Apache-2.0
"""What the training of any head on one tracked capture shares, whatever the head is made of.

What only training needs lives here and not in the head: the frames, which of them are drawn how often, small
corrections of every frame's head and body pose, and what frames that nobody trains on look like.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import radians
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar._codes import relative_pose
from avatar3d.avatar._driving import POSE, Driven
from avatar3d.avatar._frames import Frames, rarity
from avatar3d.avatar._pose_rows import PoseRows
from avatar3d.avatar._turned import turned
from avatar3d.contracts import Tools
from avatar3d.records import Camera, Capture, Image, Motion, Stage, Track
from avatar3d.seeds import seeded

H = TypeVar("H", bound=Driven)

_SIDE = 30  # deg to which the head is turned to be looked at


class FrameFit(ABC, Generic[H]):
    """The part of a contracts.HeadLearner that knows of frames; `learned` are the tensors under training by name,
    which are shared with `head.parts`.
    """

    learned: dict[str, Tensor]

    def __init__(self, head: H, capture: Capture, track: Track, tools: Tools) -> None:
        self.head, self.tools = head, tools
        self.device = head.background.device
        self.frames = Frames(capture, track, self.device)
        self.cuts: Sequence[int] = capture.cuts
        self.corrections = PoseRows(len(track.motion), capture.cuts, self.device)
        self.chances = rarity(track, self.frames.usable)
        self.codes: Tensor  # [T,K]
        self.poses: Tensor  # [T,7] world_from_head
        self.features: Tensor  # [T,19] what the body's pose is foretold from
        self.bodies: Tensor | None = None  # [T,6] where they stood, measured, as turns and shifts from rest
        self._retracked = False
        self._follow(track.motion)

    @abstractmethod
    def trained(self) -> H:
        """The head as it stands."""

    @abstractmethod
    def rendered(self, frame: int, world_from_head: Tensor, world_from_body: Tensor) -> Tensor:
        """The picture [3,H,W] of a frame's face on these poses [7], as anyone would draw it."""

    def frame_for(self, stage: Stage, progress: float, step: int) -> int:  # noqa: ARG002
        """A frame that a step draws: half of the time any, half of the time rare kinds as often as common ones."""
        return int(torch.multinomial(self.chances, 1))

    @torch.no_grad()
    def pictures(self) -> dict[str, Tensor]:
        """Three frames that are not trained on: real, made, four times the difference; the first from both sides."""
        frames = self.frames.held_out(3) or self.frames.usable[:1].tolist()
        columns = []
        for frame in frames:
            real, made = self.frames.target(frame, 0), self.rendered(frame, *self._foretold(frame))
            columns.append(torch.cat([real, made, (4 * (real - made).abs()).clamp(0, 1)], 1))
        turns = [torch.tensor([0.0, radians(side), 0.0, 0.0, 0.0, 0.0], device=self.device) for side in (-_SIDE, _SIDE)]
        aside = [turned(self.poses[frames[0]], turn) for turn in turns]  # and the body with it
        sides = [self.rendered(frames[0], pose, pose) for pose in aside]
        return {"real, made, 4 x difference": torch.cat(columns, 2), f"turned by {_SIDE} deg": torch.cat(sides, 2)}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """PSNR (dB) on spread held-out frames: whole picture, and the box around the face."""
        found = []
        for frame in self.frames.held_out(12):
            error = (self.rendered(frame, *self._foretold(frame)).clamp(0, 1) - self.frames.target(frame, 0)).square()
            x0, y0, x1, y1 = self.frames.face_box(frame)
            found.append([_psnr(error), _psnr(error[:, y0:y1, x0:x1])])
        full, face = np.mean(found, 0) if found else (np.nan, np.nan)
        return {"psnr_full": float(full), "psnr_face_box": float(face)} if found else {}

    # pieces of a step

    @torch.no_grad()
    def _follow(self, motion: Motion) -> None:
        """Trains in this motion from now on. What it does not say of the bodies is learned."""
        self.codes, self.poses, _ = self.head.encode(motion, self.cuts).split([self.head.codes, POSE, POSE], 1)
        self.features = self.head.body_features(motion, self.cuts).to(self.device)
        self.corrections.forget(heads=True, bodies=motion.body is not None)
        if motion.body is not None:
            self.bodies = relative_pose(motion.body, self.head.parts["rest_pose"].cpu()).to(self.device)

    def _measure_anew(self) -> None:
        """Trains in a better motion from now on, where there is a way to one; once."""
        if self.tools.retrack is not None and not self._retracked:
            self._retracked = True
            self._follow(self.tools.retrack(self.trained()))

    def _camera(self, level: int) -> Camera:
        return self.head.camera.shrunk(2**level)

    def _chosen(self, stage: Stage, progress: float, step: int, seed: int) -> int:
        with seeded(seed):
            return self.frame_for(stage, progress, step)

    def _stood(self, frame: int | list[int], correction: Tensor) -> tuple[Tensor, Tensor]:
        """Where head and body stood in a frame [7], corrected by [12]: the head's turn and shift, the body's. Of
        several frames and [B,12] those of a batch.
        """
        suggested = self.features[frame] @ self.learned["body_map"] if self.bodies is None else self.bodies[frame]
        head = turned(self.poses[frame], correction[..., :6])
        return head, turned(self.head.parts["rest_pose"], suggested + correction[..., 6:])

    def _foretold(self, frame: int) -> tuple[Tensor, Tensor]:
        """Where head and body stand by what only a new motion would say: no corrections of the frame's own."""
        deviation = self.features[frame] @ self._folded_body_map()
        return self.poses[frame], turned(self.head.parts["rest_pose"], deviation)

    def _folded_body_map(self) -> Tensor:
        """The map from features of the head's pose to where the bodies stood: the learned one, and by ridge regression
        what that leaves.
        """
        usable, learned = self.frames.usable, self.learned["body_map"].detach()
        X, Y = self.features[usable], self.corrections.values[usable, 6:]
        if self.bodies is not None:
            Y = Y + self.bodies[usable] - X @ learned
        gram = X.T @ X + 0.01 * len(X) * torch.eye(X.shape[1], device=self.device)
        return learned + torch.linalg.solve(gram, X.T @ Y)

    def _motion_state(self) -> dict[str, Tensor]:
        """What a snapshot keeps of all this."""
        return {f"corrections/{name}": tensor for name, tensor in self.corrections.snapshot().items()} | {
            "motion": torch.cat([self.codes, self.poses, self.features], 1),
            "bodies": torch.zeros(0, 6) if self.bodies is None else self.bodies,
            "retracked": torch.tensor(self._retracked),
        }

    def _take_motion(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `_motion_state` gave."""
        self.corrections.restore({k.split("/")[1]: v for k, v in tensors.items() if k.startswith("corrections/")})
        widths = [part.shape[1] for part in (self.codes, self.poses, self.features)]
        self.codes, self.poses, self.features = tensors["motion"].to(self.device).split(widths, 1)
        bodies = tensors["bodies"].to(self.device)
        self.bodies = bodies if len(bodies) else None
        self._retracked = bool(tensors["retracked"])


def take_back(tensor: Tensor, value: Tensor) -> None:
    """Gives a tensor, in place, the values of another, which may hold another number of Gaussians."""
    if tensor.shape == value.shape:
        tensor.data.copy_(value)
    else:
        tensor.data = value.to(tensor.device, copy=True)


def laid_over(image: Image, background: Tensor) -> Tensor:
    """[3,H,W]: a picture over a background [3,H,W]."""
    return image.rgb.permute(2, 0, 1) + (1 - image.alpha) * background


def _psnr(squared_error: Tensor) -> float:
    return float(-10 * squared_error.mean().clamp_min(1e-10).log10())
