# SPDX-License-Identifier: Apache-2.0
"""Pictures and sound into a video file, as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from PIL import Image as PillowImage

from avatar3d.errors import InputError
from avatar3d.records import FPS, Sound
from avatar3d.store import replacing

_LEAD_S = 0.5  # sound is muxed this far ahead of the pictures
_BT709 = 1  # ITU-T H.273: primaries, transfer and matrix share the number
_SOUND_BITS = 128_000  # per second
_OPUS_RATE = 48_000  # Hz, the rate that Opus works at inside
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz


@dataclass(frozen=True)
class _Format:
    """What goes into a file of one suffix."""

    codec: str
    pixels: str
    options: dict[str, str]
    audio: str


def _format(path: Path, alpha: bool, quality: int) -> _Format:
    h264 = _Format("libx264", "yuv420p", {"preset": "veryfast", "crf": str(quality)}, "aac")
    prores = _Format("prores_aw", "yuva444p10le", {"vendor": "apl0"}, "aac")
    speed = {"deadline": "realtime", "cpu-used": "6", "row-mt": "1"}
    vp9 = _Format("libvpx-vp9", "yuva420p", {**speed, "crf": str(quality), "b": "0"}, "libopus")
    known = {".mov": prores, ".webm": vp9} if alpha else {".mp4": h264, ".mov": h264, ".m4v": h264, ".mkv": h264}
    if path.suffix.lower() not in known:
        what = "a video with alpha" if alpha else "a video"
        raise InputError(f"{path}: {what} cannot be written as '{path.suffix}'", f"name a {' or '.join(known)} file")
    return known[path.suffix.lower()]


class VideoWriter:
    """Writes pictures, and the sound that belongs to them, into one file; memory does not grow with its length.

    The file appears under its name only when the block ends without an error. H.264 and AAC; with alpha ProRes 4444
    (.mov) or VP9 (.webm), straight alpha. Colours are BT.709, limited range. A size that is odd is made even by
    doubling the last row or column where the format asks for it.

        with VideoWriter(Path("out.mp4"), 512, 512, 25, sound) as writer:
            for frame in frames:
                writer.write(frame)
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        fps: float = FPS,
        sound: Sound | None = None,
        alpha: bool = False,
        quality: int = 18,
    ) -> None:
        """
        Args:
            width: px of the frames that `write` gets; likewise height.
            sound: mono sound that begins with the first frame.
            alpha: frames are [H,W,4].
            quality: constant rate factor, 0 (lossless) .. 51 (worst); ProRes has its own.

        Raises:
            InputError: a suffix that cannot hold such a video.
        """
        self._path = path
        self._shape = (height, width, 4 if alpha else 3)
        self._fps = Fraction(fps).limit_denominator(1001)
        self._sound = sound
        self._format = _format(path, alpha, quality)
        self._even = self._format.pixels.endswith("420p")  # colour is stored for two by two pixels
        self._written = 0  # frames
        self._heard = 0  # samples

    def __enter__(self) -> Self:
        """Opens the file.

        Raises:
            InputError: the folder cannot be written to.
        """
        with self._disk(), ExitStack() as exits:
            part = exits.enter_context(replacing(self._path))
            self._container = av.open(str(part), "w", options=self._container_options())
            exits.push(self._close)
            self._pictures = self._add_pictures()
            self._voice = self._add_voice()
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finishes the file and puts it in place, or leaves nothing behind after an error.

        Raises:
            InputError: the disk is full.
        """
        if error is not None:
            self._exits.__exit__(kind, error, trace)
            return
        with self._disk(), self._exits:
            self._mux(self._pictures.encode(None))
            if self._voice is not None:
                self._hear_until(float("inf"))
                self._mux(self._voice.encode(None))

    def write(self, frame: np.ndarray) -> None:
        """Adds one frame.

        Args:
            frame: [H,W,3] uint8, or [H,W,4] with straight alpha.

        Raises:
            ValueError: another shape or type.
            InputError: the disk is full.
        """
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise ValueError(f"frame: expected {self._shape} uint8, got {frame.shape} {frame.dtype}")
        if self._even:
            frame = _with_even_sides(frame)
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgba" if self._shape[2] == 4 else "rgb24")
        picture = picture.reformat(
            format=self._format.pixels, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        picture.pts, picture.time_base = self._written, 1 / self._fps
        with self._disk():
            self._hear_until(self._written / self._fps + _LEAD_S)
            self._mux(self._pictures.encode(picture))
        self._written += 1

    def _container_options(self) -> dict[str, str]:
        # players on the web start before the whole file is there
        return {"movflags": "faststart"} if self._path.suffix.lower() in {".mp4", ".mov", ".m4v"} else {}

    def _add_pictures(self) -> VideoStream:
        options = self._format.options
        stream = cast(VideoStream, self._container.add_stream(self._format.codec, rate=self._fps, options=options))
        height, width = self._shape[:2]
        stream.width, stream.height = (width + width % 2, height + height % 2) if self._even else (width, height)
        stream.pix_fmt = self._format.pixels
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = ColorRange.MPEG
        return stream

    def _add_voice(self) -> AudioStream | None:
        if self._sound is None or not len(self._sound.samples):
            return None
        kept = self._format.audio == "aac" and self._sound.rate in _AAC_RATES
        rate = self._sound.rate if kept else _OPUS_RATE
        stream = cast(AudioStream, self._container.add_stream(self._format.audio, rate=rate))
        stream.layout = "mono"
        stream.bit_rate = _SOUND_BITS
        return stream

    def _hear_until(self, end_s: float) -> None:
        """Muxes the sound before `end_s`, in pieces of a second at most."""
        if self._voice is None or self._sound is None:
            return
        samples, rate = self._sound.samples, self._sound.rate
        end = len(samples) if end_s * rate > len(samples) else int(end_s * rate)
        while self._heard < end:
            piece = samples[self._heard : min(end, self._heard + rate)]
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(piece, np.float32)[None], "flt", "mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, self._heard, Fraction(1, rate)
            self._mux(self._voice.encode(frame))
            self._heard += len(piece)

    def _mux(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            self._container.mux(packet)

    def _close(self, kind: type[BaseException] | None, *_: object) -> None:
        # what is thrown away need not be complete, and the first error is the one to tell
        with suppress(OSError, av.error.FFmpegError) if kind else nullcontext():
            self._container.close()

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Turns what the disk refuses into words."""
        try:
            yield
        except (OSError, av.error.FFmpegError) as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"{self._path}: cannot be written ({reason})", "make room there or name another folder"
            ) from error


def write_gif(path: Path, frames: Iterable[np.ndarray], fps: float = 12.5) -> None:
    """Writes [H,W,3] uint8 frames as a GIF that loops for ever.

    All frames share one palette without dithering, so what stands still costs nothing after the first frame.

    Raises:
        InputError: the file cannot be written.
    """
    pictures = [PillowImage.fromarray(frame) for frame in frames]
    palette = _palette(pictures)
    shared = [picture.quantize(palette=palette, dither=PillowImage.Dither.NONE) for picture in pictures]
    try:
        with replacing(path) as part:
            shared[0].save(
                part, "GIF", save_all=True, append_images=shared[1:], duration=1000 / fps, loop=0, optimize=True
            )
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})", "name another folder") from error


def _palette(pictures: Sequence[PillowImage.Image]) -> PillowImage.Image:
    """The colours of some frames; one of the 256 stays free to mean "as before"."""
    some = pictures[:: max(1, len(pictures) // 6)]
    width, height = some[0].size
    strip = PillowImage.new("RGB", (width * len(some), height))
    for place, picture in enumerate(some):
        strip.paste(picture, (place * width, 0))
    return strip.quantize(255, method=PillowImage.Quantize.MEDIANCUT)


def _with_even_sides(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
