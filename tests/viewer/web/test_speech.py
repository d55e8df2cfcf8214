# SPDX-License-Identifier: Apache-2.0
"""The page hears as Python does, says what is dropped on it, and listens to a microphone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import people
import pytest
from sights import Site, message, shot

from avatar3d.avatars import Avatar
from avatar3d.records import SAMPLE_RATE, Sound

PATIENCE_MS = 40_000
CLOSE = 1e-4  # what the page may differ from Python by
_HEAR = """async ([site, samples, block]) => {
  const { LiveMel } = await import(site + "mel.js");
  const mel = new LiveMel(32, -20), rows = [], all = Float32Array.from(samples);
  for (let at = 0; at < all.length; at += block) rows.push(...mel.push(all.subarray(at, at + block)));
  return [...rows, ...mel.finish()].map((made) => [...made.row, ...made.loudness_db, ...made.harmonicity]);
}"""


@pytest.fixture
def workshop(visit: Callable[..., Any], modules: Site) -> Any:
    """A page that may import the player's modules."""
    return visit(f"{modules.address}shaders.js", wait=False)


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """A voice that begins and ends, in a little noise."""
    sound = people.tone(2.0, SAMPLE_RATE).samples
    return (sound + 0.002 * np.random.default_rng(0).standard_normal(len(sound))).astype(np.float32)


def test_rows_of_sound_do_not_depend_on_the_blocks_they_come_in(
    workshop: Any, modules: Site, samples: np.ndarray
) -> None:
    one, other = (workshop.evaluate(_HEAR, [modules.address, samples.tolist(), block]) for block in (128, len(samples)))
    assert one == other and len(one) == 50


def test_the_network_and_the_manner_are_pythons(page: Any, made: Avatar, modules: Site) -> None:
    voice = made.voice
    assert voice is not None
    rows = np.random.default_rng(1).standard_normal((40, people.Mel().width)).astype(np.float32)
    gate = np.linspace(0, 1, len(rows), dtype=np.float32)
    said, kept = page.evaluate(
        """async ([rows, gate]) => {
          const { network, manner } = await avatarPlayer.voice;
          const scaled = rows.map((row) => network.normalised(Float32Array.from(row)));
          const said = scaled.map((_, frame) => network.at(scaled, frame));
          return [said.map((one) => [...one]), said.map((one, i) => [...manner.kept(one, gate[i])])];
        }""",
        [rows.tolist(), gate.tolist()],
    )
    expected = voice.net.say(rows).mean(1)
    np.testing.assert_allclose(said, expected, atol=CLOSE)
    np.testing.assert_allclose(kept, voice.manner.kept_to(expected, gate), atol=CLOSE)
    assert np.abs(expected).max() > 0.5


_SAY = """async ([site, config, tensors, samples, rate]) => {
  const { Hearing, openVoice } = await import(site + "hearing.js");
  const arrays = Object.entries(tensors).map(([name, one]) => [name, { ...one, data: Float32Array.from(one.data) }]);
  const found = Object.fromEntries(arrays);
  const voice = await openVoice({ part: "tcn_live", config, listen: "mel_live", tensors: async () => found });
  const hearing = new Hearing(voice, rate), all = Float32Array.from(samples), said = [];
  for (let at = 0; at < all.length; at += 1000) said.push(...hearing.push(all.subarray(at, at + 1000)));
  return [...said, ...hearing.finish()].map((one) => [...one]);
}"""


def test_rows_are_the_causal_features_own(workshop: Any, modules: Site, samples: np.ndarray) -> None:
    mel_live = pytest.importorskip("avatar3d.audio.mel_live", reason="needs the causal audio feature")
    rows = mel_live.MelLive()(Sound(samples, SAMPLE_RATE))
    found = np.array(workshop.evaluate(_HEAR, [modules.address, samples.tolist(), 1000]))
    np.testing.assert_allclose(found[:, : rows.shape[1]], rows, atol=CLOSE)


def test_a_live_voice_says_in_the_page_what_it_says_in_python(
    workshop: Any, modules: Site, samples: np.ndarray
) -> None:
    tcn_live = pytest.importorskip("avatar3d.motion.tcn_live", reason="needs the voice for speech still coming")
    mel_live = pytest.importorskip("avatar3d.audio.mel_live", reason="needs the causal audio feature")
    plain = people.voice(ahead=2)
    voice = tcn_live.TcnLive(mel_live.MelLive(), plain.net, plain.manner)
    motion = voice(Sound(samples, SAMPLE_RATE))
    lids = motion.blink.mean(1, keepdims=True) - voice.manner.usual_lids  # the page shuts them when it draws
    tensors = {name: {"shape": [*t.shape], "data": t.flatten().tolist()} for name, t in voice.tensors().items()}
    said = workshop.evaluate(_SAY, [modules.address, voice.config(), tensors, samples.tolist(), SAMPLE_RATE])
    np.testing.assert_allclose(said, motion.expression - lids * voice.manner.closing, atol=CLOSE)


def test_sound_is_resampled_without_echoes_of_high_notes(workshop: Any, modules: Site) -> None:
    t = np.arange(48_000) / 48_000
    low, high = np.sin(2 * np.pi * 440 * t), np.sin(2 * np.pi * 11_000 * t)
    resample = """async ([site, samples]) => {
      const { Resampler } = await import(site + "resampling.js");
      const tool = new Resampler(48000, 16000), all = Float32Array.from(samples), out = [];
      for (let at = 0; at < all.length; at += 128) out.push(...tool.push(all.subarray(at, at + 128)));
      return [...out, ...tool.finish()];
    }"""
    kept, gone = (np.array(workshop.evaluate(resample, [modules.address, wave.tolist()])) for wave in (low, high))
    assert abs(len(kept) - 16_000) <= 1
    inner = slice(200, -200)
    expected = np.sin(2 * np.pi * 440 * np.arange(len(kept)) / 16_000)
    np.testing.assert_allclose(kept[inner], expected[inner], atol=2e-3)
    assert np.abs(gone[inner]).max() < 2e-3


def test_a_dropped_sound_is_said_and_the_mouth_closes_behind_it(page: Any, made: Avatar, speech: Path) -> None:
    page.evaluate(
        """async (bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([Uint8Array.from(bytes)], "tone.wav", { type: "audio/wav" }));
          document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
        }""",
        [*speech.read_bytes()],
    )
    page.wait_for_function("() => avatarPlayer.playback?.playing && avatarPlayer.playback.seconds > 3.15")
    shot(page, "dropped_sound")
    said = page.evaluate(
        """async () => {
          const { playback } = avatarPlayer;
          playback.pause();
          const at = async (s) => { await playback.seek(s); return [...avatarPlayer.script(0).expression]; };
          return [await at(0.5), await at(3.15)];
        }"""
    )
    closed = made.voice.manner.closed  # type: ignore[union-attr]
    assert np.abs(np.array(said[0]) - closed).max() > 0.5
    np.testing.assert_allclose(said[1], closed, atol=CLOSE)


def test_a_file_without_sound_is_refused(page: Any, tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(b"RIFF nothing")
    page.set_input_files("#file", tmp_path / "noise.wav")
    page.wait_for_function("() => document.getElementById('message').textContent.includes('holds no sound')")


@pytest.fixture(scope="module")
def with_microphone(launch: Callable[..., Any], speech: Path) -> Any:
    """A browser whose microphone hears a file."""
    browser = launch(
        "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={speech}",
    )  # fmt: skip
    yield browser
    browser.close()


@pytest.mark.parametrize("from_disk", [False, True])
def test_the_microphone_moves_the_mouth(
    with_microphone: Any, site: Site, folder: Path, made: Avatar, tmp_path: Path, from_disk: bool
) -> None:
    from avatar3d.viewer.page import write_single_page

    write_single_page(tmp_path / "me.html", folder)
    context = with_microphone.new_context(reduced_motion="reduce")
    asked: list[str] = []
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto((tmp_path / "me.html").as_uri() + "?size=64" if from_disk else site.address + "?size=64")
    page.evaluate("() => avatarPlayer.ready")
    page.evaluate("() => avatarPlayer.voice")
    context.on("request", lambda request: asked.append(request.url))
    page.click("#microphone")
    page.wait_for_function("() => avatarPlayer.live?.rows() > 25")
    assert page.get_attribute("#microphone", "aria-pressed") == "true"
    seen = page.evaluate(
        """async () => {
          const seen = [], { live } = avatarPlayer, end = live.rows() + 90;
          while (live.rows() < end) {
            seen.push([...live.script().expression]);
            await new Promise((done) => setTimeout(done, 20));
          }
          return seen;
        }"""
    )
    away = np.abs(np.array(seen) - made.voice.manner.closed).max(1)  # type: ignore[union-attr]
    assert away.max() > 0.5 and away.min() < 0.05  # it speaks, and it is silent
    assert "Nothing is recorded or sent" in message(page)
    shot(page, "microphone")
    page.dispatch_event("#microphone", "click")
    page.wait_for_function("() => avatarPlayer.live === null")
    assert not [url for url in asked if not url.startswith("data:")]
    context.close()


def test_a_blocked_microphone_is_said_in_words(launch: Callable[..., Any], site: Site) -> None:
    browser = launch("--use-fake-device-for-media-stream", "--deny-permission-prompts")
    page = browser.new_page()
    page.goto(f"{site.address}?size=64")
    page.evaluate("() => avatarPlayer.ready")
    page.click("#microphone")
    page.wait_for_function("() => document.getElementById('message').textContent.includes('blocked')")
    assert page.get_attribute("#microphone", "aria-pressed") == "false" and page.is_hidden("#trouble")
    shot(page, "microphone_blocked")
    browser.close()


def test_an_avatar_without_a_voice_says_so(
    visit: Callable[..., Any], serve: Callable[[Path], Site], folder: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "mute")
    about = json.loads((tmp_path / "mute" / "avatar.json").read_text())
    about["voice"] = None
    (tmp_path / "mute" / "avatar.json").write_text(json.dumps(about))
    page = visit(serve(tmp_path / "mute").address)
    page.click("#microphone")
    page.wait_for_function("() => document.getElementById('message').textContent.includes('has no voice')")
