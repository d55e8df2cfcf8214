# SPDX-License-Identifier: Apache-2.0
"""A head from sides that its video never showed: figures, a sheet and a turning GIF."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avatar3d import media
from avatar3d.data_prep.landmarks import Landmarker
from avatar3d.face.rig import rig_vertices
from avatar3d.metrics.orbit import PITCH_DEG, YAW_DEG, as_json, orbit_figures, seen_from, turned_by
from avatar3d.motion._head_motion import usual_pose
from avatar3d.player import Player
from avatar3d.recipes._sheets import labelled
from avatar3d.records import Motion, Track
from avatar3d.store import save_picture
from avatar3d.talk import resized

_YAWS_DEG = tuple(YAW_DEG * share for share in (-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1))
_PITCHES_DEG = tuple(PITCH_DEG * share for share in (-1, -0.5, 0.5, 1))
_HEAD_TURNS_DEG = (-YAW_DEG, -YAW_DEG / 2, YAW_DEG)
_GREY = 0.5
_GIF_PX, _GIF_FPS, _GIF_FRAMES = 256, 12.5, 48


def seen_around(run: Path, player: Player, track: Track, start: int, landmarker: Landmarker) -> dict[str, Any]:
    """Judges the head from other sides at the most usual pose from frame `start` on; writes orbit.png and orbit.gif.

    Returns:
        JSON values: per way of turning ("camera", "head") the measures of `OrbitFigures`, and "frame", the one shown.
    """
    row = _usual_frame(track.motion, start)
    moment = track.motion[slice(row, row + 1)]
    face = rig_vertices(track.neutral, track.basis, moment.expression)[0]

    def find(picture: np.ndarray) -> np.ndarray | None:
        seen = landmarker.largest(picture)
        return None if seen is None else seen.points

    figures = orbit_figures(player.head, player.draw, moment, face, find)
    save_picture(run / "orbit.png", orbit_sheet(player, moment))
    media.write_gif(run / "orbit.gif", _turning(player, moment), _GIF_FPS)
    return {"frame": row} | as_json(figures)


def orbit_sheet(player: Player, moment: Motion) -> np.ndarray:
    """One moment seen from the sides, from above and below over plain grey, and with its head turned in its room."""
    camera, centre, code = player.head.camera, moment.head[0, 4:], player.head.encode(moment)[0]
    grey = torch.full((3,), _GREY)
    beside = [player.frame(code, seen_from(camera, centre, yaw), grey) for yaw in _YAWS_DEG]
    above = [player.frame(code, seen_from(camera, centre, 0, pitch), grey) for pitch in _PITCHES_DEG]
    turned = [player.frame(player.head.encode(turned_by(moment, yaw))[0]) for yaw in _HEAD_TURNS_DEG]
    strips = [np.concatenate(beside, 1), np.concatenate([*above, *turned], 1)]
    labels = [
        f"camera to the side, deg: {_listed(_YAWS_DEG)}",
        f"camera up and down: {_listed(_PITCHES_DEG)}; head turned: {_listed(_HEAD_TURNS_DEG)}",
    ]
    return np.concatenate([labelled(strip, label) for strip, label in zip(strips, labels, strict=True)])


def _turning(player: Player, moment: Motion) -> Iterator[np.ndarray]:
    """The head from a camera that goes once around an ellipse before it."""
    whole = player.head.camera
    camera = resized(whole, min(_GIF_PX, whole.width))
    code, grey = player.head.encode(moment)[0], torch.full((3,), _GREY, device=whole.K.device)
    for phase in np.linspace(0, 2 * np.pi, _GIF_FRAMES, endpoint=False):
        yaw, pitch = YAW_DEG * np.sin(phase), PITCH_DEG * np.sin(2 * phase)
        seen = seen_from(camera, moment.head[0, 4:], float(yaw), float(pitch))
        yield player.frame(code, seen, grey)


def _usual_frame(motion: Motion, start: int) -> int:
    """The frame from `start` on whose head is held most as usual."""
    late = motion[slice(start, len(motion))]
    return start + int(np.abs(late.head - usual_pose(late)).sum(1).argmin())


def _listed(turns_deg: tuple[float, ...]) -> str:
    return ", ".join(f"{turn:g}" for turn in turns_deg)
