# SPDX-License-Identifier: Apache-2.0
"""What a video or sound file is, and clear words for what it is not."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from avatar3d.errors import InputError
from avatar3d.media.colour import PQ_AND_HLG
from avatar3d.media.orient import Layout

_CUT_OFF = "the file is cut off: the index that its end should hold is missing"


@dataclass(frozen=True)
class VideoInfo:
    """What `probe` found out without decoding the whole file."""

    width: int  # px as shown: after the rotation flag, with square pixels
    height: int  # px as shown
    seconds: float  # as the file declares it; a damaged file may hold less
    fps: float  # nominal; frames need not be evenly spaced
    has_sound: bool
    codec: str  # for example "h264"
    pixel_format: str  # for example "yuv420p10le"
    hdr: bool  # PQ or HLG transfer
    start_s: float  # presentation time of the first picture on the file's clock


def probe(path: Path) -> VideoInfo:
    """What the video at `path` is.

    Raises:
        InputError: no such file, a folder, empty, not a video, cut off, a photo, no video track, unsupported codec.
    """
    with opened(path) as container:
        stream = video_stream(container, path)
        first, second = _first_two(container, stream, path)
        start_s = _time_s(first, stream)
        seconds = _declared_s(container, stream)
        layout = Layout.of(first, stream)
        info = VideoInfo(
            width=layout.width,
            height=layout.height,
            seconds=0.0 if seconds is None else seconds,
            fps=_rate(stream, _time_s(second, stream) - start_s),
            has_sound=bool(container.streams.audio),
            codec=stream.codec_context.name,
            pixel_format=first.format.name,
            hdr=int(first.color_trc) in PQ_AND_HLG,
            start_s=start_s,
        )
    return info if seconds is not None else _with_measured_seconds(info, path)


@dataclass(frozen=True)
class Timing:
    """When a file's pictures are shown."""

    pictures_s: np.ndarray  # [T] rising
    sound_hz: float | None  # sample rate; None without sound


def timing(path: Path) -> Timing:
    """The times of all pictures, from the packets: nothing is decoded.

    Raises:
        InputError: as `probe`.
    """
    with opened(path) as container:
        sounds = container.streams.audio
        sound_hz = float(sounds[0].codec_context.sample_rate) if sounds and sounds[0].codec_context else None
        packets = container.demux(video_stream(container, path))
        times = [float(p.pts * p.time_base) for p in packets if p.pts is not None and p.time_base]
    return Timing(np.sort(np.asarray(times)), sound_hz)


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """An open media file.

    Raises:
        InputError: no such file, a folder, empty, not a media file.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file", "check the file's name")
    if path.is_dir():
        raise InputError(f"{path}: this is a folder", "name a video or sound file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty", "copy or download it again")
    try:
        # names of people and tools in odd encodings must not stop the reading
        container = av.open(str(path), metadata_errors="replace")
    except PermissionError as error:
        raise InputError(f"{path}: may not be read", "change the file's permissions") from error
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(f"{path}: {_why_not_media(path)}", "give a file that a video player plays") from error
    with container:
        yield container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first real video track.

    Raises:
        InputError: there is none, it is a photo, or nothing here decodes it.
    """
    if container.format.name == "image2" or container.format.name.endswith("_pipe"):
        raise InputError(f"{path}: this is a photo, not a video", "film 1 to 5 minutes of the person talking")
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        raise InputError(f"{path}: no video track in this file", "give a video; this file holds sound only")
    stream = streams[0]
    if stream.codec_context is None:
        if _is_cut_off(path):
            raise InputError(f"{path}: {_CUT_OFF}", "copy or download it again")
        raise InputError(f"{path}: its video codec is not supported", "convert it to H.264 in an mp4 file")
    stream.thread_type = "AUTO"
    return stream


def decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame | av.error.FFmpegError]:
    """Every picture of a stream; where data are damaged the error takes the picture's place and decoding goes on."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError as error:  # a demuxer that has lost its way does not find it again
            yield error
            return
        try:
            yield from packet.decode()
        except av.error.FFmpegError as error:
            if not isinstance(error, av.error.EOFError):
                yield error


def _first_two(container: InputContainer, stream: VideoStream, path: Path) -> tuple[VideoFrame, VideoFrame]:
    pictures: list[VideoFrame] = []
    for picture in decoded(container, stream):
        if isinstance(picture, VideoFrame):
            pictures.append(picture)
        if len(pictures) == 2:
            return pictures[0], pictures[1]
    if pictures:
        raise InputError(f"{path}: a single picture, not a video", "film 1 to 5 minutes of the person talking")
    raise InputError(f"{path}: no picture in it can be decoded", "give a file that a video player shows")


def _time_s(picture: VideoFrame, stream: VideoStream) -> float:
    if picture.time is not None:
        return float(picture.time)
    return float((stream.start_time or 0) * (stream.time_base or 0))


def _rate(stream: VideoStream, first_gap_s: float) -> float:
    rate = stream.average_rate or stream.guessed_rate
    if rate:
        return float(rate)
    return 1 / first_gap_s if first_gap_s > 0 else 25.0


def _declared_s(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if container.duration:
        # the container's clock covers its longest track
        return container.duration / av.time_base
    return None


def _with_measured_seconds(info: VideoInfo, path: Path) -> VideoInfo:
    """Files recorded in a browser declare no duration; their packets tell."""
    end = info.start_s
    with opened(path) as container:
        for packet in container.demux(video_stream(container, path)):
            if packet.pts is not None and packet.time_base:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return VideoInfo(**{**vars(info), "seconds": end - info.start_s})


def _why_not_media(path: Path) -> str:
    return _CUT_OFF if _is_cut_off(path) else "neither a video nor a sound file"


def _is_cut_off(path: Path) -> bool:
    """Whether an mp4 or mov file ends before its last box does, or before its index (ISO/IEC 14496-12, 4.2)."""
    end, begin, kinds = path.stat().st_size, 0, set()
    if end < 8:
        return False
    with path.open("rb") as file:
        while begin + 8 <= end:
            file.seek(begin)
            length, kind, long_length = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
            if begin == 0 and kind != b"ftyp":
                return False
            kinds.add(kind)
            length = {0: end - begin, 1: long_length}.get(length, length)
            begin += max(length, 8)
    return begin > end or b"moov" not in kinds
