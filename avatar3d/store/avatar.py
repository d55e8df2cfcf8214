# SPDX-License-Identifier: Apache-2.0
"""The avatar folder: what one gives away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avatar3d.errors import InputError
from avatar3d.ply import read_splats, write_splats
from avatar3d.records import Motion
from avatar3d.store.capture import load_picture, save_picture
from avatar3d.store.files import checked, file_hash, load_tensors, read_json, replacing, write_json, write_tensors
from avatar3d.store.track import load_motion, save_motion

AVATAR_VERSION = 1
AVATAR_SUFFIX = ".avatar"
# the neutral Gaussians, which splats.ply holds in the attributes that every splat tool knows
SPLAT_TENSORS = ("means", "quats", "log_scales", "opacity_logits", "colours")


@dataclass(frozen=True)
class AvatarFolder:
    """An avatar folder `NAME.avatar`: avatar.json says what the other files hold and their sha256."""

    path: Path

    @property
    def manifest(self) -> Path:
        return self.path / "avatar.json"

    def write(
        self,
        manifest: Mapping[str, Any],
        head: Mapping[str, Tensor],
        voice: Mapping[str, Tensor] | None,
        clip: Motion,
    ) -> None:
        """Writes the whole folder anew under a temporary name, then puts it in place.

        Args:
            manifest: JSON values; `version` and `files` (hashes) are added.
            head: the head's tensors; those in SPLAT_TENSORS go to splats.ply, `background` [H,W,3] to a picture.
            voice: the motion model's tensors, if there is one.
            clip: motion of the person from the capture, for replayed head movement.
        """
        with replacing(self.path) as part:
            part.mkdir(parents=True)
            folder = AvatarFolder(part)
            write_splats(part / "splats.ply", {name: head[name] for name in SPLAT_TENSORS})
            save_picture(part / "background.png", (head["background"].clamp(0, 1) * 255).round().byte().numpy())
            apart = {*SPLAT_TENSORS, "background"}
            rig = {name: _halved(tensor) for name, tensor in head.items() if name not in apart}
            write_tensors(part / "rig.safetensors", rig)
            if voice is not None:
                write_tensors(part / "audio2motion.safetensors", voice)
            save_motion(part / "clips" / "capture.safetensors", clip)
            files = sorted(file for file in part.rglob("*") if file.is_file())
            hashes = {file.relative_to(part).as_posix(): file_hash(file) for file in files}
            write_json(folder.manifest, {"format": "avatar3d", "version": AVATAR_VERSION, **manifest, "files": hashes})

    def read_manifest(self) -> dict[str, Any]:
        """avatar.json, after a check that every file it lists is there and undamaged.

        Raises:
            InputError: not an avatar folder, another version, or a file is missing or changed.
        """
        if not self.manifest.is_file():
            raise InputError(f"{self.path}: not an avatar folder", "name a folder that holds avatar.json")
        about = checked(read_json(self.manifest), AVATAR_VERSION, self.manifest)
        for name, expected in about.get("files", {}).items():
            file = self.path / name
            if not file.is_file() or file_hash(file) != expected:
                state = "differs from its recorded hash" if file.is_file() else "is missing"
                raise InputError(f"{self.path}: {name} {state}", "the avatar is damaged; copy or create it again")
        return about

    def read_head(self) -> dict[str, Tensor]:
        """The head's tensors, float32."""
        rig, _ = load_tensors(self.path / "rig.safetensors")
        background = torch.from_numpy(load_picture(self.path / "background.png").copy()).float() / 255
        floats = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in rig.items()}
        return {**floats, **read_splats(self.path / "splats.ply"), "background": background}

    def read_voice(self) -> dict[str, Tensor]:
        """The motion model's tensors."""
        return load_tensors(self.path / "audio2motion.safetensors")[0]

    def read_clip(self) -> Motion:
        """The motion of the person from the capture."""
        return load_motion(self.path / "clips" / "capture.safetensors")


def _halved(tensor: Tensor) -> Tensor:
    # tables hold small offsets, and half precision is a thousandth of an offset; it halves the avatar's size
    return tensor.half() if tensor.is_floating_point() and tensor.ndim >= 3 else tensor
