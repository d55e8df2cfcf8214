# SPDX-License-Identifier: Apache-2.0
"""The live window: an avatar that answers a microphone, a sound file or a camera of the browser.

The page is a few files of ours from a fixed table. Over its WebSocket come sound (16 kHz, 16 bit) and camera pictures
(JPEG), each with the browser's clock, and small wishes as JSON; back go pictures.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from importlib import resources

from avatar3d.viewer.front import LOCAL, Front, Page, Session
from avatar3d.viewer.live import Figures, Live, Shot
from avatar3d.viewer.rules import USUAL, Limits

__all__ = ["LiveWindow", "Start"]

_FILES = {
    "/": ("live.html", "text/html; charset=utf-8"),
    "/live.js": ("live.js", "text/javascript; charset=utf-8"),
    "/live_worklet.js": ("live_worklet.js", "text/javascript; charset=utf-8"),
    "/live.css": ("live.css", "text/css; charset=utf-8"),
}

Start = Callable[[Callable[[Shot], None], Figures], Live]


class LiveWindow:
    """Serves browsers between `start` and `stop`, or within a `with` block.

    Args:
        begin: makes the avatar of one browser, which shows its pictures by the first argument.
        about: what the page is told at the start, JSON values.
    """

    def __init__(
        self, begin: Start, about: dict[str, object], host: str = LOCAL, port: int | None = None, limits: Limits = USUAL
    ) -> None:
        self._begin, self._about = begin, about
        self.measured = Figures()
        self.front = Front(_pages(), self._talk, host, port, limits)

    def __enter__(self) -> LiveWindow:
        self.front.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.front.stop()

    async def _talk(self, session: Session) -> None:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[Shot] = asyncio.Queue(1)

        def newest(shot: Shot) -> None:
            if waiting.full():
                waiting.get_nowait()  # a browser that is slow gets fewer pictures, not older ones
            waiting.put_nowait(shot)

        def show(shot: Shot) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(newest, shot)

        async def send() -> None:
            while await session.send((await waiting.get()).packed()):
                pass

        live = await asyncio.to_thread(self._begin, show, self.measured)
        sending = asyncio.create_task(send())
        try:
            await session.send(json.dumps(self._about))
            async for message in session.messages():
                if isinstance(message, bytes):
                    live.hear(message)
                elif not await _wished(live, message, session, self.measured):
                    await session.close(1003, "this message is not understood")
        finally:
            sending.cancel()
            await asyncio.to_thread(live.close)


async def _wished(live: Live, message: str, session: Session, measured: Figures) -> bool:
    """Does what a message asks for; whether it was understood."""
    try:
        wish = json.loads(message)
        if "size" in wish:
            live.resize(int(wish["size"]))
        if wish.get("settle"):
            live.settle()
        if wish.get("figures"):
            await session.send(json.dumps({"figures": measured.told()}))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return False
    return True


def _pages() -> dict[str, Page]:
    web = resources.files("avatar3d.viewer") / "web"
    return {path: Page(kind, (web / name).read_bytes()) for path, (name, kind) in _FILES.items()}
