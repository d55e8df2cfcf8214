# SPDX-License-Identifier: Apache-2.0
"""Watches real and made frames go by, and says what the user's networks make of them."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from scipy.signal import medfilt

from avatar3d.dsp import resampled
from avatar3d.errors import InputError
from avatar3d.metrics.networks import openface, syncnet
from avatar3d.metrics.networks.distances import frechet, likeness, lip_sync
from avatar3d.metrics.networks.faces import ArcFace, Inception
from avatar3d.records import Sound

# what is looked for in the user's folder, and what it is for
FILES = {
    "syncnet_v2.model": "LSE-C and LSE-D: SyncNet's weights, as its authors offer them",
    "inception.onnx": "FID: Inception v3 up to its last pooling, [1,3,299,299] RGB in -1..1 to [1,2048]",
    "arcface.onnx": "CSIM: ArcFace, [1,3,112,112] RGB in -1..1 to [1,512]",
    "FeatureExtraction": "AUE: OpenFace 2's program",
}
REAL = "real"
_STEADY = 13  # frames over which the crop for SyncNet is steadied


@dataclass(frozen=True)
class NetworkFigures:
    """What was found of one production. None: the user holds no weights for it, or it cannot be said."""

    lse_d: float | None = None  # lower is better
    lse_c: float | None = None  # higher is better
    lse_offset_frames: float | None = None  # positive: the picture is late
    fid: float | None = None  # of faces, 299 px
    csim: float | None = None  # mean cosine of identities, frame by frame
    aue_upper: float | None = None  # action units' squared error, summed over those of the upper face
    aue_lower: float | None = None


@dataclass
class _Heard:
    """What is kept of one production while it goes by."""

    lips: list[np.ndarray] = field(default_factory=list)
    last: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=syncnet.FRAMES))
    features: list[np.ndarray] = field(default_factory=list)
    identities: list[np.ndarray] = field(default_factory=list)


class Witness:
    """`look` at every moment in turn, then `figures`. A context: pictures for OpenFace lie in a temporary folder."""

    def __init__(self, folder: Path, points: np.ndarray | None, sound: Sound | None) -> None:
        """
        Args:
            folder: the user's, with any of FILES.
            points: [T,478,2 or 3] px, the real frames' landmarks, which also say where to look in the made ones.
            sound: of these frames.

        Raises:
            InputError: no such folder, none of FILES in it, or a file is something else.
        """
        held = [name for name in FILES if (folder / name).is_file()]
        if not held:
            known = "; ".join(f"{name} ({use})" for name, use in FILES.items())
            raise InputError(f"{folder}: holds none of the networks that are known", f"put there any of: {known}")
        self.notes = [f"no {FILES[name].split(':')[0]}: {folder} holds no {name}" for name in FILES if name not in held]
        if points is None:
            self.notes.append("no face in these frames: the networks have nothing to look at")
        self._points = points
        self._seen: dict[str, _Heard] = {}
        self._sync = syncnet.SyncNet(folder / "syncnet_v2.model") if "syncnet_v2.model" in held and sound else None
        self._inception = Inception(folder / "inception.onnx") if "inception.onnx" in held else None
        self._arcface = ArcFace(folder / "arcface.onnx") if "arcface.onnx" in held else None
        self._openface = folder / "FeatureExtraction" if "FeatureExtraction" in held else None
        self._cepstra = syncnet.cepstra(resampled(sound)) if self._sync and sound else None
        self._boxes = None if points is None else _boxes(points)
        self._scratch = tempfile.TemporaryDirectory()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scratch.cleanup()

    def look(self, index: int, real: np.ndarray, made: Mapping[str, np.ndarray]) -> None:
        """One moment: the real frame [H,W,3] uint8 and the made ones by production."""
        if self._points is None or self._boxes is None:
            return
        for name, picture in {REAL: real, **made}.items():
            kept = self._seen.setdefault(name, _Heard())
            if self._sync is not None:
                kept.last.append(syncnet.crop(picture, self._boxes[index]))
                if len(kept.last) == syncnet.FRAMES:
                    kept.lips.append(self._sync.seen(list(kept.last)))
            if self._inception is not None:
                kept.features.append(self._inception(Inception.face(picture, self._points[index])))
            if self._arcface is not None:
                kept.identities.append(self._arcface(ArcFace.face(picture, self._points[index])))
            if self._openface is not None:
                openface.keep(self._folder(name), index, picture)

    def figures(self) -> dict[str, NetworkFigures]:
        """By production, the real frames' own ("real") among them.

        Raises:
            InputError: OpenFace fails.
        """
        if not self._seen:
            return {}
        units = {name: self._units(name) for name in self._seen}
        return {name: self._of(name, units) for name in self._seen}

    def _of(self, name: str, units: Mapping[str, np.ndarray | None]) -> NetworkFigures:
        real, made = self._seen[REAL], self._seen[name]
        found: dict[str, float] = {}
        count = 0 if self._cepstra is None else min(len(made.lips), syncnet.moments(self._cepstra, len(made.lips) + 4))
        if self._sync is not None and self._cepstra is not None and count:
            heard = np.stack([self._sync.heard(self._cepstra, frame) for frame in range(count)])
            distance, confidence, offset = lip_sync(np.stack(made.lips[:count]), heard)
            found |= {"lse_d": distance, "lse_c": confidence, "lse_offset_frames": float(offset)}
        if name != REAL:
            if len(made.features) > 1:
                found["fid"] = frechet(np.stack(real.features), np.stack(made.features))
            if made.identities:
                found["csim"] = likeness(np.stack(real.identities), np.stack(made.identities))
            theirs, ours = units[REAL], units[name]
            if theirs is not None and ours is not None:
                found["aue_upper"], found["aue_lower"] = openface.apart(theirs, ours)
        return NetworkFigures(**found)

    def _units(self, name: str) -> np.ndarray | None:
        if self._openface is None:
            return None
        out = self._folder(name).with_suffix(".out")
        out.mkdir(exist_ok=True)
        return openface.action_units(self._openface, self._folder(name), out)

    def _folder(self, name: str) -> Path:
        return Path(self._scratch.name) / name.replace("/", "_")


def _boxes(points: np.ndarray) -> list[tuple[float, float, float]]:
    """Per frame the steadied middle of the face and half its longer side, px."""
    low, high = points[..., :2].min(1), points[..., :2].max(1)
    rows = np.concatenate([(low + high) / 2, (high - low).max(1, keepdims=True) / 2], 1)
    size = min(_STEADY, len(rows) - 1 + len(rows) % 2)  # odd
    edge = size // 2
    padded = np.pad(rows, ((edge, edge), (0, 0)), mode="edge")
    steady = np.stack([medfilt(column, size) for column in padded.T], 1)[edge : edge + len(rows)]
    return [(float(x), float(y), float(half)) for x, y, half in steady]
