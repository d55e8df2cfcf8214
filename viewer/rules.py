# SPDX-License-Identifier: Apache-2.0
"""Who may speak with a window, and how much: decided from the head of a request alone.

A page that somebody else wrote can make a browser send requests to this machine. So a window listens on this machine
only, unless it is told otherwise; a request must name it by an address that is its own (else a name could be pointed
here), and a WebSocket must come from its own page. Beyond this machine a random token is asked for as well: in the
address that is printed, from then on in a cookie that scripts cannot read.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

__all__ = ["USUAL", "Allowance", "Limits", "Rules", "Verdict", "is_local"]

_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Limits:
    """How much one window bears."""

    message_bytes: int = 1 << 20  # of one message from a browser
    messages_per_s: float = 200.0  # of one browser, in the long run
    burst: int = 400  # messages that may come at once
    sessions: int = 4  # browsers at the same time


USUAL = Limits()


@dataclass(frozen=True)
class Verdict:
    """What becomes of a request."""

    path: str  # without what stands behind "?"
    refused: HTTPStatus | None = None
    why: str = ""
    cookie: str | None = None  # to be set, and the address asked for again without the token


class Rules:
    """What a request must bring.

    Args:
        host: the address that is listened on.
        token: what must be known beyond this machine; None: nothing.
    """

    def __init__(self, host: str, port: int, token: str | None) -> None:
        self._token, self._cookie = token, f"avatar3d_{port}"
        named = f"[{host}]" if ":" in host else host
        self._hosts = {f"{name}:{port}" for name in (*_LOCAL_NAMES, named)}
        if port == 80:
            self._hosts |= {host.rpartition(":")[0] for host in self._hosts}

    def verdict(self, target: str, headers: Mapping[str, str], upgrade: bool) -> Verdict:
        """Whether a request is heard.

        Args:
            target: the path of its first line, with what stands behind "?".
            headers: by name in small letters.
            upgrade: it wants to become a WebSocket.
        """
        path, _, query = target.partition("?")
        host, origin = headers.get("host", ""), headers.get("origin")
        # whoever knows the token was told the address by us, whatever it is called out there
        if self._token is None and host.lower() not in self._hosts:
            return Verdict(path, HTTPStatus.FORBIDDEN, "this address is not this window's")
        if upgrade and (origin is None or urlsplit(origin).netloc.lower() != host.lower()):
            return Verdict(path, HTTPStatus.FORBIDDEN, "a WebSocket must come from this window's own page")
        if self._token is None or self._knows(self._given(headers)):
            return Verdict(path)
        if not self._knows(parse_qs(query).get("token", [""])[0]):
            return Verdict(path, HTTPStatus.FORBIDDEN, "open the address with the token that avatar3d has printed")
        return Verdict(path, cookie=None if upgrade else f"{self._cookie}={self._token}; HttpOnly; SameSite=Strict")

    def _knows(self, word: str) -> bool:
        assert self._token is not None
        return secrets.compare_digest(word.encode(), self._token.encode())

    def _given(self, headers: Mapping[str, str]) -> str:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return ""
        return "" if found is None else found.value


def is_local(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Allowance:
    """So many messages may come, and so many more with every second (a token bucket)."""

    def __init__(self, limits: Limits, now_s: float) -> None:
        self._limits, self._left, self._then_s = limits, float(limits.burst), now_s

    def spent(self, now_s: float) -> bool:
        """Counts one message; whether it is one too many."""
        grown = (now_s - self._then_s) * self._limits.messages_per_s
        self._left = min(self._left + grown, self._limits.burst) - 1
        self._then_s = now_s
        return self._left < 0
