# SPDX-License-Identifier: Apache-2.0
"""`avatar3d view` and `avatar3d train --watch` as a user runs them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import COUNTS, make

from avatar3d import cli
from avatar3d.avatar.linear import LinearSettings
from avatar3d.recipes import train, view
from avatar3d.recipes.train import TrainSettings
from avatar3d.store import Work, frames_writer, save_capture, save_track
from avatar3d.store.capture import save_picture
from avatar3d.viewer.scene import Request

pytest.importorskip("viser", reason="needs viser: pip install 'avatar3d[view]'")

LONG_S = 60.0


@pytest.fixture(scope="module")
def work(face_task: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A prepared folder without a head."""
    made_up, work = make(face_task), Work(tmp_path_factory.mktemp("view") / "me")
    work.path.mkdir()
    with frames_writer(work.frames, made_up.capture.frames.shape) as frames:
        frames[:] = made_up.capture.frames
    np.save(work.masks, np.full(made_up.capture.frames.shape[:3], 255, np.uint8))
    save_picture(work.background, made_up.capture.frames[0])
    save_capture(work, made_up.capture, made_up.track.landmarks, {"source": {"name": "me.mp4"}})
    save_track(work, made_up.track)
    for stage in ("capture", "track", "masks"):
        work.finish(stage, "made up")
    return work


def test_a_prepared_folder_shows_its_film_and_its_track(work: Work) -> None:
    with view.opened(work.path, view.ViewSettings(port=0)) as window:
        scene = window.scene
        assert scene.names == () and len(scene) == 66
        film = scene.picture(Request(None, 3, 128, 64, beside="filmed"))
        tracked = scene.picture(Request(None, 3, 128, 64, beside="filmed and tracked"))
        np.testing.assert_array_equal(film[:, :64], tracked[:, :64])
        changed = np.abs(film[:, 64:].astype(int) - tracked[:, 64:]).max(-1) > 40
        assert 0.02 < changed.mean() < 0.9


def test_a_watched_training_shows_its_head_and_leaves_an_avatar_to_look_at(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {"linear": {"quick": TrainSettings(None, 6, head=LinearSettings(COUNTS))}}
    monkeypatch.setattr(train, "PRESETS", steps)
    said: list[str] = []
    settings = view.CreateSettings(preset="quick")
    figures = view.train_watched(work, settings, view.ViewSettings(port=0), said.append)
    assert figures["head"]["steps"] == 6 and re.match(r"http://127\.0\.0\.1:\d+/ ", said[0])
    with view.opened(work.path, view.ViewSettings(port=0)) as window:
        assert window.scene.names == ("linear", "me.avatar")
        one, two = (window.scene.picture(Request(name, 5, 64, 64)) for name in window.scene.names)
        assert np.abs(one.astype(int) - two).mean() < 2  # what is stored is a little rounded
    with view.opened(work.path / "me.avatar", view.ViewSettings(port=0)) as window:
        assert window.scene.names == ("me.avatar",)
        assert window.scene.picture(Request("me.avatar", 0, 64, 64)).std() > 5


@pytest.mark.parametrize("live", [False, True])
def test_ctrl_c_closes_it_with_one_line(work: Work, live: bool, tmp_path: Path) -> None:
    folder = work.path / "me.avatar"
    if not folder.exists():
        pytest.skip("the training before this test left no avatar")
    words = [sys.executable, "-m", "avatar3d", "view", str(folder), "--port", "0", "--json", str(tmp_path / "f.json")]
    process = subprocess.Popen(
        [*words, *(["--live"] if live else [])], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    stopper = threading.Timer(LONG_S * 2, process.kill)
    stopper.start()
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        url = first.split()[0]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=LONG_S) as answer:
            assert answer.status == 200 and b"<html" in answer.read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LONG_S)
    finally:
        stopper.cancel()
        process.kill()
    assert process.returncode == 0
    assert re.fullmatch(r"closed after \d+ s and \d+ pictures\n", out)
    assert "Traceback" not in err
    assert json.loads((tmp_path / "f.json").read_text())["verb"] == "view"


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["view", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_what_cannot_be_looked_at_is_said_on_one_line(
    work: Work, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no such folder; name a work folder" in refused(capsys, str(tmp_path / "nowhere"))
    assert "not an avatar folder" in refused(capsys, str(tmp_path))
    assert "not an avatar folder" in refused(capsys, str(tmp_path), "--live")
    with view.opened(work.path, view.ViewSettings(port=0)) as window:
        assert "give another --port" in refused(capsys, str(work.path), "--port", str(window.front.port))
    assert "--host 203.0.113.7" in refused(capsys, str(work.path), "--host", "203.0.113.7")


def test_what_is_not_installed_is_named(
    work: Work, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    assert "pip install 'avatar3d[view]'" in refused(capsys, str(work.path))


def test_a_half_prepared_folder_says_what_to_run(
    work: Work, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "capture.json").write_text(work.capture_json.read_text())
    assert "avatar3d prepare" in refused(capsys, str(tmp_path))


def test_the_window_beyond_this_machine_prints_its_token(work: Work) -> None:
    settings: dict[str, Any] = {"host": "0.0.0.0", "port": 0}
    with view.opened(work.path, view.ViewSettings(**settings)) as window:
        assert re.search(r"\?token=[\w-]{20,}$", window.front.url)
