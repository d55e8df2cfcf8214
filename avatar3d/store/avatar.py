# SPDX-License-Identifier: Apache-2.0
"""The avatar folder: what one gives away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avatar3d.errors import InputError
from avatar3d.records import Gaussians, Motion, Sound
from avatar3d.splat_files.ply import Ply
from avatar3d.store.capture import load_picture, save_picture, save_sound
from avatar3d.store.files import (
    checked,
    file_hash,
    load_arrays,
    load_tensors,
    read_json,
    replacing,
    write_arrays,
    write_json,
    write_tensors,
)
from avatar3d.store.packed import read_packed, write_packed
from avatar3d.store.track import load_motion, motion_arrays, motion_from, save_motion

AVATAR_VERSION = 2
AVATAR_SUFFIX = ".avatar"
VOICE, LIVE_VOICE = "audio2motion", "audio2motion_live"
_SPLATS = "splats.ply"
_NETWORK = "audio2motion.onnx"
_PACKED = "head.safetensors.gz"  # of a compact avatar
_KIND, _LARGEST_BYTE = 3, 127  # numbers of an offset that are of one kind
_LEAST_WEIGHTS = 1000  # of a voice's tensor, to be kept in bytes
_WEBP_QUALITY = 95
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
        steps: Mapping[str, Tensor] | None = None,
        live_voice: Mapping[str, Tensor] | None = None,
        network: bytes | None = None,
    ) -> None:
        """Writes the whole folder anew under a temporary name, then puts it in place.

        Args:
            manifest: JSON values; `version` and `files` (hashes) are added.
            head: the head's tensors; those in SPLAT_TENSORS go to splats.ply, `background` [H,W,3] to a picture.
            voice: the motion model's tensors, if there is one.
            clip: motion of the person from the capture, for replayed head movement.
            steps: of a compact avatar, the grids of the head's tensors (`avatar3d.store.packed`); the head is then one
                packed file, without splats.ply, the background is WebP, voices are in bytes, the clip is in half
                precision, and there is no ONNX.
            live_voice: those of the motion model for speech that is still coming, if there is one.
            network: the same as ONNX, for pages.
        """
        with replacing(self.path) as part:
            part.mkdir(parents=True)
            folder = AvatarFolder(part)
            room = (head["background"].clamp(0, 1) * 255).round().byte().numpy()
            if steps is None:
                _write_whole(part, head, clip)
                save_picture(part / "background.png", room)
            else:
                _write_compact(part, head, clip, steps)
                save_picture(part / "background.webp", room, _WEBP_QUALITY)
            for name, tensors in ((VOICE, voice), (LIVE_VOICE, live_voice)):
                if tensors is not None and steps is None:
                    write_tensors(part / f"{name}.safetensors", tensors)
                elif tensors is not None:
                    _write_compact_voice(part / f"{name}.safetensors.gz", tensors)
            if network is not None and steps is None:
                (part / _NETWORK).write_bytes(network)
            hashes = {_named(folder, file): file_hash(file) for file in sorted(part.rglob("*")) if file.is_file()}
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
        compact = self._is_compact()
        picture = self.path / ("background.webp" if compact else "background.png")
        background = torch.from_numpy(load_picture(picture).copy()).float() / 255
        if compact:
            return read_packed(self.path / _PACKED) | {"background": background}
        rig, _ = load_tensors(self.path / "rig.safetensors")
        if "table_steps" in rig:
            rig["tables"] = rig["tables"].float() * rig.pop("table_steps").repeat_interleave(_KIND, 1)
        still = {}
        if (self.path / _SPLATS).is_file():  # a radiance field has none
            splats = Ply(y_down=False).read(self.path / _SPLATS)
            still = {name: getattr(splats, name) for name in SPLAT_TENSORS}
        return {**_floats(rig), **still, "background": background}

    def read_voice(self, name: str = VOICE) -> dict[str, Tensor]:
        """The tensors of the motion model VOICE or LIVE_VOICE."""
        packed = self.path / f"{name}.safetensors.gz"
        if not packed.is_file():
            return _floats(load_tensors(self.path / f"{name}.safetensors")[0])
        return {key.replace("/", "."): tensor for key, tensor in _floats(read_packed(packed)).items()}

    def read_clip(self) -> Motion:
        """The motion of the person from the capture."""
        clip = self.path / "clips" / "capture.safetensors"
        if not self._is_compact():
            return load_motion(clip)
        arrays, about = load_arrays(clip)
        return motion_from({name: array.astype(np.float32) for name, array in arrays.items()}, about)

    def add_clip(self, name: str, motion: Motion, sound: Sound | None) -> None:
        """Writes clips/NAME.safetensors, and clips/NAME.flac where there is sound, and lists them in avatar.json."""
        clip, heard = (self.path / "clips" / f"{name}{suffix}" for suffix in (".safetensors", ".flac"))
        save_motion(clip, motion)
        heard.unlink(missing_ok=True)
        if sound is not None:
            save_sound(heard, sound)
        about = read_json(self.manifest)
        about["files"] = {known: digest for known, digest in about["files"].items() if known != _named(self, heard)}
        about["files"] |= {_named(self, file): file_hash(file) for file in (clip, heard) if file.exists()}
        write_json(self.manifest, about)

    def _is_compact(self) -> bool:
        return (self.path / _PACKED).is_file()


def _named(folder: AvatarFolder, file: Path) -> str:
    return file.relative_to(folder.path).as_posix()


def _write_whole(folder: Path, head: Mapping[str, Tensor], clip: Motion) -> None:
    if "means" in head:
        splats = Gaussians(**{name: head[name] for name in SPLAT_TENSORS}, group=torch.zeros(len(head["means"])))
        Ply(y_down=False).write(folder / _SPLATS, splats)
    apart = {*SPLAT_TENSORS, "background"}
    rig = {name: _halved(tensor) for name, tensor in head.items() if name not in apart}
    if "tables" in rig and head["tables"].shape[2:] == (3 * _KIND,):
        rig |= _byte_tables(head["tables"])
    write_tensors(folder / "rig.safetensors", rig)
    save_motion(folder / "clips" / "capture.safetensors", clip)


def _write_compact(folder: Path, head: Mapping[str, Tensor], clip: Motion, steps: Mapping[str, Tensor]) -> None:
    write_packed(folder / _PACKED, {name: tensor for name, tensor in head.items() if name != "background"}, steps)
    arrays, about = motion_arrays(clip)
    # poses stay whole: at five units from the camera half precision is half a pixel
    write_arrays(
        folder / "clips" / "capture.safetensors",
        {name: array if name in ("head", "body") else array.astype(np.float16) for name, array in arrays.items()},
        about,
    )


def _write_compact_voice(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Weights in bytes, in steps of their own for each row; what is small stays as it is."""
    large = {name: t for name, t in tensors.items() if t.ndim > 1 and t.numel() >= _LEAST_WEIGHTS}
    steps = {name: _byte_steps(tensor) for name, tensor in large.items()}
    # the packed form keeps dots for itself
    slashed = [{name.replace(".", "/"): tensor for name, tensor in named.items()} for named in (tensors, steps)]
    write_packed(path, *slashed)


def _byte_steps(weights: Tensor) -> Tensor:
    """[R,1,...]: the finest steps, in half powers of two, by which every number of a row is a byte."""
    largest = weights.detach().flatten(1).abs().amax(1).clamp_min(1e-12).view(-1, *[1] * (weights.ndim - 1))
    return largest / _LARGEST_BYTE * 2**0.5  # of which the packed form takes the half power below


def _byte_tables(tables: Tensor) -> dict[str, Tensor]:
    """Tables [K,N,9] in whole numbers of steps [N,3], one step per Gaussian for positions, rotations and colours."""
    largest = tables.detach().abs().amax(0).unflatten(1, (-1, _KIND)).amax(2)
    steps = (largest / _LARGEST_BYTE).clamp_min(1e-12).float()
    whole = tables.detach() / steps.repeat_interleave(_KIND, 1)
    return {"tables": whole.round().to(torch.int8), "table_steps": steps}


def _floats(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _halved(tensor: Tensor) -> Tensor:
    # tables hold small offsets, and half precision is a thousandth of an offset; it halves the avatar's size
    return tensor.half() if tensor.is_floating_point() and tensor.ndim >= 3 else tensor
