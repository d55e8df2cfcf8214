# SPDX-License-Identifier: Apache-2.0
"""From an avatar and a motion to the page in which it talks."""

from __future__ import annotations

from pathlib import Path

import torch

from avatar3d.avatar._driven import POSE
from avatar3d.avatar.linear import LinearHead
from avatar3d.contracts import Head
from avatar3d.errors import InputError
from avatar3d.records import Motion, Sound
from avatar3d.viewer.page import LinearClip, write_page


def plays(head: Head) -> bool:
    """Whether a page can play this kind of head."""
    return isinstance(head, LinearHead)


def write_talking_page(path: Path, head: Head, motion: Motion, sound: Sound | None, title: str) -> None:
    """Writes one HTML file that plays `motion` with `sound`, in 3D.

    Raises:
        InputError: the head is not linear; a browser cannot evaluate other kinds.
    """
    if not isinstance(head, LinearHead):
        raise InputError(
            f"{path}: a page can play linear heads only, not {type(head).__name__}",
            "write an mp4, or bake the avatar first (avatar3d bake) and let that one talk",
        )
    with torch.no_grad():
        codes, heads, bodies = head.encode(motion).split([head.codes, POSE, POSE], 1)
        background = (head.background.clamp(0, 1) * 255).round().byte().numpy()
    parts = head.tensors()
    clip = LinearClip(
        means=parts["means"],
        quats=parts["quats"],
        scales=parts["log_scales"].exp(),
        opacities=parts["opacity_logits"].sigmoid(),
        colours=parts["colours"],
        skin=parts["skin_logits"].sigmoid(),
        tables=parts["tables"],
        codes=codes,
        heads=heads,
        bodies=bodies,
        fps=motion.fps,
    )
    write_page(path, clip, head.camera, background, sound, title)
