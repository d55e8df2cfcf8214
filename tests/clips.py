# SPDX-License-Identifier: Apache-2.0
"""Small video files for tests: made-up frames as phones, webcams and accidents would store them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from avatar3d.records import Sound


def write_clip(
    path: Path,
    frames: Iterable[np.ndarray],
    sound: Sound | None = None,
    fps: int = 25,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    hdr: bool = False,
) -> Path:
    """Writes frames [H,W,3] uint8 (and AAC sound) in the container that the name says; `hdr` tags BT.2020 PQ."""
    listed = list(frames)
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=fps)
        video.height, video.width = listed[0].shape[:2]
        video.pix_fmt = pixels
        video.options = {"x265-params": "log-level=none"} if codec == "libx265" else {"preset": "veryfast", "crf": "16"}
        video.codec_context.time_base = Fraction(1, fps)
        if hdr:
            video.codec_context.color_primaries, video.codec_context.color_trc = 9, 16
            video.codec_context.colorspace = 9
        audio = container.add_stream("aac", rate=sound.rate, layout="mono") if sound else None
        for index, picture in enumerate(listed):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None and audio is not None:
            frame = av.AudioFrame.from_ndarray(sound.samples[None].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = sound.rate, 0
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def turned(path: Path, out: Path) -> Path:
    """The same mp4 with the flag that phones set: show it turned by 90 degrees clockwise."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd")  # the first track is the video
    matrix = at + 4 + (40 if data[at + 4] == 0 else 52)
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    out.write_bytes(data)
    return out


def cut_off(path: Path, out: Path, share: float) -> Path:
    """The first `share` of a file's bytes, as a full card or a broken transfer leaves it."""
    data = path.read_bytes()
    out.write_bytes(data[: int(len(data) * share)])
    return out
