# SPDX-License-Identifier: Apache-2.0
"""The live window: sound and camera pictures in, pictures with the browser's own clock out, and nothing that harms."""

from __future__ import annotations

import io
import json
import math
import re
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import CHROMIUM, browser
from made_up import MadeUp, make
from PIL import Image as PillowImage
from scipy.spatial.transform import Rotation

from avatar3d.face.arkit import SCORES
from avatar3d.geometry import compose, invert, rotvec_from_quat
from avatar3d.records import FPS, Motion, Sound, frame_count
from avatar3d.render.native import Native
from avatar3d.viewer.live import Figures, Live, Shot, opened
from avatar3d.viewer.live_inputs import FRAME, Manner, Mirror, Recent, Streaming
from avatar3d.viewer.live_server import LiveWindow
from avatar3d.viewer.rules import Limits

pytest.importorskip("websockets", reason="needs websockets: pip install 'avatar3d[view]'")

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

LONG_S = 30.0

LIDS = np.linspace(0, 1, 14, dtype=np.float32).reshape(7, 2)


@pytest.fixture(scope="module")
def made(face_task: Path) -> MadeUp:
    return make(face_task)


class Loud:
    """A voice whose first expression is how loud each frame is."""

    listen = None

    def __call__(self, sound: Sound, seed: int = 0) -> Motion:
        frames = sound.samples[: frame_count(sound) * FRAME].reshape(-1, FRAME)
        expression = np.zeros((len(frames), 2), np.float32)
        expression[:, 0] = np.abs(frames).max(1)
        return _face(expression)


def _face(expression: np.ndarray) -> Motion:
    count = len(expression)
    heads = np.tile(np.array([1, 0, 0, 0, 0, 0, 5], np.float32), (count, 1))
    return Motion(expression, np.zeros((count, 2), np.float32), np.zeros((count, 4), np.float32), heads, FPS)


class Instant:
    """A streaming voice that is sure of every whole frame at once."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)

    def push(self, samples: np.ndarray) -> Motion:
        heard = np.concatenate([self._rest, samples])
        whole = len(heard) // FRAME * FRAME
        self._rest = heard[whole:]
        return Loud()(Sound(heard[:whole], 16_000))


@dataclass
class Looks:
    """What a detector finds: the canonical face, turned."""

    points: np.ndarray
    scores: np.ndarray


def looks(neutral: np.ndarray, yaw_deg: float = 0.0, **scores: float) -> Looks:
    turn = np.diag([1.0, -1.0, -1.0]) @ Rotation.from_euler("y", yaw_deg, degrees=True).as_matrix()
    points = 60 * neutral.astype(np.float64) @ turn.T + (128, 128, 0)
    every = np.zeros(52, np.float32)
    for name, score in scores.items():
        every[SCORES.index(name)] = score
    return Looks(np.concatenate([points, np.zeros((10, 3))]).astype(np.float32), every)


# sound


def test_a_voice_that_hears_the_last_seconds_gives_each_frame_once_and_in_order() -> None:
    loud = np.linspace(0.1, 1.0, 60, dtype=np.float32)
    samples = np.repeat(loud, FRAME)
    rng = np.random.default_rng(0)
    voice, said, at = Recent(Loud(), LIDS, heard_s=0.8, delay=3), [], 0
    while at < len(samples):
        size = int(rng.integers(1, 3 * FRAME))
        said += voice.push(samples[at : at + size]).expression[:, 0].tolist()
        at += size
    np.testing.assert_allclose(said, loud[: 60 - 3], rtol=1e-6)


def test_lids_go_on_from_piece_to_piece() -> None:
    voice = Recent(Loud(), LIDS, heard_s=0.4, delay=2)
    blinks = [voice.push(np.zeros(3 * FRAME, np.float32)).blink for _ in range(20)]
    np.testing.assert_array_equal(np.concatenate(blinks), LIDS[np.arange(58) % len(LIDS)])


def test_a_piece_longer_than_memory_gives_its_end() -> None:
    voice = Recent(Loud(), LIDS, heard_s=0.4, delay=2)
    voice.push(np.zeros(10 * FRAME, np.float32))
    loud = np.repeat(np.linspace(0.1, 1.0, 30, dtype=np.float32), FRAME)
    said = voice.push(loud).expression[:, 0]
    assert len(said) == 8
    np.testing.assert_allclose(said, np.linspace(0.1, 1.0, 30)[20:28], rtol=1e-5)


def test_heads_move_on_from_piece_to_piece_as_in_one(made: MadeUp) -> None:
    said = _face(np.zeros((30, 2), np.float32))
    whole = Manner(made.track.motion).laid_over(said)
    pieces = Manner(made.track.motion)
    parts = [pieces.laid_over(said[first : first + 5]) for first in range(0, 30, 5)]
    np.testing.assert_allclose(np.concatenate([part.head for part in parts]), whole.head, atol=1e-6)
    np.testing.assert_array_equal(whole.blink, said.blink)


# camera


def test_an_avatar_turns_as_far_as_the_face_before_the_camera(made: MadeUp) -> None:
    neutral = made.track.neutral
    faces = iter([looks(neutral, 10.0), looks(neutral, 25.0), None, looks(neutral, 25.0)])
    mirror = Mirror(lambda _: next(faces), neutral, made.track.motion, quick=1.0)
    picture = np.zeros((8, 8, 3), np.uint8)
    ahead, turned, lost = (mirror.motion(picture) for _ in range(3))
    assert ahead is not None and turned is not None and lost is turned
    between = compose(invert(torch.from_numpy(ahead.head)), torch.from_numpy(turned.head))
    np.testing.assert_allclose(rotvec_from_quat(between[:, :4])[0].rad2deg(), [0, 15, 0], atol=0.05)
    mirror.settle()
    again = mirror.motion(picture)
    assert again is not None
    np.testing.assert_allclose(again.head, ahead.head, atol=1e-4)


def test_scores_lids_and_eyes_are_those_that_are_seen(made: MadeUp) -> None:
    face = looks(made.track.neutral, jawOpen=0.5, eyeBlinkLeft=0.9, eyeLookDownLeft=0.4, eyeLookDownRight=0.4)
    seen = Mirror(lambda _: face, made.track.neutral, made.track.motion).motion(np.zeros((8, 8, 3), np.uint8))
    assert seen is not None and seen.basis == "arkit"
    np.testing.assert_array_equal(seen.expression[0], face.scores)
    np.testing.assert_allclose(seen.blink, [[0.0, 0.9]])
    assert (seen.gaze[0] > 0).tolist() == [False, True, False, True]


def test_a_face_moves_from_its_own_rest_as_far_as_the_other_does(made: MadeUp) -> None:
    neutral, arkit_map, rest = made.track.neutral, made.track.arkit_map, np.array([0.3, -0.2], np.float32)
    faces = iter(
        [looks(neutral, jawOpen=0.2), looks(neutral, jawOpen=0.5), looks(neutral, jawOpen=0.2, cheekPuff=99.0)]
    )
    mirror = Mirror(lambda _: next(faces), neutral, made.track.motion, arkit_map, rest)
    at_rest, spoke, beyond = (mirror.motion(np.zeros((8, 8, 3), np.uint8)) for _ in range(3))
    assert at_rest is not None and spoke is not None and beyond is not None
    assert at_rest.basis == "personal"
    np.testing.assert_allclose(at_rest.expression, [rest], atol=1e-6)
    expected = rest + 0.3 * arkit_map[SCORES.index("jawOpen")]
    np.testing.assert_allclose(spoke.expression, [expected], atol=1e-5)
    furthest = np.linalg.norm(made.track.motion.expression, axis=1).max()
    assert np.linalg.norm(beyond.expression) == pytest.approx(furthest, rel=1e-5)


def test_a_calm_mirror_follows_part_of_the_way(made: MadeUp) -> None:
    faces = iter([looks(made.track.neutral), looks(made.track.neutral, 20.0)])
    mirror = Mirror(lambda _: next(faces), made.track.neutral, made.track.motion, quick=0.5)
    ahead, turned = (mirror.motion(np.zeros((8, 8, 3), np.uint8)) for _ in range(2))
    assert ahead is not None and turned is not None
    between = compose(invert(torch.from_numpy(ahead.head)), torch.from_numpy(turned.head))
    assert rotvec_from_quat(between[:, :4])[0, 1].rad2deg() == pytest.approx(10.0, abs=0.1)


def test_nobody_before_the_camera_moves_nothing(made: MadeUp) -> None:
    assert Mirror(lambda _: None, made.track.neutral, made.track.motion).motion(np.zeros((8, 8, 3), np.uint8)) is None


# the window


@contextmanager
def live(
    made: MadeUp, voice: Callable[[], Streaming] | None = Instant, face: Looks | None = None, **limits: Any
) -> Iterator[LiveWindow]:
    def begin(show: Callable[[Shot], None], figures: Figures) -> Live:
        mirror = Mirror(lambda _: face, made.track.neutral, made.track.motion)
        return Live(made.truth, Native(), made.track.motion, voice and voice(), mirror, show, figures)

    with LiveWindow(begin, {"name": "me", "voice": True, "camera": True}, port=0, limits=Limits(**limits)) as window:
        yield window


class Page:
    """The page's side of the conversation."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.about = json.loads(socket.recv(LONG_S))

    def send(self, kind: bytes, stamp_ms: float, body: bytes) -> None:
        self.socket.send(struct.pack(">cd", kind, stamp_ms) + body)

    def sees(self, enough: Callable[[float, np.ndarray], bool]) -> tuple[float, np.ndarray]:
        """The first picture that is `enough`, and its stamp."""
        end_s = time.monotonic() + LONG_S
        while time.monotonic() < end_s:
            message = self.socket.recv(LONG_S)
            if isinstance(message, bytes):
                kind, stamp_ms = struct.unpack_from(">cd", message)
                assert kind == b"f"
                with PillowImage.open(io.BytesIO(message[9:])) as image:
                    picture = np.asarray(image)
                if enough(stamp_ms, picture):
                    return stamp_ms, picture
        raise AssertionError("no such picture came")


@contextmanager
def opening(window: LiveWindow) -> Iterator[Page]:
    host = f"{window.front.host}:{window.front.port}"
    with connect(f"ws://{host}/", origin=f"http://{host}", proxy=None) as socket:  # type: ignore[arg-type]
        yield Page(socket)


def test_without_sound_or_camera_the_avatar_waits_in_silence(made: MadeUp) -> None:
    for voice in (Instant, None):
        with live(made, voice) as window, opening(window) as page:
            assert page.about["name"] == "me"
            stamp_ms, picture = page.sees(lambda *_: True)
            assert math.isnan(stamp_ms) and picture.shape == (256, 256, 3)


def test_a_picture_bears_the_time_at_which_its_last_sample_was_heard(made: MadeUp) -> None:
    with live(made) as window, opening(window) as page:
        # a frame and a half, whose end was heard at 1000 ms: the whole frame ended 20 ms before
        page.send(b"a", 1000.0, np.full(FRAME + FRAME // 2, 9000, "<i2").tobytes())
        stamp_ms, _ = page.sees(lambda stamp, _: not math.isnan(stamp))
        assert stamp_ms == pytest.approx(980.0)
        told = window.measured.told()
        assert told["sound_ms_p50"] > 0 and told["sound_ms_p99"] >= told["sound_ms_p50"]
        page.socket.send(json.dumps({"figures": True}))
        page.sees(lambda *_: True)


def test_a_camera_picture_is_answered_with_its_own_time_at_the_size_that_was_asked(made: MadeUp) -> None:
    with live(made, face=looks(made.track.neutral, jawOpen=1.0)) as window, opening(window) as page:
        page.socket.send(json.dumps({"size": 128, "settle": True}))
        page.send(b"v", 77.5, jpeg(64, 64))
        _, picture = page.sees(lambda stamp, _: stamp == 77.5)
        assert picture.shape == (128, 128, 3)
        assert window.measured.told()["camera_ms_p50"] > 0


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    PillowImage.new("RGB", (width, height), (90, 80, 70)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    "body", [b"", b"no picture", jpeg(64, 64)[:300], b"\x89PNG\r\n\x1a\n" + bytes(50), jpeg(2000, 2000)]
)
def test_a_camera_picture_that_is_none_or_too_large_is_no_picture(body: bytes) -> None:
    assert opened(body) is None


@pytest.mark.parametrize(
    "noise", [b"", b"a", b"a" * 8, b"z" * 50, b"a" + bytes(8) + b"odd", b"v" + bytes(8) + b"no jpeg"]
)
def test_messages_that_make_no_sense_harm_nobody(made: MadeUp, noise: bytes) -> None:
    with live(made) as window, opening(window) as page:
        page.socket.send(noise)
        page.send(b"a", 500.0, np.zeros(FRAME, "<i2").tobytes())
        page.sees(lambda stamp, _: abs(stamp - 500.0) < 1)


@pytest.mark.parametrize("wish", ["{", "[]", "7", '{"size": "x"}', '{"size": null}', '{"size": 1e999}', "[" * 50_000])
def test_a_wish_that_makes_no_sense_ends_its_own_conversation_only(made: MadeUp, wish: str) -> None:
    with live(made) as window, opening(window) as other:
        with opening(window) as page, pytest.raises(ConnectionClosed) as end:
            page.socket.send(wish)
            page.sees(lambda *_: False)
        assert end.value.rcvd is not None and end.value.rcvd.code == 1003
        other.sees(lambda *_: True)


def test_a_size_beyond_all_measure_is_the_largest(made: MadeUp) -> None:
    with live(made) as window, opening(window) as page:
        page.socket.send(json.dumps({"size": 10**9}))
        _, picture = page.sees(lambda _, picture: len(picture) > 256)
        assert picture.shape == (1024, 1024, 3)


def test_sound_that_comes_faster_than_it_can_be_heard_is_cut_to_the_newest_second(made: MadeUp) -> None:
    with live(made, message_bytes=1 << 22) as window, opening(window) as page:
        for number in range(20):
            page.send(b"a", 1000.0 * number, np.zeros(16_000, "<i2").tobytes())
        page.sees(lambda stamp, _: stamp == 19_000.0)


def test_a_browser_that_leaves_takes_its_thread_along(made: MadeUp) -> None:
    import threading

    with live(made) as window:
        with opening(window) as page:
            page.sees(lambda *_: True)
        end_s = time.monotonic() + LONG_S
        # the thread ends a moment before its session is counted off
        while window.front.sessions or any(thread.name == "live" for thread in threading.enumerate()):
            assert time.monotonic() < end_s
            time.sleep(0.02)


def test_the_pages_files_name_no_other_server() -> None:
    from avatar3d.viewer.live_server import _pages

    pages = _pages()
    assert set(pages) == {"/", "/live.js", "/live.css", "/live_worklet.js"}
    for page in pages.values():
        assert not re.search(rb"(https?:)?//[a-z]", re.sub(rb"// .*|:\"\}://|\"wss?\"", b"", page.body))


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to open the page")
@pytest.mark.parametrize(("driver", "figure"), [("mic", "sound"), ("cam", "camera")])
def test_in_a_real_browser_a_fake_device_drives_the_avatar(
    made: MadeUp, tmp_path: Path, driver: str, figure: str
) -> None:
    with live(made, face=looks(made.track.neutral)) as window, browser(tmp_path / "profile") as tab:
        tab.open(window.front.url)
        tab.wait_for("window.livePage && !document.getElementById('mic').disabled")
        tab.evaluate(f"document.getElementById('{driver}').click()")
        shown = tab.wait_for(f"(/[0-9]+ ms/.exec(document.getElementById('{figure}').textContent) || [''])[0]")
        assert int(shown.split()[0]) > 0
        tab.evaluate(f"document.getElementById('{driver}').click()")
        assert tab.evaluate(f"document.getElementById('{driver}').getAttribute('aria-pressed')") == "false"
        assert tab.complaints == []
        assert not [url for url in tab.asked if not re.match(r"(data:|blob:|(http|ws)://127\.0\.0\.1:)", url)]
