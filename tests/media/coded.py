# SPDX-License-Identifier: Apache-2.0
"""Videos whose every picture says its own number, so that a test can tell which one came out where."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS, BAR, HEIGHT = 10, 16, 64
TICKS = 90_000  # per second


def picture(number: int) -> np.ndarray:
    """[64,160,3] uint8: black and white bars that spell `number`."""
    bars = np.array([(number >> bit) & 1 for bit in range(BITS)], np.uint8) * 255
    return np.broadcast_to(np.repeat(bars, BAR)[None, :, None], (HEIGHT, BITS * BAR, 3)).copy()


def number(rgb: np.ndarray) -> int:
    """What `picture` spelt."""
    levels = rgb[HEIGHT // 2, BAR // 2 :: BAR, 1] > 127
    return int(sum(1 << bit for bit in range(BITS) if levels[bit]))


def write_at(path: Path, times_s: Sequence[float], last_s: float = 0.04) -> Path:
    """A video whose picture k is shown from times_s[k] on, the last one for `last_s`."""
    lengths = [*np.diff(times_s), last_s]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=round(1 / last_s), options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = BITS * BAR, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        for index, (time_s, length_s) in enumerate(zip(times_s, lengths, strict=True)):
            frame = av.VideoFrame.from_ndarray(picture(index))
            frame.pts, frame.time_base = round(time_s * TICKS), Fraction(1, TICKS)
            frame.duration = round(length_s * TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
