# SPDX-License-Identifier: Apache-2.0
"""Pictures to look at beside the figures: real and made side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_ERROR_GAIN = 4
_LABEL_PX = 22


def contact_sheet(rows: Sequence[tuple[np.ndarray, np.ndarray, str]]) -> np.ndarray:
    """Real | made | four times the error, a labelled row each.

    Args:
        rows: (real [H,W,3] uint8, made [H,W,3] uint8, label).
    """
    strips = []
    for real, made, label in rows:
        strip = np.concatenate([real, made, difference(real, made)], 1)
        strips.append(labelled(strip, f"{label}: real | made | error x{_ERROR_GAIN}"))
    return np.concatenate(strips)


def difference(real: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Four times the error, [H,W,3] uint8."""
    return (np.abs(made.astype(np.int32) - real) * _ERROR_GAIN).clip(0, 255).astype(np.uint8)


def labelled(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture [H,W,3] uint8 under a line of text."""
    return np.concatenate([_label(text, picture.shape[1]), picture])


def _label(text: str, width: int) -> np.ndarray:
    strip = Image.new("RGB", (width, _LABEL_PX), "white")
    ImageDraw.Draw(strip).text((4, 3), text, "black", ImageFont.load_default())
    return np.asarray(strip)
