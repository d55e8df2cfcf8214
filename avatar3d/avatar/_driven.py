# SPDX-License-Identifier: Apache-2.0
"""What all our heads of Gaussians share: how these are carried into the world.

A head has codes psi [K] per frame (`_driving`). How they move its Gaussians is what sets heads apart (`deform`); the
result is then carried by a blend of two rigid frames, the head's and the body's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from avatar3d.avatar._driving import POSE, Driven, Start, driving_parts, mean_pose
from avatar3d.avatar._outline import head_outline
from avatar3d.avatar._scatter import CORE, HEAD, MOUTH, SHELL, TORSO, Scatter, scatter, spacing
from avatar3d.contracts import HeadLearner, Tools
from avatar3d.geometry import apply_pose, project
from avatar3d.ops.rig import rig
from avatar3d.records import Camera, Capture, Gaussians, Track

CARRIED = 9  # channels of an offset that every head has: position 3, rotation vector 3, colour 3
_OPACITY_START = {HEAD: 0.5, SHELL: -0.5, MOUTH: 0.5, TORSO: 0.5, CORE: 4.0}  # logits


class DrivenHead(Driven):
    """A drivable head (contracts.Head); of its `parts` means, quats, log_scales, opacity_logits, colours, skin_logits
    and group are per Gaussian, in head space.
    """

    settings_kind: ClassVar[Callable[[], Any]]  # how large it is, and how it is trained: `counts`, `expression`, `fit`
    fit_kind: ClassVar[Callable[..., Any]]  # the `PictureFit` that trains it

    # parts with a row per Gaussian along the first axis
    per_gaussian: ClassVar[tuple[str, ...]] = (
        "means", "quats", "log_scales", "opacity_logits", "colours", "skin_logits", "group",
    )  # fmt: skip

    @classmethod
    def from_track(
        cls, capture: Capture, track: Track, triangles: np.ndarray, settings: Any = None, seed: int = 0
    ) -> Self:
        """An untrained head: its shape, and what `own_start` makes of its movement, are the tracker's; it is grey.

        Args:
            triangles: [F,3] of the canonical face.
            settings: the head's own frozen dataclass; None: its defaults.
        """
        return cls._begun(capture, started(capture, track, triangles, settings or cls.settings_kind(), seed))

    @classmethod
    def learner(
        cls, capture: Capture, track: Track, triangles: np.ndarray, tools: Tools, settings: Any = None, seed: int = 0
    ) -> HeadLearner:
        """What `avatar3d.fit.fit` trains: see contracts.TrainableHead."""
        start = started(capture, track, triangles, settings or cls.settings_kind(), seed)
        head = cls._begun(capture, start).to(tools.device).taught(start)
        return cls.fit_kind(head, capture, track, tools, start.settings.fit).painted()

    @classmethod
    def _begun(cls, capture: Capture, start: Start) -> Self:
        parts = gaussian_parts(start.points) | driving_parts(capture, start)
        return cls(parts | cls.own_start(start, parts), start.track.camera.width, start.track.camera.height)

    # what a kind of head says

    @classmethod
    @abstractmethod
    def own_start(cls, start: Start, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parts of an untrained head beside those that every head has, `parts`."""

    def taught(self, start: Start) -> Self:  # noqa: ARG002
        """The untrained head after what it learns from the track alone, if anything."""
        return self

    @abstractmethod
    def deform(self, codes: Tensor) -> Tensor:
        """Offsets [N,9] (position, rotation vector, colour), or [N,10] or [N,12] with log scales, at codes [K]."""

    # what all have

    def __len__(self) -> int:
        return len(self.parts["means"])

    def pose(self, code: Tensor) -> Gaussians:
        """The Gaussians of one frame: code [K+14], a row of `encode`."""
        codes, head, body = code.split([self.codes, POSE, POSE])
        return self.assemble(self.deform(codes), head, body)

    def assemble(self, offsets: Tensor, world_from_head: Tensor, world_from_body: Tensor) -> Gaussians:
        """Gaussians in world space from offsets, as `deform` gives them, and two rigid poses [7]; of a batch with B in
        front, which means, quaternions and colours then have too.
        """
        parts = self.parts
        means, quats, colours = rig(
            parts["means"], parts["quats"], parts["colours"], parts["skin_logits"],
            offsets[..., :CARRIED] if offsets.shape[-1] > CARRIED else offsets, world_from_head, world_from_body,
        )  # fmt: skip
        sizes = parts["log_scales"]
        if offsets.shape[-1] > CARRIED:
            sizes = sizes + offsets[..., CARRIED:]
        return Gaussians(means, quats, sizes, parts["opacity_logits"], colours, parts["group"])

    def keep(self, rows: Tensor) -> Self:
        """The head with only the Gaussians `rows` [M]."""
        kept = {name: self.parts[name][rows] for name in self.per_gaussian}
        return type(self)(self.parts | kept, self.width, self.height)


def started(capture: Capture, track: Track, triangles: np.ndarray, settings: Any, seed: int) -> Start:
    """Starting points on and about a tracked person; `settings` of a head say how many and of how rich a movement.

    The capture's masks say how far head and hair reach.
    """
    rest = mean_pose(track.motion.head[: track.fitted_frames])
    points = scatter(
        track.neutral.astype(np.float64),
        track.basis[..., : settings.expression].astype(np.float64),
        triangles,
        settings.counts,
        lambda points: visible(points, rest, track.camera),
        np.random.default_rng(seed),
        head_outline(capture, track),
    )
    return Start(track, triangles, settings, seed, points, rest)


def gaussian_parts(points: Scatter) -> dict[str, Tensor]:
    """Grey Gaussians at starting points, as large as these are far apart."""
    count = len(points)
    size = np.log(np.clip(0.7 * spacing(points.points, points.group), 0.004, 0.1)).astype(np.float32)
    skin = torch.from_numpy(points.skin)
    opacity = np.select([points.group == g for g in _OPACITY_START], list(_OPACITY_START.values()))
    return {
        "means": torch.from_numpy(points.points),
        "quats": torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        "log_scales": torch.from_numpy(size)[:, None].repeat(1, 3),
        "opacity_logits": torch.from_numpy(opacity.astype(np.float32)),
        "colours": torch.full((count, 3), 0.5),
        "skin_logits": torch.logit(skin, 0.015),
        "group": torch.from_numpy(points.group),
    }


def visible(points: np.ndarray, world_from_head: Tensor, camera: Camera, margin: float = 0.06) -> np.ndarray:
    """[N] bool: points [N,3] that the capture's camera sees, or nearly."""
    where = apply_pose(world_from_head, torch.from_numpy(points).float())
    at = project(where, camera.K.float()) / torch.tensor([camera.width, camera.height])
    inside = ((at > -margin) & (at < 1 + margin)).all(1) & (where[:, 2] > 0.1)
    return inside.numpy()
