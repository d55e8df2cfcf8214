# SPDX-License-Identifier: Apache-2.0
"""A face parser of 19 classes (BiSeNet trained on CelebAMask-HQ: for research only) as ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from avatar3d.errors import InputError
from avatar3d.onnx import opened

__all__ = ["Parser"]

_SIDE, _CLASSES = 512, 19
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # ImageNet's
_SPREAD = np.array([0.229, 0.224, 0.225], np.float32)
_GET = (
    "export BiSeNet for face parsing (19 classes, [1,3,512,512] to [1,19,512,512]) to ONNX and name that file; its "
    "usual weights, 79999_iter.pth, may be used for research only"
)


class Parser:
    """Chance of a person by a parser: all that it does not call background."""

    def __init__(self, file: Path | None) -> None:
        if file is None or not file.is_file():
            raise InputError(f"{file or 'face parser'}: no such file", _GET)
        self._session = opened(file, _GET)
        self._input = self._session.get_inputs()[0].name
        if list(self._session.get_outputs()[0].shape[1:]) != [_CLASSES, _SIDE, _SIDE]:
            raise InputError(f"{file}: gives {self._session.get_outputs()[0].shape}, not [1,19,512,512]", _GET)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        image = PillowImage.fromarray(np.ascontiguousarray(picture)).resize((_SIDE, _SIDE))
        values = ((np.asarray(image, np.float32) / 255 - _MEAN) / _SPREAD).transpose(2, 0, 1)[None]
        logits = self._session.run(None, {self._input: values})[0][0]
        powers = np.exp(logits - logits.max(0))
        return 1 - powers[0] / powers.sum(0)

    def close(self) -> None:
        """Nothing stays open."""
