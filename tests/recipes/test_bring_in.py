# SPDX-License-Identifier: Apache-2.0
"""Other tools' files through the real command line: wrong ones give one line, a recorded face drives an avatar."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import made_up
import numpy as np
import pytest
import soundfile

from avatar3d import cli, media
from avatar3d.data_prep.exchange.live_link import ANGLES, EXPRESSIONS

Answer = Callable[..., tuple[int, str, str]]


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Runs a command line here; returns exit code, stdout and stderr."""
    monkeypatch.delenv("AVATAR3D_DEBUG", raising=False)

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


def refused(result: tuple[int, str, str], told: str) -> None:
    code, out, err = result
    assert code == 2 and out == "", err
    assert len(err.splitlines()) == 1 and err.startswith("avatar3d: error: ") and "; " in err
    assert told in err


@pytest.fixture(scope="module")
def avatar(face_task: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up head that has no voice."""
    return made_up.saved_avatar(face_task, tmp_path_factory.mktemp("avatar"))


@pytest.fixture
def take(tmp_path: Path) -> Path:
    """A second of Live Link Face in which the mouth opens and the head turns."""
    path = tmp_path / "take.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Timecode", "BlendShapeCount", *EXPRESSIONS, *ANGLES])
        for tick in range(60):
            said = {"JawOpen": tick / 60, "HeadYaw": 0.3 * tick / 60}
            rows.writerow([f"00:00:01:{tick:02d}", 61, *(said.get(name, 0) for name in (*EXPRESSIONS, *ANGLES))])
    return path


def a_text(folder: Path) -> Path:
    path = folder / "notes.csv"
    path.write_text("what,is,this\n1,2,3\n")
    return path


def broken_json(folder: Path) -> Path:
    (folder / "transforms.json").write_text('{"frames": [')
    return folder


def no_frames(folder: Path) -> Path:
    (folder / "transforms.json").write_text(json.dumps({"fl_x": 500, "frames": []}))
    return folder


def nothing(folder: Path) -> Path:
    return folder


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: folder / "missing", "no such folder"),
        (nothing, "no transforms.json"),
        (a_text, "not a folder"),
        (broken_json, "not valid JSON"),
        (no_frames, "no frames"),
    ],
)
def test_a_folder_that_cannot_be_imported(
    make: Callable[[Path], Path], told: str, tmp_path: Path, answer: Answer
) -> None:
    (tmp_path / "in").mkdir()
    refused(answer("import", make(tmp_path / "in"), "-o", tmp_path / "work"), told)
    assert not (tmp_path / "work").exists()


def test_import_and_export_name_what_is_wrong(tmp_path: Path, take: Path, answer: Answer) -> None:
    refused(answer("import", take, "-o", tmp_path / "work"), "talk --motion")
    refused(answer("import", tmp_path, "-o", tmp_path / "work", "--fps", "0"), "--fps 0")
    refused(answer("import", tmp_path, "-o", tmp_path / "work", "--format", "flame"), "flame")
    refused(answer("export", tmp_path, "-o", tmp_path / "out", "--format", "colmap"), "capture.json")
    assert not (tmp_path / "work").exists() and not (tmp_path / "out").exists()


def test_a_recorded_face_drives_an_avatar_that_has_no_voice(
    avatar: Path, take: Path, tmp_path: Path, answer: Answer
) -> None:
    out = tmp_path / "moved.mp4"
    code, said, err = answer("talk", avatar, "--motion", take, "-o", out, "--quiet")
    assert code == 0, err
    assert "1.00 s" in said and not media.probe(out).has_sound
    frames = np.stack(list(media.frames(out))).astype(int)
    assert len(frames) == 25
    assert np.abs(frames[-1] - frames[0]).mean() > 3  # the head has turned


def test_speech_is_heard_for_as_long_as_the_motion(avatar: Path, take: Path, tmp_path: Path, answer: Answer) -> None:
    speech, out = tmp_path / "speech.wav", tmp_path / "moved.mp4"
    soundfile.write(speech, 0.1 * np.sin(np.arange(3 * 48000) / 10), 48000)
    code, _, err = answer("talk", avatar, speech, "--motion", take, "-o", out, "--quiet")
    assert code == 0, err
    heard = media.sound(out)
    assert heard is not None and heard.seconds == pytest.approx(1.0, abs=0.05)
    page = tmp_path / "moved.html"
    assert answer("talk", avatar, "--motion", take, "-o", page, "--quiet")[0] == 0 and page.stat().st_size > 1000


def test_a_motion_that_is_none_is_named(avatar: Path, tmp_path: Path, answer: Answer) -> None:
    out = tmp_path / "moved.mp4"
    refused(answer("talk", avatar, "-o", out), "nothing to say or do")
    refused(answer("talk", avatar, "--idle", "0.2", "--renderer", "volume", "-o", out), "choose the renderer native")
    refused(answer("talk", avatar, "--motion", tmp_path / "missing.csv", "-o", out), "no such file")
    refused(answer("talk", avatar, "--motion", a_text(tmp_path), "-o", out), "not a recording of Live Link Face")
    assert not out.exists()


def test_a_camera_path_that_is_none_is_named(avatar: Path, take: Path, tmp_path: Path, answer: Answer) -> None:
    words = ("talk", avatar, "--motion", take, "--quiet", "-o")
    out, page = tmp_path / "moved.mp4", tmp_path / "moved.html"
    refused(answer(*words, out, "--camera", tmp_path / "missing.json"), "give fixed, orbit")
    refused(answer(*words, out, "--camera", a_text(tmp_path)), "not valid JSON")
    refused(answer(*words, page, "--camera", a_text(tmp_path)), "a page is turned by whoever looks")
    assert not out.exists() and not page.exists()
