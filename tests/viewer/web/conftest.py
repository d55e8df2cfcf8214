# SPDX-License-Identifier: Apache-2.0
"""One Chromium for all tests of the player, driven by Playwright, and a web server that writes down what is asked."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import people
import pytest
from sights import Site

from avatar3d.avatars import Avatar, save_avatar
from avatar3d.store import AvatarFolder, save_sound
from avatar3d.viewer.page import write_index, write_web_folder

CHROMIUM = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip
PATIENCE_MS = 20_000
FAKE_DEVICE = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="session")
def launch() -> Iterator[Callable[..., Any]]:
    """Starts Chromium with more flags."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium, or `make test-web`")
    with sync_api.sync_playwright() as tool:
        yield lambda *flags: tool.chromium.launch(executable_path=shutil.which(CHROMIUM), args=[*FLAGS, *flags])


@pytest.fixture(scope="session")
def browser(launch: Callable[..., Any]) -> Iterator[Any]:
    browser = launch(*FAKE_DEVICE)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def made() -> Avatar:
    return people.avatar()


@pytest.fixture(scope="session")
def folder(made: Avatar, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The avatar's folder with the player in it and a clip with sound."""
    path = tmp_path_factory.mktemp("made") / "me.avatar"
    save_avatar(path, made)
    AvatarFolder(path).add_clip("sample", made.clip, people.tone())
    write_index(path)
    return path


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], Site]]:
    """Puts a folder behind a web server on this machine."""
    servers = []

    def start(root: Path) -> Site:
        site = Site("")

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                site.asked.append(self.path)

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        site.address = f"http://127.0.0.1:{server.server_port}/"
        return site

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def site(serve: Callable[[Path], Site], folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    root = tmp_path_factory.mktemp("site") / "web"
    write_web_folder(root, folder)
    return serve(root)


@pytest.fixture(scope="session")
def modules(serve: Callable[[Path], Site]) -> Site:
    """The player's modules, one by one."""
    with resources.as_file(resources.files("avatar3d.viewer") / "web") as root:
        return serve(root)


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens an address in a context of its own; any error on the page fails the test."""
    contexts, wrong = [], []

    def open_(address: str, wait: bool = True, **context: Any) -> Any:
        context = {"reduced_motion": "reduce", "viewport": {"width": 1280, "height": 900}} | context
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        if wait:
            page.evaluate("() => avatarPlayer.ready")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture
def page(visit: Callable[..., Any], site: Site) -> Any:
    """The avatar's page, still, drawn at the trainer's size."""
    return visit(f"{site.address}?size={people.SIDE}")


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech") / "tone.wav"
    save_sound(path, people.tone(3.2))
    return path
