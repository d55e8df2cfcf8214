# SPDX-License-Identifier: Apache-2.0
"""What goes out of the page and into it while it plays: a film, a streamed face, words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from sights import Site, message, picture, shot


def test_a_film_of_what_is_seen_and_heard(page: Any, tmp_path: Path) -> None:
    page.click("#record")
    page.click("#play")
    page.wait_for_function("() => avatarPlayer.playback.time > 1")
    assert page.get_attribute("#record", "aria-pressed") == "true"
    with page.expect_download() as download:
        page.click("#record")
    download.value.save_as(tmp_path / "film.webm")
    with av.open(str(tmp_path / "film.webm")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    with av.open(str(tmp_path / "film.webm")) as film:
        heard = np.concatenate([frame.to_ndarray().ravel() for frame in film.decode(audio=0)])
    assert len(frames) > 5 and np.abs(frames[0].astype(float) - frames[-1]).max() > 20
    assert np.abs(heard).max() > 0.05
    assert "Saved" in message(page)
    shot(page, "recorded")


def test_a_streamed_face_is_followed_until_it_ends(page: Any) -> None:
    rest = picture(page)
    sockets: list[Any] = []
    page.route_web_socket("ws://localhost:8765", lambda socket: sockets.append(socket))
    page.click("#connect")
    page.wait_for_function("() => document.getElementById('connect').getAttribute('aria-pressed') === 'true'")
    sockets[0].send(json.dumps({"names": ["jawOpen", "MouthSmileLeft"], "values": [0.9, 0.5], "head": [0.2, 0, 0]}))
    page.wait_for_function("() => avatarPlayer.actor.script().scores.mouthSmileLeft === 0.5")
    smiling = picture(page)
    assert np.abs(smiling - rest).max() > 0.1
    sockets[0].send("no json")
    sockets[0].send(json.dumps({"values": [0.1, 0.0]}))  # names were said before
    page.wait_for_function("() => avatarPlayer.actor.script().scores.jawOpen === 0.1")
    assert page.evaluate("() => avatarPlayer.actor.script().turn") == [0, 0, 0]
    shot(page, "streamed")
    sockets[0].close()
    page.wait_for_function("() => document.getElementById('connect').getAttribute('aria-pressed') === 'false'")
    assert "has ended" in message(page)


@pytest.mark.parametrize("message_", [{"names": ["jawOpen"], "values": [1, 2]}, {"names": 3, "values": [1]}, [], None])
def test_messages_that_say_nothing_change_nothing(visit: Callable[..., Any], modules: Site, message_: object) -> None:
    page = visit(f"{modules.address}shaders.js", wait=False)
    read = """async ([site, text]) => {
      const { scoresFromMessage } = await import(site + "arkit.js");
      try { return scoresFromMessage(JSON.parse(text), []); } catch { return null; }
    }"""
    assert page.evaluate(read, [modules.address, json.dumps(message_)]) is None


def test_live_link_faces_own_names_turn_the_head(visit: Callable[..., Any], modules: Site) -> None:
    page = visit(f"{modules.address}shaders.js", wait=False)
    told = page.evaluate(
        """async ([site, told]) => (await import(site + "arkit.js")).scoresFromMessage(told, [])""",
        [modules.address, {"names": ["JawOpen", "HeadYaw", "HeadPitch"], "values": [0.4, 0.3, float(-1)]}],
    )
    assert told["scores"]["jawOpen"] == 0.4 and told["turn"] == [0.3, -1, 0]


def test_nothing_answers(page: Any) -> None:
    page.fill("#address", "ws://127.0.0.1:59999")
    page.click("#connect")
    page.wait_for_function("() => document.getElementById('message').textContent.includes('Nothing answers')")
    page.fill("#address", "no address at all")
    page.click("#connect")
    page.wait_for_function("() => document.getElementById('message').textContent.includes('no address of a WebSocket')")
    assert page.get_attribute("#connect", "aria-pressed") == "false"


def test_words_are_said_where_the_host_offers_speech(browser: Any, site: Site, speech: Path) -> None:
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.add_init_script(
        f"""window.avatarSpeech = async (words) => {{
          window.asked = words;
          return Uint8Array.from({[*speech.read_bytes()]}).buffer;
        }}"""
    )
    page.goto(f"{site.address}?size=64")
    page.evaluate("() => avatarPlayer.ready")
    page.fill("#words", "good morning")
    page.click("#say")
    page.wait_for_function("() => avatarPlayer.playback?.playing && avatarPlayer.actor.script?.().expression")
    assert page.evaluate("() => window.asked") == "good morning"
    context.close()
