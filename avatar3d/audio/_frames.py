# SPDX-License-Identifier: Apache-2.0
"""Speech networks of others: where their weights are found, and their rows, 50 a second, made ours, 25."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from avatar3d.dsp import resampled
from avatar3d.errors import InputError
from avatar3d.records import FPS, SAMPLE_RATE, Sound, frame_count

WEIGHTS = "AVATAR3D_AUDIO_WEIGHTS"
STEP = 320  # samples between rows of all these networks
_HASHED_BYTES = 1 << 20


class Network:
    """A folder with a network in the form of Hugging Face's transformers: config.json and weights.

    It is looked for in the folder given, or else where the environment's AVATAR3D_AUDIO_WEIGHTS says (a folder with
    config.json, or one that holds such folders by the feature's name), or else in the hub's cache on this machine.
    Nothing is downloaded.
    """

    def __init__(self, feature: str, hub_name: str, kinds: tuple[str, ...], weights: Path | None) -> None:
        """
        Args:
            feature: the audio feature's name; hub_name: its usual weights on the hub.
            kinds: what `model_type` in config.json may be.

        Raises:
            InputError: no weights, or those of another kind of network.
        """
        self.feature = feature
        self.folder = _found(feature, hub_name, weights)
        self.config: dict[str, Any] = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        kind = self.config.get("model_type")
        if kind not in kinds:
            raise InputError(
                f"{self.folder}: a network of type {kind!r}, not {feature}", f"name a folder with weights of {hub_name}"
            )

    @property
    def identity(self) -> str:
        """A hash of what the weights begin with and how large they are: voices trained on others hear nonsense."""
        digest = hashlib.sha256((self.folder / "config.json").read_bytes())
        for file in sorted(self.folder.glob("*.safetensors")) + sorted(self.folder.glob("*.bin")):
            with file.open("rb") as opened:
                digest.update(opened.read(_HASHED_BYTES))
            digest.update(str(file.stat().st_size).encode())
        return digest.hexdigest()[:16]

    def loaded(self, name: str) -> Any:
        """The network as transformers' class `name`, ready to use.

        Raises:
            InputError: transformers is not installed, or the weights cannot be read.
        """
        if importlib.util.find_spec("transformers") is None:
            raise InputError(
                f"the audio feature {self.feature} needs the package transformers", "pip install transformers"
            )
        try:
            import transformers

            return getattr(transformers, name).from_pretrained(self.folder, local_files_only=True).eval()
        except ImportError as error:
            raise InputError(
                f"transformers cannot be imported ({error})", "pip install --upgrade transformers"
            ) from error
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.folder}: cannot be loaded ({error})", "fetch the weights again") from error


def per_frame(rows: np.ndarray, first_centre: float, frames: int) -> np.ndarray:
    """Rows [frames,D] at FPS of rows [N,D] every 320 samples, the first about the sample `first_centre`.

    A frame of 40 ms holds two rows of 20 ms: it is the mean of what is interpolated at their places.
    """
    if not frames or not len(rows):
        return np.zeros((frames, rows.shape[1]), np.float32)
    within = SAMPLE_RATE / FPS
    places = (np.arange(frames)[:, None] * within + within * np.array([0.25, 0.75]) - first_centre) / STEP
    places = places.clip(0, len(rows) - 1)
    below = np.minimum(places.astype(np.int64), max(len(rows) - 2, 0))
    share = (places - below)[..., None]
    above = np.minimum(below + 1, len(rows) - 1)
    return ((1 - share) * rows[below] + share * rows[above]).mean(1).astype(np.float32)


def in_pieces(
    sound: Sound,
    width: int,
    piece_s: float,
    margin_s: float,
    first_centre: float,
    listen: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Rows [T,width] float32 at FPS of a sound of any rate and length.

    Args:
        piece_s: so much is heard at once, of which `margin_s` before and after are heard again with the neighbours.
        listen: rows [N,width] every 320 samples of samples [S] at 16 kHz.
    """  # fmt: skip
    samples, frames = resampled(sound), frame_count(sound)
    per_row = round(SAMPLE_RATE / FPS)
    step, margin = round((piece_s - 2 * margin_s) * FPS), round(margin_s * FPS)
    rows = np.zeros((frames, width), np.float32)
    for begin in range(0, frames, step):
        end = min(begin + step, frames)
        first, last = max(begin - margin, 0), min(end + margin, frames)
        heard = listen(samples[first * per_row : last * per_row])
        rows[begin:end] = per_frame(heard, first_centre, last - first)[begin - first : end - first]
    return rows


def _found(feature: str, hub_name: str, weights: Path | None) -> Path:
    named = weights or (Path(os.environ[WEIGHTS]) if os.environ.get(WEIGHTS) else None)
    if named is not None:
        for folder in (named / feature, named):
            if (folder / "config.json").is_file():
                return folder
        raise InputError(f"{named}: no config.json of {feature} in it", f"put the files of {hub_name} there")
    cached = _cache() / f"models--{hub_name.replace('/', '--')}" / "snapshots"
    for folder in sorted(cached.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True):
        if (folder / "config.json").is_file():
            return folder
    raise InputError(
        f"the audio feature {feature} has no weights on this machine, and none are downloaded unasked",
        f"hf download {hub_name}, or name a folder with --audio-weights or {WEIGHTS}",
    )


def _cache() -> Path:
    """Where Hugging Face's hub keeps what it has downloaded."""
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"])
    home = os.environ.get("HF_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "huggingface") / "hub"
