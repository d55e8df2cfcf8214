# SPDX-License-Identifier: Apache-2.0
"""A real browser for tests, steered through its DevTools socket: open a page, ask it things, look at it."""

from __future__ import annotations

import base64
import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

CHROMIUM = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--enable-unsafe-swiftshader", "--remote-debugging-port=0",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
)  # fmt: skip


class Tab:
    """One page. `asked` are the addresses that it has requested."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **about: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": about}))
        while True:
            message = json.loads(self._socket.recv(60))
            if message.get("id") == number:
                assert "error" not in message, message
                return cast(dict[str, Any], message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        about = message.get("params", {})
        if message["method"] == "Network.requestWillBeSent":
            self.asked.append(about["request"]["url"])
        elif message["method"] == "Network.webSocketCreated":
            self.asked.append(about["url"])
        elif message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(about)[:500])
        elif message["method"] == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.complaints.append(about["entry"]["text"])

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """The value of a script, awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, script: str, within_s: float = 60.0) -> Any:
        """The script's value as soon as it is true."""
        end_s = time.monotonic() + within_s
        while not (value := self.evaluate(script)):
            assert time.monotonic() < end_s, (script, self.complaints)
            time.sleep(0.1)
        return value

    def shot(self, path: Path) -> None:
        """A picture of what is seen."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def browser(profile: Path, width: int = 1280, height: int = 720, *flags: str) -> Iterator[Tab]:
    """Chromium with one empty page, and a fake camera and microphone."""
    from websockets.sync.client import connect

    assert CHROMIUM is not None
    words = [CHROMIUM, *_FLAGS, *flags, f"--window-size={width},{height}", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        port = _port(cast(IO[str], process.stderr))
        with connect(_page(port), max_size=None, proxy=None) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        process.wait(20)
        cast(IO[str], process.stderr).close()


def _port(lines: IO[str]) -> int:
    for line in lines:
        if found := re.search(r"DevTools listening on ws://127.0.0.1:(\d+)", line):
            return int(found[1])
    raise AssertionError("the browser did not start")


def _page(port: int) -> str:
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(100):
        with opener.open(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [page for page in json.load(answer) if page["type"] == "page"]
        if pages:
            return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise AssertionError("the browser has no page")
