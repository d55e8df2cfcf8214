# SPDX-License-Identifier: Apache-2.0
"""A film of a made-up person: frames on demand, from any camera, and everything that is true about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from avatar3d.data_prep.synthetic.controls import CONTROLS
from avatar3d.data_prep.synthetic.motion import FURTHEST_DEG, perform
from avatar3d.data_prep.synthetic.person import Person, filming_camera, world_from_head
from avatar3d.data_prep.synthetic.speech import Phoneme, timeline
from avatar3d.data_prep.synthetic.voice import say
from avatar3d.geometry import apply_pose, project, turn_about
from avatar3d.records import FPS, Camera, Progress, Sound, Watch, unwatched

_ORBIT_CENTRE_U = (0.0, 0.0, 6.4)  # the middle of the head at rest, in the world
_QUIET_SHARE, _QUIET_MOST_S = 0.15, 4.0  # a film opens without speech ...
_TURNS_SHARE, _TURNS_MOST_S = 0.40, 8.0  # ... while the head turns slowly to both sides, up and down


@dataclass(frozen=True)
class Truth:
    """What is true of a film; one row is one frame."""

    vertices: np.ndarray  # [T,468,3] float32 u in head space
    landmarks: np.ndarray  # [T,468,2] float32 px, where the filming camera sees them
    world_from_head: np.ndarray  # [T,7] float32
    camera: Camera  # the camera that films
    controls: Mapping[str, np.ndarray]  # name: [T] (see controls.CONTROLS)
    lip_gap: np.ndarray  # [T] float32 u between the middles of the inner lips (13 and 14)
    phonemes: tuple[Phoneme, ...]
    sound: Sound
    fps: float


@dataclass(frozen=True)
class Film:
    """Frames are drawn when asked for; the same frame is the same picture every time."""

    person: Person
    truth: Truth
    samples: int  # per side of a pixel
    watch: Watch = unwatched

    def __len__(self) -> int:
        return len(self.truth.vertices)

    def frame(self, index: int, camera: Camera | None = None) -> np.ndarray:
        """Frame `index` [H,W,3] uint8, from the filming camera or from any other."""
        camera = camera or self.truth.camera
        return self._draw(index, camera, self._backdrop(camera))

    def shares(self, index: int, camera: Camera | None = None) -> dict[str, np.ndarray]:
        """How much [H,W] 0..1 of each pixel of frame `index` shows "head", "hair", "torso" and "mouth"."""
        truth = self.truth
        controls = np.array([truth.controls[name][index] for name in CONTROLS])
        pose, camera = truth.world_from_head[index], camera or truth.camera
        return self.person.shares(truth.vertices[index], controls, pose, camera, self.samples)

    def room(self, camera: Camera | None = None) -> np.ndarray:
        """The room [H,W,3] uint8 without the person."""
        camera = camera or self.truth.camera
        return self.person.room(self._backdrop(camera), self.samples)

    def frames(self, camera: Camera | None = None) -> Iterator[np.ndarray]:
        """All frames [H,W,3] uint8, one at a time."""
        camera = camera or self.truth.camera
        backdrop = self._backdrop(camera)
        for index in range(len(self)):
            yield self._draw(index, camera, backdrop)
            self.watch(Progress("drawing", (index + 1) / len(self)))

    def _backdrop(self, camera: Camera) -> np.ndarray:
        side = max(camera.width, camera.height) * self.samples
        return self.person.backdrop(side)[: camera.height * self.samples, : camera.width * self.samples]

    def _draw(self, index: int, camera: Camera, backdrop: np.ndarray) -> np.ndarray:
        truth = self.truth
        controls = np.array([truth.controls[name][index] for name in CONTROLS])
        pose = truth.world_from_head[index]
        return self.person.draw(truth.vertices[index], controls, pose, camera, backdrop, self.samples)


def film(
    person: Person, seconds: float, size: int, seed: int = 0, fps: float = FPS,
    samples_per_pixel_side: int = 2, watch: Watch = unwatched, furthest_deg: float = FURTHEST_DEG,
) -> Film:  # fmt: skip
    """A film of `person` who turns the head slowly, then talks; truth at once, frames when asked for.

    Args:
        size: width and height, px.
        seed: what is said and done.
        samples_per_pixel_side: 1 is fast and jagged, 2 smooth.
        furthest_deg: the head never turns further to a side.
    """
    said = timeline(seconds, seed, quiet_s=max(0.35, min(_QUIET_MOST_S, _QUIET_SHARE * seconds)))
    acted = perform(
        said, seconds, fps, seed, turns_s=min(_TURNS_MOST_S, _TURNS_SHARE * seconds), furthest_deg=furthest_deg
    )
    camera = filming_camera(size)
    vertices = person.vertices(acted.controls)
    pose = world_from_head(acted.turn_rad, acted.shift_cm)
    seen = apply_pose(torch.from_numpy(pose), torch.from_numpy(vertices))
    truth = Truth(
        vertices=vertices,
        landmarks=project(seen, camera.K).numpy(),
        world_from_head=pose,
        camera=camera,
        controls={name: acted.controls[:, index] for index, name in enumerate(CONTROLS)},
        lip_gap=np.linalg.norm(vertices[:, 13] - vertices[:, 14], axis=1),
        phonemes=said,
        sound=say(said, seconds, person.voice, seed),
        fps=fps,
    )
    return Film(person, truth, samples_per_pixel_side, watch)


def orbit(camera: Camera, yaw_deg: float, pitch_deg: float = 0.0) -> Camera:
    """`camera` carried round the head: to the image's right by yaw, upwards by pitch."""
    yaw, pitch = np.radians(yaw_deg), np.radians(pitch_deg)
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    around = turn_about(torch.tensor(about_x @ about_y, dtype=torch.float32), torch.tensor(_ORBIT_CENTRE_U))
    return replace(camera, cam_from_world=camera.cam_from_world @ around)


def write_video(path: Path, footage: Film) -> None:
    """The film with its sound as an mp4."""
    from avatar3d.media import VideoWriter

    size = footage.truth.camera
    with VideoWriter(path, size.width, size.height, footage.truth.fps, sound=footage.truth.sound) as video:
        for frame in footage.frames():
            video.write(frame)
