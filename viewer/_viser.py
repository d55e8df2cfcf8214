# SPDX-License-Identifier: Apache-2.0
"""viser, the toolkit of the training window, behind our own door.

viser itself checks neither origins nor tokens, and offers to publish a window through its makers' server. So it listens
on a loopback address that nobody can guess, publishes nothing, and a browser reaches it through `front.Front` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avatar3d.errors import InputError
from avatar3d.viewer.front import LOCAL, Page, Session, Talk

if TYPE_CHECKING:
    import viser

__all__ = ["PROTOCOL", "client_pages", "hidden_server", "relay"]

PROTOCOL = "viser-v"  # by which its browser side says its version


def hidden_server(title: str) -> viser.ViserServer:
    """A viser server that this process alone knows of.

    Raises:
        InputError: viser is not installed.
    """
    try:
        import viser
    except ImportError as error:
        raise InputError(
            "the window needs viser, which is not installed", "run: pip install 'avatar3d[view]'"
        ) from error

    class Hidden(viser.ViserServer):
        def request_share_url(self, verbose: bool = True) -> str | None:  # noqa: ARG002
            """A browser can ask for this: it would open the window to the world through another server."""
            return None

        def stop(self) -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                super().stop()

    with contextlib.redirect_stdout(io.StringIO()):  # it greets on stdout, which belongs to results
        return Hidden(host=_unguessable(), port=0, label=title, verbose=False)


def client_pages() -> dict[str, Page]:
    """The browser side of viser: one page, which holds everything."""
    import viser

    body = (Path(viser.__file__).parent / "client" / "build" / "index.html").read_bytes()
    return {"/": Page("text/html; charset=utf-8", body)}


def relay(server: viser.ViserServer) -> Talk:
    """Speaks with a browser by passing on what it and the server say to one another."""
    url = f"ws://{server.get_host()}:{server.get_port()}"

    async def talk(session: Session) -> None:
        from websockets.asyncio.client import connect

        offered: Any = [session.protocol] if session.protocol else None
        async with connect(url, subprotocols=offered, max_size=None, compression=None, proxy=None) as inner:

            async def outwards() -> None:
                async for message in inner:
                    if not await session.send(message):
                        return
                await session.close()

            passing = asyncio.create_task(outwards())
            try:
                async for message in session.messages():
                    await inner.send(message)
            finally:
                passing.cancel()

    return talk


def _unguessable() -> str:
    """One of 16 million loopback addresses, where a machine has them all (Linux, Windows), else the usual one."""
    host = "127." + ".".join(str(1 + secrets.randbelow(253)) for _ in range(3))
    with socket.socket() as trial:
        try:
            trial.bind((host, 0))
        except OSError:
            return LOCAL
    return host
