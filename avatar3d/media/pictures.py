# SPDX-License-Identifier: Apache-2.0
"""Any video as a stream of pictures at a constant rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from avatar3d.media.colour import ToRGB
from avatar3d.media.info import VideoInfo, decoded, opened, probe, video_stream
from avatar3d.media.orient import Box, Layout
from avatar3d.records import FPS

OnDamage = Callable[[str], None]
_LONGEST_STILL_S = 60.0  # a longer gap between two pictures is a broken clock, not a still
_SHORTFALL_S = 1.0  # a file may end this much before the duration it declares

Timed = tuple[float, float, VideoFrame]  # begin and length s on a clock that starts at the first picture, picture


def undamaged(_: str) -> None:
    """An OnDamage for callers that do not look."""


class Pictures:
    """The pictures of a video at a constant rate, one at a time, in constant memory; see `frames`.

    Each `iter` reads the file from its beginning. Once that is through, `seconds` and `damage` are known.
    """

    def __init__(
        self, path: Path, fps: float = FPS, *, box: Box | None = None, size: tuple[int, int] | None = None
    ) -> None:
        """
        Args:
            fps: frames per second of the output; a low one skips the conversion of pictures not wanted.
            box: left, top, right, bottom px of the shown picture to cut out; None: all of it.
            size: width, height px to area-resize to; None: no resizing.

        Raises:
            InputError: as `probe`.
        """
        self.path = path
        self.fps = fps
        self.info: VideoInfo = probe(path)
        self.seconds = self.info.seconds  # as declared, then as found
        self.damage: tuple[str, ...] = ()  # what was missing, in words
        self._to_rgb = ToRGB(box, size)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields [H,W,3] uint8 RGB."""
        with opened(self.path) as container:
            stream = video_stream(container, self.path)
            clock = _Clock(stream, self.info)
            last: VideoFrame | None = None
            rgb = np.empty(0)
            for picture in _at_constant_rate(clock.timed(decoded(container, stream)), self.fps):
                if picture is not last:
                    rgb, last = self._to_rgb(picture, Layout.of(picture, stream)), picture
                yield rgb
        self.seconds = clock.end_s
        self.damage = clock.damage()


def frames(
    path: Path,
    fps: float = FPS,
    *,
    box: Box | None = None,
    size: tuple[int, int] | None = None,
    on_damage: OnDamage = undamaged,
) -> Iterator[np.ndarray]:
    """The pictures of a video at a constant rate, one at a time, in constant memory.

    Output frame k is the picture whose presentation time is nearest to k / fps, the first picture's being 0; so uneven,
    dropped and doubled frames keep in step with the sound. The rotation flag is applied, pixels are made square, HDR is
    tone-mapped. Where the file is damaged or cut off, what can be decoded comes out.

    Args:
        fps, box, size: as for `Pictures`.
        on_damage: told, in words and after the last picture, what was missing.

    Yields:
        [H,W,3] uint8 RGB.

    Raises:
        InputError: as `probe`; at the call, not at the first picture.
    """
    pictures = Pictures(path, fps, box=box, size=size)

    def stream() -> Iterator[np.ndarray]:
        yield from pictures
        for words in pictures.damage:
            on_damage(words)

    return stream()


class _Clock:
    """Presentation times that only rise, whatever the file says."""

    def __init__(self, stream: VideoStream, info: VideoInfo) -> None:
        self._tick_s = float(stream.time_base or 0)
        self._usual_s = 1 / info.fps
        self._offset_s = info.start_s
        self._declared_s = info.seconds
        self._undecodable = 0
        self._jumps: list[str] = []
        self.end_s = 0.0

    def timed(self, pictures: Iterator[VideoFrame | Exception]) -> Iterator[Timed]:
        """Each picture with its begin and length; pictures that do not come after the one before are left out."""
        begin_s = -1.0
        for picture in pictures:
            if not isinstance(picture, VideoFrame):
                self._undecodable += 1
                continue
            time_s = self.end_s if picture.time is None else float(picture.time) - self._offset_s
            if time_s - self.end_s > _LONGEST_STILL_S:
                self._jumps.append(f"the clock jumps by {time_s - self.end_s:.0f} s at {self.end_s:.1f} s")
                self._offset_s += time_s - self.end_s
                time_s = self.end_s
            if time_s <= begin_s:
                continue
            begin_s = time_s
            length_s = picture.duration * self._tick_s if picture.duration else self._usual_s
            self.end_s = begin_s + length_s
            yield begin_s, length_s, picture

    def damage(self) -> tuple[str, ...]:
        """What was missing, in words."""
        words = list(self._jumps)
        if self._undecodable:
            words.append(f"{self._undecodable} packets could not be decoded")
        if self.end_s < self._declared_s - _SHORTFALL_S:
            words.append(f"the file ends after {self.end_s:.1f} s of {self._declared_s:.1f} s")
        return tuple(words)


def _at_constant_rate(timed: Iterator[Timed], fps: float) -> Iterator[VideoFrame]:
    index = 0
    begin_s, end_s = 0.0, 0.0
    held: VideoFrame | None = None
    for next_s, length_s, picture in timed:
        # rounding errors of the two clocks must not decide ties
        while held is not None and index / fps < (begin_s + next_s) / 2 - 1e-6:
            yield held
            index += 1
        held, begin_s, end_s = picture, next_s, next_s + length_s
    while held is not None and index < round(end_s * fps):
        yield held
        index += 1
