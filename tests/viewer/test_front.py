# SPDX-License-Identifier: Apache-2.0
"""The door of a window: what must not come in is refused and told why, and the next visitor is served all the same."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from avatar3d.errors import InputError
from avatar3d.viewer.front import Front, Page, Session
from avatar3d.viewer.rules import Allowance, Limits, Rules, is_local

pytest.importorskip("websockets", reason="needs websockets: pip install 'avatar3d[view]'")

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

PAGES = {"/": Page("text/html", b"<p>hello"), "/live.js": Page("text/javascript", b"1")}
LIMITS = Limits(message_bytes=1000, messages_per_s=1.0, burst=5, sessions=2)
LONG_S = 20.0
TOKEN = "a-token"


async def echo(session: Session) -> None:
    async for message in session.messages():
        await session.send(message)


@pytest.fixture
def front() -> Iterator[Front]:
    with Front(PAGES, echo, port=0, limits=LIMITS) as running:
        yield running


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """As if it were listened on beyond this machine."""
    monkeypatch.setattr("avatar3d.viewer.front.is_local", lambda _: False)
    monkeypatch.setattr("avatar3d.viewer.front.secrets.token_urlsafe", lambda _: TOKEN)
    with Front(PAGES, echo, port=0, limits=LIMITS) as running:
        yield running


def got(front: Front, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(front.host, front.port, timeout=LONG_S)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}


@contextmanager
def spoken(front: Front, origin: str | None = "", path: str = "/", **headers: str) -> Iterator[ClientConnection]:
    """A WebSocket; the origin is the window's own unless named."""
    own = f"http://{front.host}:{front.port}"
    url = f"ws://{front.host}:{front.port}{path}"
    asked: dict[str, Any] = {"additional_headers": headers, "open_timeout": LONG_S, "close_timeout": LONG_S}
    with connect(url, origin=own if origin == "" else origin, proxy=None, **asked) as connection:  # type: ignore[arg-type]
        yield connection


def still_serves(front: Front) -> bool:
    with spoken(front) as connection:
        connection.send("anyone there?")
        return got(front, "/")[0] == 200 and connection.recv(LONG_S) == "anyone there?"


def test_pages_come_from_the_table_with_a_policy_that_keeps_them_to_themselves(front: Front) -> None:
    status, body, headers = got(front, "/")
    assert (status, body, headers["content-type"]) == (200, b"<p>hello", "text/html")
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"https?:", headers["content-security-policy"])


@pytest.mark.parametrize(
    "path",
    ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..\\..\\boot.ini", "//etc/passwd", "/./live.js", "/live.js/",
     "/live.js%00.html", "/" + "a" * 3000, "file:///etc/passwd"],
)  # fmt: skip
def test_no_path_leads_anywhere_but_to_the_table(front: Front, path: str) -> None:
    assert got(front, path)[:2] == (404, b"there is no such page\n")
    assert still_serves(front)


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null", None])
def test_a_websocket_of_another_origin_is_refused(front: Front, origin: str | None) -> None:
    with pytest.raises(InvalidStatus) as refused, spoken(front, origin):
        pass
    assert refused.value.response.status_code == 403
    assert still_serves(front)


def test_a_name_that_was_pointed_here_is_refused(front: Front) -> None:
    """DNS rebinding: both Host and Origin are the attacker's."""
    name = f"evil.example:{front.port}"
    assert got(front, "/", Host=name)[0] == 403
    request = (
        f"GET / HTTP/1.1\r\nHost: {name}\r\nOrigin: http://{name}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection((front.host, front.port), LONG_S) as raw:
        raw.sendall(request.encode())
        assert b" 403 " in raw.recv(100)
    assert still_serves(front)


def test_this_machine_needs_no_token_and_others_do(front: Front, guarded: Front) -> None:
    assert front.token is None and "token" not in front.url
    assert guarded.url.endswith(f"/?token={TOKEN}")
    assert [is_local(host) for host in ("127.0.0.1", "127.3.4.5", "::1", "localhost")] == [True] * 4
    assert [is_local(host) for host in ("0.0.0.0", "::", "192.168.1.7", "a.example")] == [False] * 4


@pytest.mark.parametrize("path", ["/", "/?token=", "/?token=wrong", "/?token=a-toke", "/live.js", "/?tok%65n=%c3%a4"])
def test_without_the_token_nothing_is_seen(guarded: Front, path: str) -> None:
    assert got(guarded, path)[0] == 403
    with pytest.raises(InvalidStatus) as refused, spoken(guarded, path=path):
        pass
    assert refused.value.response.status_code == 403
    assert got(guarded, "/", Cookie=f"avatar3d_{guarded.port}={TOKEN}")[0] == 200


def test_the_token_moves_from_the_address_into_a_cookie(guarded: Front) -> None:
    status, _, headers = got(guarded, f"/?token={TOKEN}")
    assert (status, headers["location"]) == (303, "/")
    cookie, *rest = headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict"} <= set(rest)
    assert got(guarded, "/", Cookie=f"other=1; {cookie}")[0] == 200
    with spoken(guarded, Cookie=cookie) as connection:
        connection.send("in")
        assert connection.recv(LONG_S) == "in"
    with pytest.raises(InvalidStatus), spoken(guarded, "http://evil.example", Cookie=cookie):
        pass
    assert got(guarded, "/", Cookie=f"avatar3d_{guarded.port}=wrong")[0] == 403
    assert got(guarded, "/", Cookie=f'avatar3d_{guarded.port}="\\x')[0] == 403


def closed(connection: ClientConnection, speak: Callable[[], None]) -> int | None:
    """The code with which a conversation ends after `speak`."""
    with pytest.raises(ConnectionClosed) as end:
        speak()
        while True:
            connection.recv(LONG_S)
    return end.value.rcvd and end.value.rcvd.code


def test_a_message_that_is_too_large_ends_its_own_conversation_only(front: Front) -> None:
    with spoken(front) as other, spoken(front) as connection:
        assert closed(connection, lambda: connection.send(b"x" * (LIMITS.message_bytes + 1))) == 1009
        other.send("still here")
        assert other.recv(LONG_S) == "still here"
    assert still_serves(front)


def test_too_many_messages_end_their_own_conversation_only(front: Front) -> None:
    with spoken(front) as connection:
        assert closed(connection, lambda: [connection.send("x") for _ in range(LIMITS.burst + 5)] and None) == 1008
    assert still_serves(front)


def test_messages_may_come_again_after_a_while() -> None:
    allowance = Allowance(Limits(messages_per_s=10.0, burst=3), 0.0)
    assert [allowance.spent(0.0) for _ in range(4)] == [False, False, False, True]
    allowance = Allowance(Limits(messages_per_s=10.0, burst=3), 0.0)
    assert not any(allowance.spent(number / 10) for number in range(100))
    assert [allowance.spent(100.0) for _ in range(4)] == [False, False, False, True]


def test_only_so_many_browsers_at_once(front: Front) -> None:
    with spoken(front) as first, spoken(front) as second:
        for connection in (first, second):
            connection.send("x")
            connection.recv(LONG_S)
        with spoken(front) as third:
            assert closed(third, lambda: None) == 1013
        first.send("y")
        assert first.recv(LONG_S) == "y"
    assert still_serves(front)


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01\x02\x00\x01\x00", b"POST / HTTP/1.1\r\n\r\n", b"GET /" + b"a" * 20_000, b"\r\n\r\n"]
)
def test_noise_is_answered_with_silence_or_an_error(front: Front, noise: bytes) -> None:
    with socket.create_connection((front.host, front.port), LONG_S) as raw:
        raw.sendall(noise)
        raw.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            assert b"200 OK" not in raw.recv(1000)
    assert still_serves(front)


def test_a_port_in_use_is_said_with_a_remedy_and_otherwise_the_next_is_taken(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=rf"--port {front.port}: cannot be listened on .*; give another --port"):
        Front(PAGES, echo, port=front.port)
    monkeypatch.setattr("avatar3d.viewer.front._FIRST_PORT", front.port)
    with Front(PAGES, echo) as beside:
        assert beside.port > front.port
        assert still_serves(beside)
    with pytest.raises(InputError, match="--port 99999"):
        Front(PAGES, echo, port=99999)


def test_stopping_takes_leave_and_frees_the_port() -> None:
    front = Front(PAGES, echo, port=0)
    front.start()
    with spoken(front) as connection:
        connection.send("x")
        connection.recv(LONG_S)
        stopper = threading.Thread(target=front.stop)
        stopper.start()
        assert closed(connection, lambda: None) == 1001
        stopper.join(LONG_S)
    assert not front._thread.is_alive() and front.sessions == 0
    with Front(PAGES, echo, port=front.port) as again:
        assert still_serves(again)


def test_the_host_must_be_one_of_ours_for_other_addresses_too() -> None:
    rules = Rules("::1", 80, None)
    assert rules.verdict("/", {"host": "[::1]"}, False).refused is None
    assert rules.verdict("/", {"host": "localhost:80"}, False).refused is None
    assert rules.verdict("/", {}, False).refused is not None
