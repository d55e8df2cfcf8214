# SPDX-License-Identifier: Apache-2.0
"""What heads of any kind share: how a motion becomes codes and poses, whatever these then drive.

A row of `encode` is [psi K, world_from_head 7, world_from_body 7]: the codes of a frame and two rigid frames. Where a
motion brings no pose of the body, it is predicted from the head's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar._codes import POSE_FEATURES, pose_features, raw_codes
from avatar3d.avatar._scatter import Scatter
from avatar3d.errors import InputError
from avatar3d.face.arkit import expression_of
from avatar3d.geometry import quat_from_rotvec, quat_multiply
from avatar3d.records import Camera, Capture, Motion, Posed, Track

POSE = 7
CODE_LIMIT = 3.5  # codes are clipped there: a head is not trusted further out than the capture went
_FEATURE_LIMIT = 3.0
_BLINK_SCALE = 0.3
_BACKGROUND_FRAMES = 48


@dataclass(frozen=True)
class Start:
    """What an untrained head is made from."""

    track: Track
    triangles: np.ndarray  # [F,3] of the canonical face
    settings: Any  # the head's own
    seed: int
    points: Scatter  # on and about the tracked person
    rest: Tensor  # the head's mean pose [7]

    @property
    def expression(self) -> int:
        """Leading components of the tracker's basis that drive the head."""
        return len(self.points.tables)


class Driven(ABC):
    """What of a drivable head (contracts.Head) has to do with motion; `parts` are its tensors by name."""

    renderer: ClassVar[str] = "native"  # by which it is drawn where nobody asks for another

    def __init__(self, parts: Mapping[str, Tensor], width: int, height: int) -> None:
        self.parts = dict(parts)
        self.width, self.height = width, height

    @property
    def camera(self) -> Camera:
        K = self.parts["camera_K"]
        return Camera(K, torch.eye(4, device=K.device), self.width, self.height)

    @property
    def background(self) -> Tensor:
        """[H,W,3] 0..1."""
        return self.parts["background"]

    @property
    def codes(self) -> int:
        """K."""
        return len(self.parts["code_scale"])

    @abstractmethod
    def pose(self, code: Tensor) -> Posed:
        """What there is to be drawn of one frame: code [P], a row of `encode`."""

    def encode(self, motion: Motion, cuts: Sequence[int] = ()) -> Tensor:
        """Rows [T,K+14] for `pose`; expressions outside the capture's range are clipped to it.

        Args:
            motion: in the personal basis, or as the 52 ARKit scores.
            cuts: frames at which a new shot begins; jumps of the head are taken for cuts anyway.
        """
        parts = {name: self.parts[name].cpu() for name in ("rest_pose", "arkit_map", "code_offset", "code_scale")}
        raw = raw_codes(motion, self._expression(motion, parts["arkit_map"].numpy()), parts["rest_pose"])
        codes = ((raw - parts["code_offset"]) / parts["code_scale"]).clamp(-CODE_LIMIT, CODE_LIMIT)
        head, body = (torch.from_numpy(np.asarray(pose, np.float32)) for pose in (motion.head, self.body(motion, cuts)))
        return torch.cat([codes, head, body], 1).to(self.background.device)

    def body(self, motion: Motion, cuts: Sequence[int] = ()) -> np.ndarray:
        """world_from_body [T,7] float32: the motion's own, and where it brings none, as the head's pose suggests."""
        if motion.body is not None:
            return motion.body
        deviation = self.body_features(motion, cuts) @ self.parts["body_map"].cpu()
        return body_pose(deviation, self.parts["rest_pose"].cpu()).detach().numpy()

    def body_features(self, motion: Motion, cuts: Sequence[int] = ()) -> Tensor:
        """[T,19]: a one, then standardised features of the head's pose."""
        parts = {name: self.parts[name].cpu() for name in ("rest_pose", "pose_offset", "pose_scale")}
        raw = pose_features(motion.head, parts["rest_pose"], motion.fps, cuts)
        scaled = ((raw - parts["pose_offset"]) / parts["pose_scale"]).clamp(-_FEATURE_LIMIT, _FEATURE_LIMIT)
        return torch.cat([torch.ones(len(raw), 1), scaled], 1)

    def to(self, device: torch.device | str) -> Self:
        """The same head on another device."""
        return self.with_parts({k: v.to(device) for k, v in self.parts.items()})

    def with_parts(self, parts: Mapping[str, Tensor]) -> Self:
        """The same kind of head of other parts."""
        return type(self)(parts, self.width, self.height)

    def config(self) -> dict[str, Any]:
        return {"width": self.width, "height": self.height}

    def tensors(self) -> dict[str, Tensor]:
        """`parts`, detached and on the CPU: background [H,W,3], camera_K, rest_pose [7], code_* [K], pose_* [18],
        body_map [19,6], arkit_map [53,E], and what the kind of head adds.
        """
        return {name: tensor.detach().cpu() for name, tensor in self.parts.items()}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        return cls(tensors, config["width"], config["height"])

    def _expression(self, motion: Motion, arkit_map: np.ndarray) -> np.ndarray:
        wanted = arkit_map.shape[1]
        given = motion.expression.shape[1]
        if motion.basis == "arkit":
            if given != len(arkit_map) - 1:
                raise InputError(f"{given} expression scores per frame", f"give ARKit's {len(arkit_map) - 1}")
            return expression_of(motion.expression, arkit_map)
        if motion.basis != "personal" or given < wanted:
            raise InputError(
                f"a motion of basis {motion.basis!r} with {given} numbers a frame",
                f"this head is driven by {wanted} numbers of its own personal basis, or by ARKit scores",
            )
        return motion.expression[:, :wanted]


def body_pose(deviation: Tensor, rest: Tensor) -> Tensor:
    """world_from_body [...,7] from a rotation vector and a translation [...,6] about the pose at rest [7]."""
    turned = quat_multiply(quat_from_rotvec(deviation[..., :3]), rest[:4])
    return torch.cat([turned, rest[4:] + deviation[..., 3:]], -1)


def driving_parts(capture: Capture, start: Start) -> dict[str, Tensor]:
    """How motion becomes codes and a body pose, from the statistics of the training frames; and the background."""
    track, rest, expression = start.track, start.rest, start.expression
    train = track.motion[: track.fitted_frames]
    codes = raw_codes(train, train.expression[:, :expression], rest)
    offset, scale = codes.mean(0), codes.std(0).clamp_min(1e-3)
    # expressions are whitened already, and an open eye stays at 0
    offset[: expression + 2], scale[:expression] = 0, 1
    scale[expression : expression + 2] = _BLINK_SCALE
    features = pose_features(train.head, rest, train.fps, [cut for cut in capture.cuts if cut < len(train)])
    feature_scale = features.std(0).clamp_min(1e-4)
    body_map = torch.zeros(1 + POSE_FEATURES, 6)
    # a body that follows half of the head's shift is nearer to the truth than one that stands still
    body_map[4:7, 3:] = 0.5 * torch.diag(feature_scale[3:6])
    if capture.background is not None:
        plate = capture.background
    else:
        chosen = np.linspace(0, len(train) - 1, min(_BACKGROUND_FRAMES, len(train))).astype(int)
        plate = np.median(capture.frames[chosen], axis=0)
    return {
        "background": torch.from_numpy(np.ascontiguousarray(plate, np.float32) / 255),
        "camera_K": track.camera.K.float(),
        "rest_pose": rest,
        "code_offset": offset,
        "code_scale": scale,
        "pose_offset": features.mean(0),
        "pose_scale": feature_scale,
        "body_map": body_map,
        "arkit_map": torch.from_numpy(track.arkit_map[:, :expression].astype(np.float32)),
    }


def mean_pose(head: np.ndarray) -> Tensor:
    """The mean [7] of poses [T,7]: of quaternions, the principal axis of their outer products (Markley, 2007)."""
    quats = head[:, :4].astype(np.float64)
    axis = np.linalg.eigh(quats.T @ quats)[1][:, -1]
    axis *= np.sign(axis @ quats[0])
    return torch.from_numpy(np.concatenate([axis, head[:, 4:].mean(0)]).astype(np.float32))
