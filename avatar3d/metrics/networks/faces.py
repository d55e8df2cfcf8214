# SPDX-License-Identifier: Apache-2.0
"""Networks that look at one face at a time, as ONNX files: Inception for FID, ArcFace for the person's likeness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from avatar3d.errors import InputError
from avatar3d.face.groups import LEFT_IRIS, RIGHT_IRIS
from avatar3d.onnx import opened

_FID_PX, _FID_MARGIN = 299, 1.3
_ARC_PX = 112
# both irises, the tip of the nose and both corners of the mouth; and where ArcFace expects them, px of 112
_FIVE = (RIGHT_IRIS, LEFT_IRIS, 4, 61, 291)
_ARC_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


class Onnx:
    """Features of pictures by a network [1,3,S,S] -> [1,D]."""

    def __init__(self, file: Path, side: int) -> None:
        """
        Raises:
            InputError: onnxruntime is not installed, or the file is no such network.
        """
        self._session = opened(file, "export it again")
        entry = self._session.get_inputs()[0]
        self._name = entry.name
        if list(entry.shape[1:]) != [3, side, side]:
            raise InputError(
                f"{file}: takes {entry.shape}, expected [1, 3, {side}, {side}]", "export it with that size"
            )

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """[D] of a picture [S,S,3] uint8 RGB, which the network sees as -1..1."""
        values = (picture.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
        found: np.ndarray = self._session.run(None, {self._name: values})[0]
        return found.reshape(-1).astype(np.float64)


class Inception(Onnx):
    """The 2048 features of Inception v3's last pooling; input [1,3,299,299] RGB, -1..1."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, _FID_PX)

    @staticmethod
    def face(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The square about the landmarks [478,2 or 3], 299 px."""
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        middle, half = (low + high) / 2, _FID_MARGIN / 2 * (high - low).max()
        box = (*np.maximum(middle - half, 0), *np.minimum(middle + half, picture.shape[1::-1]))
        return np.asarray(Image.fromarray(picture).resize((_FID_PX, _FID_PX), Image.Resampling.BILINEAR, box=box))


class ArcFace(Onnx):
    """An identity's embedding; input [1,3,112,112] RGB, -1..1, the face aligned by five points."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, _ARC_PX)

    @staticmethod
    def face(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The aligned face, 112 px, from landmarks [478,2 or 3]."""
        seen = points[list(_FIVE), :2].astype(np.float64)
        # the similarity that takes the aligned picture's points to these, as one complex factor and shift
        to, at = _ARC_POINTS @ [1, 1j], seen @ [1, 1j]
        factor = np.vdot(to - to.mean(), at - at.mean()) / np.vdot(to - to.mean(), to - to.mean())
        shift = at.mean() - factor * to.mean()
        rows = (factor.real, -factor.imag, shift.real, factor.imag, factor.real, shift.imag)
        image = Image.fromarray(picture)
        return np.asarray(image.transform((_ARC_PX, _ARC_PX), Image.Transform.AFFINE, rows, Image.Resampling.BILINEAR))
