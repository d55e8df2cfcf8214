# SPDX-License-Identifier: Apache-2.0
"""Bad input through the real command line: exit code 2, one line that names the fault and the way out, no half work.

One made-up person talks in all of these clips; what is wrong with each is done to the same few seconds.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import cut_off, turned, write_clip
from PIL import Image

from avatar3d import cli, store
from avatar3d.records import SAMPLE_RATE, Sound

SECONDS, SIZE = 6, 128

Answer = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module", autouse=True)
def as_a_user_runs_it() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AVATAR3D_DEBUG", raising=False)
        yield


@pytest.fixture(scope="module")
def talker(face_task: Path) -> tuple[list[np.ndarray], Sound]:
    """A made-up person who talks: frames [SIZE,SIZE,3] and sound."""
    from avatar3d.data_prep.synthetic import Person, film
    from avatar3d.face.canonical import load_canonical

    shot = film(Person(load_canonical(face_task), 1), SECONDS, SIZE, seed=3, samples_per_pixel_side=1)
    return list(shot.frames()), shot.truth.sound


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def good(talker: tuple[list[np.ndarray], Sound], folder: Path) -> Path:
    return write_clip(folder / "good.mp4", *talker)


@pytest.fixture(scope="module")
def done(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with the avatar of the good clip."""
    out = tmp_path_factory.mktemp("done") / "work"
    assert cli.main(["create", str(good), "-o", str(out), "--budget-s", "2", "--quiet"]) == 0
    return out


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Answer:
    """Runs a command line here; returns exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


def tree(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refused(result: tuple[int, str, str], *told: str) -> None:
    code, out, err = result
    last = err.splitlines()[-1]
    assert code == 2, err
    assert out == ""
    assert last.startswith("avatar3d: error: ") and "; " in last and "Traceback" not in err
    for words in told:
        assert words in last.lower(), last


# --- what no work can begin with -------------------------------------------------------------------------------------


def a_missing_file(folder: Path, _: list[np.ndarray]) -> Path:
    return folder / "missing.mp4"


def a_folder(folder: Path, _: list[np.ndarray]) -> Path:
    (folder / "folder.mp4").mkdir(exist_ok=True)
    return folder / "folder.mp4"


def a_text(folder: Path, _: list[np.ndarray]) -> Path:
    (folder / "text.mp4").write_text("not a video\n" * 100)
    return folder / "text.mp4"


def an_empty_file(folder: Path, _: list[np.ndarray]) -> Path:
    (folder / "empty.mp4").write_bytes(b"")
    return folder / "empty.mp4"


def a_photo(folder: Path, frames: list[np.ndarray]) -> Path:
    Image.fromarray(frames[0]).save(folder / "photo.jpg")
    return folder / "photo.jpg"


def a_sound_alone(folder: Path, _: list[np.ndarray]) -> Path:
    store.save_sound(folder / "sound.wav", Sound(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE))
    return folder / "sound.wav"


def an_mp4_without_its_end(folder: Path, frames: list[np.ndarray]) -> Path:
    """The index of an mp4 stands at its end: without it nothing can be read."""
    whole = write_clip(folder / "whole.mp4", frames)
    return cut_off(whole, folder / "half.mp4", 0.6)


def three_seconds(folder: Path, frames: list[np.ndarray]) -> Path:
    return write_clip(folder / "short.mp4", frames[:75])


def nobody(folder: Path, frames: list[np.ndarray]) -> Path:
    rng = np.random.default_rng(0)
    wall = rng.integers(90, 130, frames[0].shape, dtype=np.uint8)
    return write_clip(folder / "nobody.mp4", [np.roll(wall, index, 1) for index in range(len(frames))])


def two_people(folder: Path, frames: list[np.ndarray]) -> Path:
    return write_clip(folder / "two.mp4", [np.hstack([frame, frame[:, ::-1]]) for frame in frames])


def a_distant_face(folder: Path, frames: list[np.ndarray]) -> Path:
    def far(frame: np.ndarray) -> np.ndarray:
        picture = np.repeat(np.repeat(frame[:1, :1], 256, 0), 256, 1)
        picture[96:160, 96:160] = frame.reshape(64, 2, 64, 2, 3).mean((1, 3)).astype(np.uint8)
        return picture

    return write_clip(folder / "distant.mp4", [far(frame) for frame in frames])


REFUSED = {
    a_missing_file: ("missing.mp4", "no such file"),
    a_folder: ("folder.mp4", "folder"),
    a_text: ("text.mp4", "neither a video"),
    an_empty_file: ("empty.mp4", "empty"),
    a_photo: ("photo.jpg", "photo"),
    a_sound_alone: ("sound.wav", "video"),
    an_mp4_without_its_end: ("half.mp4", "cut off"),
    three_seconds: ("short.mp4", "3.0 s"),
    nobody: ("nobody.mp4", "no face"),
    two_people: ("two.mp4", "two"),
    a_distant_face: ("distant.mp4", "64 are needed"),
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_refused_before_anything_is_written(
    make: Callable[[Path, list[np.ndarray]], Path],
    talker: tuple[list[np.ndarray], Sound],
    folder: Path,
    tmp_path: Path,
    answer: Answer,
) -> None:
    clip = make(folder, talker[0])
    refused(answer("create", clip, "-o", tmp_path / "new"), *REFUSED[make])
    assert not (tmp_path / "new").exists()


def test_earlier_results_outlive_a_bad_video(
    talker: tuple[list[np.ndarray], Sound], folder: Path, done: Path, answer: Answer
) -> None:
    before = tree(done)
    clip = nobody(folder, talker[0])
    refused(answer("create", clip, "-o", done), "another video", "--restart")
    refused(answer("create", clip, "-o", done, "--restart"), "no face")
    assert tree(done) == before


def test_a_sample_that_is_no_sound_is_refused_before_the_work(good: Path, tmp_path: Path, answer: Answer) -> None:
    (tmp_path / "speech.wav").write_text("not a sound\n" * 100)
    refused(answer("create", good, "-o", tmp_path / "new", "--sample", tmp_path / "speech.wav"), "speech.wav")
    assert not (tmp_path / "new").exists()


# --- what work goes on with, saying so -------------------------------------------------------------------------------


def prepared(answer: Answer, clip: Path, out: Path) -> tuple[dict[str, Any], str]:
    """The figures of `prepare`, and what it said on stderr."""
    code, _, err = answer("prepare", clip, "-o", out, "--json", out.with_suffix(".json"))
    assert code == 0, err
    return json.loads(out.with_suffix(".json").read_text()), err


@pytest.fixture(scope="module")
def plain(done: Path) -> np.ndarray:
    """The frames of the good clip, prepared."""
    return np.load(done / "frames.npy")


def test_a_video_without_sound_is_prepared_and_says_so(
    talker: tuple[list[np.ndarray], Sound], tmp_path: Path, answer: Answer
) -> None:
    figures, err = prepared(answer, write_clip(tmp_path / "mute.mp4", talker[0]), tmp_path / "work")
    assert not figures["sound"]
    assert any("no audio" in warning for warning in figures["warnings"]) and "no audio" in err


def test_a_silent_video_is_prepared_and_says_so(
    talker: tuple[list[np.ndarray], Sound], tmp_path: Path, answer: Answer
) -> None:
    frames, sound = talker
    silence = Sound(np.zeros_like(sound.samples), sound.rate)
    figures, err = prepared(answer, write_clip(tmp_path / "silent.mp4", frames, silence), tmp_path / "work")
    assert any("silent" in warning for warning in figures["warnings"]) and "silent" in err


def test_a_face_that_is_lost_for_a_while_is_named_frame_by_frame(
    talker: tuple[list[np.ndarray], Sound], tmp_path: Path, answer: Answer
) -> None:
    frames = list(talker[0])
    for index in range(60, 80):
        frames[index] = np.full_like(frames[index], 120)
    figures, _ = prepared(answer, write_clip(tmp_path / "lost.mp4", frames), tmp_path / "work")
    assert figures["frames"] == len(frames)
    assert {bad["frame"] for bad in figures["quality"]["bad_frames"]} >= set(range(61, 79))
    confidence = store.load_track(store.Work(tmp_path / "work")).confidence
    assert not confidence[61:79].any() and confidence[:58].all() and confidence[82:].all()


def test_a_recording_that_breaks_off_is_used_as_far_as_it_goes(
    talker: tuple[list[np.ndarray], Sound], tmp_path: Path, answer: Answer
) -> None:
    whole = write_clip(tmp_path / "whole.mkv", talker[0] + talker[0][::-1], None)
    figures, err = prepared(answer, cut_off(whole, tmp_path / "broken.mkv", 0.7), tmp_path / "work")
    assert 5 * 25 <= figures["frames"] < 2 * len(talker[0])
    assert figures["warnings"] and "note" in err


def test_a_turned_phone_clip_stands_upright(
    talker: tuple[list[np.ndarray], Sound], plain: np.ndarray, tmp_path: Path, answer: Answer
) -> None:
    lying = write_clip(tmp_path / "lying.mp4", [np.rot90(frame, 1).copy() for frame in talker[0]])
    figures, _ = prepared(answer, turned(lying, tmp_path / "turned.mp4"), tmp_path / "work")
    frames = np.load(tmp_path / "work" / "frames.npy")
    assert figures["frames"] == len(plain)
    assert np.abs(frames.astype(float) - plain).mean() < 3


def test_ten_bit_hdr_has_sane_colours(
    talker: tuple[list[np.ndarray], Sound], plain: np.ndarray, tmp_path: Path, answer: Answer
) -> None:
    """PQ at 200 cd/m2 for white: what comes out has the range of the standard picture and its order of tones."""
    bright = write_clip(tmp_path / "hdr.mp4", map(as_pq, talker[0]), codec="libx265", pixels="yuv420p10le", hdr=True)
    prepared(answer, bright, tmp_path / "work")
    frames = np.load(tmp_path / "work" / "frames.npy")
    assert frames.shape == plain.shape
    assert abs(frames.mean() - plain.mean()) < 30
    assert np.corrcoef(frames[::10].ravel(), plain[::10].ravel())[0, 1] > 0.95


def as_pq(frame: np.ndarray) -> np.ndarray:
    """An sRGB picture coded as PQ (SMPTE ST 2084), white at 200 cd/m2; primaries are left as they are."""
    light = (frame / 255.0) ** 2.2 * (200 / 10000)
    powered = light**0.1593017578125
    coded = ((0.8359375 + 18.8515625 * powered) / (1 + 18.6875 * powered)) ** 78.84375
    return np.round(coded * 255).astype(np.uint8)


# --- the disk --------------------------------------------------------------------------------------------------------


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "avatar3d", *map(str, words)]


def without_roots_privilege() -> None:
    """Root may write anywhere: the program to be started shall respect the permissions of files (Linux)."""
    drop_from_bounding_set, may_override_permissions = 24, 1
    ctypes.CDLL(None).prctl(drop_from_bounding_set, may_override_permissions, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="permissions are set up the Linux way")
def test_a_read_only_folder_is_refused_at_once(good: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    done = subprocess.run(
        command("create", good, "-o", tmp_path / "work"),
        capture_output=True, text=True, preexec_fn=without_roots_privilege,
    )  # fmt: skip
    tmp_path.chmod(0o755)
    refused((done.returncode, done.stdout, done.stderr), str(tmp_path / "work"), "permission denied")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_and_leaves_no_half_file(good: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the frames of the clip do not fit."""
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))"
    program = f"{limit}; from avatar3d.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, "prepare", str(good), "-o", str(tmp_path / "work")],
        capture_output=True, text=True,
    )  # fmt: skip
    refused((done.returncode, done.stdout, done.stderr), "make room")
    assert not list(tmp_path.rglob("*.part-*")) and not (tmp_path / "work" / "frames.npy").exists()


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def interrupted(words: list[str], stage: str) -> tuple[int, str]:
    """Runs a command and presses Ctrl-C when it shows `stage`; returns the exit code and the last line."""
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a suite run in the background has it ignored
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=listening
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(stage):
                break
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        code = process.wait(60)
        # Python ends by the signal itself where that met code made from text: a shell shows 130 for this too
        return 130 if code == -signal.SIGINT else code, (rest.splitlines() or [""])[-1]


def test_interrupted_at_any_moment_the_same_command_finishes(good: Path, tmp_path: Path) -> None:
    out = tmp_path / "work"
    words = command("create", good, "-o", out, "--budget-s", "3")
    for stage in ("landmarks", "head", "voice"):
        code, line = interrupted(words, stage)
        assert (code, line) == (130, "avatar3d: interrupted; the same command continues"), stage
        assert not list(out.rglob("*.part-*")), stage
    finished = subprocess.run(words, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert not any(line.startswith(("landmarks", "track")) for line in finished.stderr.splitlines())
    assert (out / "good.avatar" / "avatar.json").is_file()


def test_an_interrupted_check_promises_only_what_it_keeps(good: Path) -> None:
    code, line = interrupted(command("check", good), "landmarks")
    assert code == 130
    assert line == "avatar3d: interrupted; nothing is kept without -o, so the same command begins anew"


# --- avatars ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rig.safetensors", "splats.ply", "avatar.json"])
def test_a_damaged_avatar_does_not_talk(name: str, done: Path, folder: Path, tmp_path: Path, answer: Answer) -> None:
    avatar = shutil.copytree(done / "good.avatar", tmp_path / "good.avatar")
    cut_off(avatar / name, avatar / name, 0.5)
    speech = a_sound_alone(folder, [])
    refused(answer("talk", avatar, speech, "-o", tmp_path / "out.mp4"), name, "damaged")
    assert not (tmp_path / "out.mp4").exists()


def test_a_second_run_changes_nothing(good: Path, done: Path, answer: Answer) -> None:
    before = tree(done)
    code, _, err = answer("create", good, "-o", done, "--budget-s", "2")
    assert code == 0, err
    assert {name: digest for name, digest in tree(done).items() if before.get(name) != digest} == {}
