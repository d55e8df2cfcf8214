# SPDX-License-Identifier: Apache-2.0
"""One browser's live avatar: sound and camera pictures in, pictures of the avatar out, and how long that took.

What a browser sends carries the browser's own clock, and a picture goes back with the time of what it shows; so the
page itself measures what a person sees, from the sound or the camera picture to the pixel. Sound is heard to the last
sample; of camera pictures, and of pictures to draw, the newest wins.
"""

from __future__ import annotations

import io
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage
from torch import Tensor

from avatar3d.contracts import Draw, Head
from avatar3d.player import Player
from avatar3d.records import FPS, SAMPLE_RATE, Motion
from avatar3d.viewer.live_inputs import FRAME, Manner, Mirror, Streaming
from avatar3d.viewer.scene import framed, widened

__all__ = ["Figures", "Live", "Shot"]

SOUND, PICTURE = b"a", b"v"  # first byte of a message, then 8 bytes: the browser's clock, ms, big-endian double
_HEAD = struct.Struct(">cd")
_SIDES_PX = (64, 1024)
_LARGEST_PX = 1024 * 1024  # of a camera picture
_MOST_SAMPLES = SAMPLE_RATE  # that may wait: a second
_QUALITY = 80  # of JPEG
_IDLE_S = 0.25  # without sound or picture after which the avatar waits in silence
_TIMES = 500  # that figures are made of


@dataclass(frozen=True)
class Shot:
    """A picture for the browser."""

    stamp_ms: float  # browser's clock, when what it shows was heard or seen; NaN where it shows nothing of the kind
    jpeg: bytes

    def packed(self) -> bytes:
        return _HEAD.pack(b"f", self.stamp_ms) + self.jpeg


class Figures:
    """Times of the last few hundred pictures, of all browsers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, deque[float]] = {}
        self.pictures = 0

    def note(self, kind: str, seconds: float) -> None:
        """One picture made of `kind` ("sound", "camera", "idle") so long after it was asked for."""
        with self._lock:
            self.pictures += 1
            self._times.setdefault(kind, deque(maxlen=_TIMES)).append(seconds)

    def told(self) -> dict[str, float]:
        """Pictures, and per kind the median and the 99th percentile, ms, from the message's arrival to the picture."""
        with self._lock:
            told: dict[str, float] = {"pictures": self.pictures}
            for kind, times in self._times.items():
                for share in (50, 99):
                    told[f"{kind}_ms_p{share}"] = round(1e3 * float(np.percentile(times, share)), 1)
        return told


class Live:
    """One browser's avatar, in a thread of its own.

    Args:
        voice: None: it has none, and sound moves nothing.
        mirror: None: no camera can be understood here.
        show: takes each picture, from that thread.
    """

    def __init__(
        self,
        head: Head,
        draw: Draw,
        clip: Motion,
        voice: Streaming | None,
        mirror: Mirror | None,
        show: Callable[[Shot], None],
        figures: Figures,
    ) -> None:
        self._player, self._voice, self._mirror, self._show = Player(head, draw), voice, mirror, show
        self._manner, self._figures = Manner(clip), figures
        self._silence = Motion(
            np.zeros((1, clip.expression.shape[1]), np.float32), np.zeros((1, 2), np.float32),
            np.zeros((1, 4), np.float32), clip.head[:1], FPS, clip.basis,
        )  # fmt: skip
        self._side, self._room = 256, widened(head.background, 256, 256)
        self._changed = threading.Condition()
        self._heard: deque[tuple[np.ndarray, float, float]] = deque()  # samples, browser's and our clock at their end
        self._seen: tuple[bytes, float, float] | None = None
        self._closed = False
        self._ends: deque[tuple[float, float]] = deque()  # both clocks at the end of each frame that is not certain yet
        self._part = 0  # samples of a frame that has begun
        self._thread = threading.Thread(target=self._work, name="live", daemon=True)
        self._thread.start()

    # the browser's side: nothing here waits

    def hear(self, message: bytes) -> None:
        """Any message that is not text; one that is not understood is dropped."""
        if len(message) < _HEAD.size:
            return
        kind, stamp_ms = _HEAD.unpack_from(message)
        body, now_s = message[_HEAD.size :], time.monotonic()
        with self._changed:
            if kind == SOUND and self._voice is not None:
                samples = np.frombuffer(body[: len(body) // 2 * 2], "<i2").astype(np.float32) / 32768
                self._heard.append((samples, stamp_ms, now_s))
                while sum(len(samples) for samples, *_ in self._heard) > _MOST_SAMPLES:
                    self._heard.popleft()  # we are too slow for all of it, and what is newest counts
            elif kind == PICTURE and self._mirror is not None:
                self._seen = body, stamp_ms, now_s
            self._changed.notify()

    def resize(self, side_px: int) -> None:
        """How large pictures are from now on."""
        side = int(np.clip(side_px, *_SIDES_PX))
        room = widened(self._player.head.background, side, side)
        with self._changed:
            self._side, self._room = side, room

    def settle(self) -> None:
        """The face before the camera looks ahead now."""
        if self._mirror is not None:
            self._mirror.settle()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    # our side

    def _work(self) -> None:
        wait_s = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._heard or self._seen, wait_s)
                if self._closed:
                    return
                heard, self._heard = list(self._heard), deque()
                seen, self._seen = self._seen, None
            if heard:
                self._spoken(heard)
            if seen is not None:
                self._mirrored(*seen)
            wait_s = _IDLE_S if seen or heard else 1 / FPS
            if not (seen or heard):
                self._waiting()

    def _waiting(self) -> None:
        """A frame of silence, so that the avatar blinks and its mouth closes."""
        now_s = time.monotonic()
        if self._voice is None:
            self._drawn(self._manner.laid_over(self._silence), float("nan"), now_s, "idle")
        else:
            self._spoken([(np.zeros(FRAME, np.float32), float("nan"), now_s)])

    def _spoken(self, heard: list[tuple[np.ndarray, float, float]]) -> None:
        """Hears all of it, and draws the newest frame that is certain."""
        assert self._voice is not None
        for samples, stamp_ms, now_s in heard:
            self._part += len(samples)
            while self._part >= FRAME:
                self._part -= FRAME
                ago_s = self._part / SAMPLE_RATE
                self._ends.append((stamp_ms - 1e3 * ago_s, now_s - ago_s))
        said = self._voice.push(np.concatenate([samples for samples, *_ in heard]))
        if len(said):
            for _ in range(min(len(said), len(self._ends))):
                stamp_ms, now_s = self._ends.popleft()
            kind = "idle" if np.isnan(stamp_ms) else "sound"
            self._drawn(self._manner.laid_over(said)[-1:], stamp_ms, now_s, kind)

    def _mirrored(self, jpeg: bytes, stamp_ms: float, now_s: float) -> None:
        assert self._mirror is not None
        picture = opened(jpeg)
        if picture is None:
            return
        motion = self._mirror.motion(picture)
        if motion is None:
            motion = self._manner.laid_over(self._silence)  # nobody is there: it waits, and the picture is answered
        self._drawn(motion, stamp_ms, now_s, "camera")

    def _drawn(self, motion: Motion, stamp_ms: float, since_s: float, kind: str) -> None:
        head = self._player.head
        code: Tensor = head.encode(motion)[0]
        with self._changed:
            side, room = self._side, self._room
        picture = self._player.frame(code, framed(head.camera, side, side), room)
        shot = Shot(stamp_ms, _jpeg(picture))
        self._figures.note(kind, time.monotonic() - since_s)
        self._show(shot)


def opened(jpeg: bytes) -> np.ndarray | None:
    """A camera picture [H,W,3] uint8; None for what is none, or is too large."""
    try:
        with PillowImage.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            if image.width * image.height > _LARGEST_PX:
                return None
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError):
        return None


def _jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    PillowImage.fromarray(picture).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
