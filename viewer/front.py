# SPDX-License-Identifier: Apache-2.0
"""The one door of a window: pages from a fixed table, and WebSockets, for whoever keeps the rules.

A request is answered from the table or not at all, so no path reaches the file system. Everything else that could be
asked too much of us is bounded here too: the size of a message, how many come, how many browsers at once.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from avatar3d.errors import InputError
from avatar3d.viewer.rules import USUAL, Allowance, Limits, Rules, is_local

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response
    from websockets.typing import Subprotocol

__all__ = ["Front", "Page", "Session", "Talk"]

LOCAL = "127.0.0.1"
_FIRST_PORT, _PORTS = 8080, 20
_TOO_MANY, _BROKEN_RULE = 1013, 1008
_START_S = 10.0
# pages load nothing but what we serve, and nobody may show them in a frame
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob: ws: wss:; frame-ancestors 'none'; form-action 'none'; base-uri 'none'"
)


@dataclass(frozen=True)
class Page:
    """What stands under a path."""

    kind: str  # its content type
    body: bytes


class Session:
    """A browser that is being spoken with."""

    def __init__(self, connection: ServerConnection, limits: Limits) -> None:
        self._connection, self._limits = connection, limits

    @property
    def protocol(self) -> str | None:
        """The WebSocket's subprotocol, if the browser asked for one."""
        return self._connection.subprotocol

    async def messages(self) -> AsyncIterator[str | bytes]:
        """What the browser says, until it goes; one that says too much is sent away."""
        from websockets.exceptions import ConnectionClosed

        allowance = Allowance(self._limits, time.monotonic())
        try:
            async for message in self._connection:
                if allowance.spent(time.monotonic()):
                    await self.close(_BROKEN_RULE, "too many messages")
                    return
                yield message
        except ConnectionClosed:
            return  # too large a message ends here too: websockets has told the browser so

    async def send(self, message: str | bytes) -> bool:
        """False where the browser has gone."""
        from websockets.exceptions import ConnectionClosed

        try:
            await self._connection.send(message)
        except ConnectionClosed:
            return False
        return True

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Ends the conversation."""
        await self._connection.close(code, reason)


Talk = Callable[[Session], Awaitable[None]]


class Front:
    """Serves in a thread of its own between `start` and `stop`, or within a `with` block.

    Args:
        pages: by path; every other path is not found.
        talk: speaks with one browser, until it returns.
        host: what to listen on; beyond this machine a token is made and asked for.
        port: None: the first free one from 8080 on.
        protocol: of the subprotocols that a browser offers, the first that begins so is taken.
    """

    def __init__(
        self,
        pages: Mapping[str, Page],
        talk: Talk,
        host: str = LOCAL,
        port: int | None = None,
        limits: Limits = USUAL,
        protocol: str | None = None,
    ) -> None:
        self._pages, self._talk, self._limits, self._protocol = dict(pages), talk, limits, protocol
        self._socket = _listening(host, port)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self.token = None if is_local(host) else secrets.token_urlsafe(24)
        self._rules = Rules(host, self.port, self.token)
        self._sessions = 0
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="front", daemon=True)

    @property
    def url(self) -> str:
        """The address to open, with its token."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        if self.host in ("0.0.0.0", "::"):
            shown = socket.gethostname()
        return f"http://{shown}:{self.port}/" + ("" if self.token is None else f"?token={self.token}")

    @property
    def sessions(self) -> int:
        """Browsers that are being spoken with."""
        return self._sessions

    def __enter__(self) -> Front:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once requests are answered."""
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise RuntimeError("the window's server did not start")

    def stop(self) -> None:
        """Takes leave of every browser and frees the port."""
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.is_alive():
            self._thread.join(_START_S)
        self._socket.close()

    async def _serve(self) -> None:
        from websockets.asyncio.server import serve

        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        async with serve(
            self._spoken_with,
            sock=self._socket,
            process_request=self._answered,
            select_subprotocol=self._chosen,
            max_size=self._limits.message_bytes,
            compression=None,  # pictures and sound do not shrink, and time counts
            server_header=None,
            logger=logging.Logger("quiet", logging.CRITICAL + 1),  # whoever knocks wrongly is no concern of the user's
        ):
            self._ready.set()
            await self._stopping.wait()

    def _answered(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer to a request; None where it may become a WebSocket."""
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        upgrade = headers.get("upgrade", "").lower() == "websocket"
        verdict = self._rules.verdict(request.path, headers, upgrade)
        if verdict.refused is not None:
            return connection.respond(verdict.refused, verdict.why + "\n")
        if upgrade:
            return None
        page = self._pages.get(verdict.path)
        if page is None:
            return connection.respond(HTTPStatus.NOT_FOUND, "there is no such page\n")
        if verdict.cookie is not None:
            answer = connection.respond(HTTPStatus.SEE_OTHER, "")
            answer.headers["Location"], answer.headers["Set-Cookie"] = verdict.path, verdict.cookie
        else:
            answer = connection.respond(HTTPStatus.OK, "")
            del answer.headers["Content-Length"], answer.headers["Content-Type"]
            answer.headers["Content-Length"], answer.headers["Content-Type"] = str(len(page.body)), page.kind
            answer.body = page.body
        for name, value in (
            ("Content-Security-Policy", _POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ):
            answer.headers[name] = value
        return answer

    def _chosen(self, _: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        if self._protocol is None:
            return None
        return next((name for name in offered if name.startswith(self._protocol)), None)

    async def _spoken_with(self, connection: ServerConnection) -> None:
        if self._sessions >= self._limits.sessions:
            await connection.close(_TOO_MANY, "too many windows are open")
            return
        self._sessions += 1
        try:
            await self._talk(Session(connection, self._limits))
        finally:
            self._sessions -= 1


def _listening(host: str, port: int | None) -> socket.socket:
    """A socket that listens; InputError where it cannot."""
    wanted = range(_FIRST_PORT, _FIRST_PORT + _PORTS) if port is None else (port,)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reason: OSError | None = None
    for number in wanted:
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, number))
            listening.listen()
            return listening
        except (OSError, OverflowError) as error:
            listening.close()
            reason = error if isinstance(error, OSError) else OSError(str(error))
    assert reason is not None
    named = f"--port {port}" if port is not None else f"ports {_FIRST_PORT} to {_FIRST_PORT + _PORTS - 1}"
    raise InputError(
        f"--host {host}, {named}: cannot be listened on ({reason.strerror or reason})",
        "give another --port, or leave it out for the first free one; --host takes an address of this machine",
    )
