# SPDX-License-Identifier: Apache-2.0
"""A head that talks: sound in, pictures out, one at a time.

    for frame in talk(head, voice, Native(), sound, clip):
        writer.write(frame)

Whatever is drawn comes as objects: any head, any voice, any renderer. Only the motion of the whole sound is kept (about
100 bytes a frame); pictures are made when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avatar3d.camera_path import CameraPath
from avatar3d.contracts import Draw, Head, Speak
from avatar3d.geometry import matrix_from_quat, quat_from_rotvec, quat_multiply, turn_about
from avatar3d.motion._head_graph import loudness, walked
from avatar3d.motion._head_motion import on_usual, replay, still, turned, usual_pose
from avatar3d.player import Player, eight_bit
from avatar3d.records import FPS, Camera, Image, Motion, Sound

HeadMotion = Literal["graph", "replay", "still"]
USUAL_HEAD: HeadMotion = "graph"
Background = Literal["original", "alpha"] | Tensor


@dataclass(frozen=True)
class Orbit:
    """A camera that sways around the head. Far beyond the turns of the capture the picture is guesswork."""

    yaw_deg: float = 15.0  # to both sides
    pitch_deg: float = 5.0  # up and down
    period_s: float = 8.0


@dataclass(frozen=True)
class View:
    """How a motion is shown."""

    width: int | None = None  # px; the height follows the capture's shape; None: the capture's own size
    background: Background = "original"  # the capture's room, nothing (then frames have alpha), [3] or [H,W,3] 0..1
    orbit: Orbit | CameraPath | None = None  # None: the capture's own camera, still; a path is about the usual pose


def talk(
    head: Head,
    speak: Speak,
    draw: Draw,
    sound: Sound,
    clip: Motion,
    *,
    view: View = View(),
    head_motion: HeadMotion = USUAL_HEAD,
    seed: int = 0,
) -> Iterator[np.ndarray]:
    """Frames [H,W,3] uint8 ([H,W,4], straight alpha, on background "alpha") of `head` saying `sound`.

    Args:
        clip: the person's own motion, for the head to move by.
        seed: decides the blinks and where the clip begins.

    Returns:
        round(sound.seconds * FPS) frames, each drawn when it is asked for.
    """
    return show(head, draw, perform(speak, sound, clip, head_motion, seed), view)


def perform(
    speak: Speak,
    sound: Sound,
    clip: Motion,
    head_motion: HeadMotion = USUAL_HEAD,
    seed: int = 0,
    restless: float = 0.0,
) -> Motion:
    """The whole motion of a sound: face from the voice, head, body and gaze from the person's own clip.

    Args:
        restless: -1..1, how much more than usual a head moves that moves by the "graph".
    """
    return laid_over(speak(sound, seed), clip, head_motion, seed, np.clip(loudness(sound) + restless, 0, 1))


def laid_over(
    said: Motion, clip: Motion, head_motion: HeadMotion = USUAL_HEAD, seed: int = 0, lively: np.ndarray | None = None
) -> Motion:
    """`said` with head, body and gaze from the person's own clip.

    Args:
        head_motion: "graph", pieces of the clip, whose liveliness follows `lively`; "replay", the clip to and fro; or
            "still".
        lively: [T] 0..1; None: as lively as the person usually is.
    """
    if head_motion == "still":
        return still(said, clip)
    if head_motion == "graph":
        return walked(said, clip, np.full(len(said), 0.5) if lively is None else lively, seed)
    start = int(np.random.default_rng(seed).integers(max(len(clip), 1)))
    return replay(said, clip, start)


def driven(motion: Motion, clip: Motion, head_motion: HeadMotion = USUAL_HEAD, seed: int = 0) -> Motion:
    """A motion of another face on this person's neck; where its head never turns, the person's own does.

    One that says where a body stood tells its poses from the usual one (`from_usual`).
    """
    if motion.body is not None:
        return on_usual(motion, clip)
    if np.ptp(motion.head[:, :4], axis=0).any():
        return turned(motion, clip)
    return replace(laid_over(motion, clip, head_motion, seed), gaze=motion.gaze)


def show(head: Head, draw: Draw, motion: Motion, view: View = View()) -> Iterator[np.ndarray]:
    """Frames of `head` in `motion`, as `talk` gives them."""
    cameras = seen_from(head, motion, view)
    background, player, codes = _background(head, view, cameras(0.0)), Player(head, draw), head.encode(motion)
    for index, code in enumerate(codes):
        camera = cameras(index / FPS)
        if background is None:
            yield _with_alpha(player.image(code, camera))
        else:
            yield player.frame(code, camera, background)


def seen_from(head: Head, motion: Motion, view: View) -> Callable[[float], Camera]:
    """The camera of each time in s; all have one size."""
    orbit = view.orbit
    if isinstance(orbit, CameraPath):
        stands = torch.from_numpy(usual_pose(motion)) if len(motion) else torch.tensor([1.0, 0, 0, 0, 0, 0, 0])
        return lambda time_s: orbit.at(time_s, stands, view.width)
    camera = resized(head.camera, view.width)
    if orbit is None:
        return lambda _: camera
    pivot = torch.from_numpy(motion.head[:, 4:].mean(0)) if len(motion) else torch.zeros(3)
    return lambda time_s: orbited(camera, orbit, pivot, time_s)


def resized(camera: Camera, width: int | None) -> Camera:
    """The same view on `width` px."""
    if width is None or width == camera.width:
        return camera
    scale = width / camera.width
    K = camera.K.clone()
    K[:2] *= scale
    return Camera(K, camera.cam_from_world, width, round(camera.height * scale))


def orbited(camera: Camera, orbit: Orbit, pivot: Tensor, time_s: float) -> Camera:
    """The camera swung about `pivot` [3] (world, u): to and fro in yaw, twice as fast in pitch."""
    phase = 2 * np.pi * time_s / orbit.period_s
    yaw = float(np.radians(orbit.yaw_deg) * np.sin(phase))
    pitch = float(np.radians(orbit.pitch_deg) * np.sin(2 * phase))
    about_x, about_y = (quat_from_rotvec(torch.tensor(v)) for v in ([pitch, 0.0, 0.0], [0.0, yaw, 0.0]))
    turn = turn_about(matrix_from_quat(quat_multiply(about_x, about_y)), pivot)
    return replace(camera, cam_from_world=camera.cam_from_world @ turn)


def _background(head: Head, view: View, camera: Camera) -> Tensor | None:
    """What lies behind, as [3] or [H,W,3] of the camera's size; None for alpha."""
    if isinstance(view.background, str):
        if view.background == "alpha":
            return None
        picture = head.background
    else:
        picture = view.background
    if picture.ndim == 1 or picture.shape[:2] == (camera.height, camera.width):
        return picture
    return _cover(picture, camera.height, camera.width)


def _cover(picture: Tensor, height: int, width: int) -> Tensor:
    """A picture [H,W,3] scaled to cover height by width, and cut to it about its middle."""
    scale = max(height / picture.shape[0], width / picture.shape[1])
    size = [max(height, round(picture.shape[0] * scale)), max(width, round(picture.shape[1] * scale))]
    planes = picture.permute(2, 0, 1)[None].float()
    scaled = functional.interpolate(planes, size=size, mode="bilinear", antialias=True, align_corners=False)[0]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return scaled[:, top : top + height, left : left + width].permute(1, 2, 0).contiguous()


def _with_alpha(image: Image) -> np.ndarray:
    alpha = image.alpha[..., None]
    # video formats want straight alpha: the colour of the head itself, however thin it lies
    return eight_bit(torch.cat([image.rgb / alpha.clamp_min(1e-4), alpha], -1))
