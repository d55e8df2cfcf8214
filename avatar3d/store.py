# SPDX-License-Identifier: Apache-2.0
"""Files on disk: the only module that knows file names and format versions.

A work folder holds what one video became (`Work`); an avatar folder is what one gives away (`AvatarFolder`). Everything
is written under a temporary name and then renamed, so a reader never meets half a file. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file as save_tensors
from torch import Tensor

from avatar3d.errors import InputError
from avatar3d.ply import read_splats, write_splats
from avatar3d.records import Camera, Capture, Landmarks, Motion, Sound, Track

WORK_VERSION = 1
_LEFT_OVER = ".part-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` (file or folder) that takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # the suffix stays last: writers look at it to choose a format
    part = path.with_name(f"{path.stem}{_LEFT_OVER}{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield part
        if part.is_file():
            # safetensors writes for the owner alone; an avatar is made to be passed on
            part.chmod(0o666 & ~_umask())
        _rename(part, path)
    finally:
        _remove(part)


def _umask() -> int:
    mask = os.umask(0)  # it can only be read by setting it
    os.umask(mask)
    return mask


def _rename(part: Path, path: Path) -> None:
    if not (part.is_dir() and path.exists()):
        part.replace(path)
        return
    old = path.with_name(f"{path.stem}{_LEFT_OVER}{uuid.uuid4().hex[:8]}{path.suffix}")
    path.replace(old)
    part.replace(path)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes what an interrupted run left half-written in `folder`."""
    for left in folder.glob(f"*{_LEFT_OVER}*"):
        _remove(left)


def file_hash(path: Path) -> str:
    """sha256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(*parts: Any) -> str:
    """A short hash of settings and of upstream keys: a stage whose key is unchanged need not run again."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def write_json(path: Path, value: Any) -> None:
    """Writes JSON values, indented."""
    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads JSON; damaged or missing files are the user's to mend."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file", "check the folder's name") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON ({error})", "the folder is damaged; make it again") from error


@dataclass(frozen=True)
class Work:
    """A work folder. `capture` and `track` load what `save_capture` and `save_track` wrote."""

    path: Path

    @property
    def capture_json(self) -> Path:
        return self.path / "capture.json"

    @property
    def frames(self) -> Path:
        return self.path / "frames.npy"

    @property
    def masks(self) -> Path:
        return self.path / "masks.npy"

    @property
    def background(self) -> Path:
        return self.path / "background.png"

    @property
    def audio(self) -> Path:
        return self.path / "audio.wav"

    @property
    def sync(self) -> Path:
        """How late the sound was found to be; `load_capture` moves it by that."""
        return self.path / "sync.json"

    @property
    def landmarks(self) -> Path:
        return self.path / "landmarks.safetensors"

    @property
    def track_file(self) -> Path:
        return self.path / "track.safetensors"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def costs(self) -> Path:
        """Seconds per stage and peak memory, as they were when each stage last ran."""
        return self.path / "costs.json"

    def run(self, name: str) -> Path:
        """The folder of one training run: config.json, checkpoint.safetensors, events, metrics.json."""
        return self.path / "runs" / name

    def key(self, stage: str) -> str | None:
        """The key that `stage` ("capture", "masks", "track", ...) was last finished with, or None."""
        path = self.path / "stages.json"
        return read_json(path).get(stage) if path.exists() else None

    def finish(self, stage: str, key: str) -> None:
        """Notes that `stage` is done; call it after its files are in place."""
        path = self.path / "stages.json"
        write_json(path, (read_json(path) if path.exists() else {}) | {stage: key})

    def forget(self) -> dict[str, str]:
        """Forgets every finished stage, so that each runs again; the files stay until replaced. Returns the keys."""
        path = self.path / "stages.json"
        keys: dict[str, str] = read_json(path) if path.exists() else {}
        path.unlink(missing_ok=True)
        return keys

    def forget_training(self) -> None:
        """Removes the checkpoints of every run, so that training begins anew; a run's stage bears its folder's name."""
        runs = [path for path in (self.path / "runs").glob("*") if path.is_dir()]
        for run in runs:
            for checkpoint in run.glob("checkpoint*"):
                checkpoint.unlink()
        kept = self.forget()
        for run in runs:
            kept.pop(run.name, None)
        write_json(self.path / "stages.json", kept)


def save_sound(path: Path, sound: Sound) -> None:
    """Writes 16-bit PCM."""
    import soundfile

    with replacing(path) as part:
        soundfile.write(part, np.clip(sound.samples, -1, 1), sound.rate, subtype="PCM_16")


def load_sound(path: Path) -> Sound:
    """Reads a WAV written by `save_sound`."""
    import soundfile

    samples, rate = soundfile.read(path, dtype="float32")
    return Sound(samples, rate)


def save_picture(path: Path, rgb: np.ndarray) -> None:
    """Writes [H,W,3] or [H,W,4] uint8 as the format of the suffix."""
    with replacing(path) as part:
        imageio.imwrite(part, rgb)


def load_picture(path: Path) -> np.ndarray:
    """Reads a picture as [H,W,3] uint8."""
    return imageio.imread(path, plugin="pillow", mode="RGB")


def save_capture(work: Work, capture: Capture, landmarks: Landmarks, about: Mapping[str, Any]) -> None:
    """Writes sound, landmarks and description; the frames are already in `work.frames` (see `frames_writer`).

    Args:
        about: what else is worth keeping in capture.json, as JSON values: crop box, source size, warnings.
    """
    if capture.sound is not None:
        save_sound(work.audio, capture.sound)
    with replacing(work.landmarks) as part:
        save_arrays({"points": landmarks.points, "scores": landmarks.scores, "found": landmarks.found}, part)
    write_json(
        work.capture_json,
        {
            "version": WORK_VERSION,
            "frames": len(capture.frames),
            "height": capture.frames.shape[1],
            "width": capture.frames.shape[2],
            "fps": capture.fps,
            "cuts": list(capture.cuts),
            "source_hash": capture.source_hash,
            "sound": capture.sound is not None,
            **about,
        },
    )


@contextmanager
def frames_writer(path: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """A uint8 memory map of `shape` to fill; it takes its place at `path` when the block ends without an error."""
    with replacing(path) as part:
        array = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
        _reserve(part)
        yield array
        array.flush()


def _reserve(path: Path) -> None:
    """Claims the whole size of a mapped file: running out of room later would kill the process without a word."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def load_capture(work: Work) -> Capture:
    """The capture of a work folder; frames and masks stay on disk and are mapped."""
    about = _checked(read_json(work.capture_json), WORK_VERSION, work.capture_json)
    frames = _load_map(work.frames)
    expected = (about["frames"], about["height"], about["width"], 3)
    if frames.shape != expected:
        raise InputError(
            f"{work.frames}: shape {frames.shape}, capture.json says {expected}", "delete the folder and prepare again"
        )
    return Capture(
        frames=frames,
        sound=_sound_in_step(work) if about["sound"] else None,
        fps=about["fps"],
        cuts=tuple(about["cuts"]),
        source_hash=about["source_hash"],
        masks=_load_map(work.masks) if work.masks.exists() else None,
        background=load_picture(work.background) if work.background.exists() else None,
    )


def _sound_in_step(work: Work) -> Sound:
    sound = load_sound(work.audio)
    return sound.earlier(read_json(work.sync)["late_s"]) if work.sync.exists() else sound


def load_landmarks(work: Work) -> Landmarks:
    """The landmarks of a work folder."""
    arrays, _ = load_arrays(work.landmarks)
    return Landmarks(arrays["points"], arrays["scores"], arrays["found"])


def motion_arrays(motion: Motion) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A Motion as named arrays and JSON values."""
    arrays = {name: getattr(motion, name) for name in ("expression", "blink", "gaze", "head")}
    return arrays, {"fps": motion.fps, "basis": motion.basis}


def motion_from(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Motion:
    """The Motion that `motion_arrays` took apart."""
    return Motion(
        arrays["expression"], arrays["blink"], arrays["gaze"], arrays["head"], float(about["fps"]), about["basis"]
    )


def save_motion(path: Path, motion: Motion) -> None:
    """Writes a Motion as safetensors."""
    arrays, about = motion_arrays(motion)
    with replacing(path) as part:
        save_arrays(_packed(arrays), part, metadata={"about": json.dumps(about)})


def load_motion(path: Path) -> Motion:
    """Reads a Motion written by `save_motion`."""
    return motion_from(*load_arrays(path))


def save_track(work: Work, track: Track) -> None:
    """Writes track.safetensors (the landmarks stay in their own file)."""
    arrays, about = motion_arrays(track.motion)
    camera = track.camera
    arrays |= {
        "K": camera.K.numpy(),
        "cam_from_world": camera.cam_from_world.numpy(),
        "neutral": track.neutral,
        "basis": track.basis,
        "confidence": track.confidence,
        "arkit_map": track.arkit_map,
    }
    about |= {
        "version": WORK_VERSION,
        "width": camera.width,
        "height": camera.height,
        "fitted_frames": track.fitted_frames,
        "focal_observable": track.focal_observable,
    }
    with replacing(work.track_file) as part:
        save_arrays(_packed(arrays), part, metadata={"about": json.dumps(about)})


def load_track(work: Work) -> Track:
    """The track of a work folder."""
    arrays, about = load_arrays(work.track_file)
    _checked(about, WORK_VERSION, work.track_file)
    # the motion's own "basis" is a word in `about`; the rig's basis is an array
    return Track(
        camera=Camera(
            torch.from_numpy(arrays["K"]), torch.from_numpy(arrays["cam_from_world"]), about["width"], about["height"]
        ),
        neutral=arrays["neutral"],
        basis=arrays["basis"],
        motion=motion_from(arrays, about),
        landmarks=load_landmarks(work),
        confidence=arrays["confidence"],
        fitted_frames=about["fitted_frames"],
        focal_observable=about["focal_observable"],
        arkit_map=arrays["arkit_map"],
    )


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a safetensors file and the JSON values in its `about` entry."""
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return arrays, json.loads((file.metadata() or {}).get("about", "{}"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file", "run the stage that writes it, or name another folder") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})", "the file is damaged; make it again") from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """As `load_arrays`, but torch tensors."""
    arrays, about = load_arrays(path)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}, about


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any] | None = None) -> None:
    """Writes tensors as safetensors, with JSON values beside them."""
    with replacing(path) as part:
        save_tensors(
            {name: tensor.detach().contiguous() for name, tensor in tensors.items()},
            part,
            metadata={"about": json.dumps(about or {})},
        )


def _packed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _load_map(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file", "run `avatar3d prepare` again") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error})", "delete it and run `avatar3d prepare` again") from error


def _checked(about: dict[str, Any], version: int, path: Path) -> dict[str, Any]:
    if about.get("version") != version:
        raise InputError(
            f"{path}: format version {about.get('version')}, this program reads {version}",
            "make it again with this version",
        )
    return about


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
        about = _checked(read_json(self.manifest), AVATAR_VERSION, self.manifest)
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
