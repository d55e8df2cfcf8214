# SPDX-License-Identifier: Apache-2.0
"""The front door: help at once, one line for each mistake, exit codes, progress that suits the place it is shown in."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest

from avatar3d import cli
from avatar3d.cli import output
from avatar3d.cli.options import VERBS, Verb
from avatar3d.errors import InputError
from avatar3d.records import Progress

MISTAKES = {
    "an unknown verb": (["dance"], "no verb named 'dance'; choose one of: create, "),
    "a missing argument": (["create"], "VIDEO"),
    "a missing option": (["create", "me.mp4"], "-o DIR"),
    "an option without its value": (["create", "me.mp4", "-o"], "-o"),
    "an unknown option": (["create", "me.mp4", "-o", "me", "--colour", "red"], "'--colour red'"),
    "an unknown choice": (["create", "me.mp4", "-o", "me", "--size", "300"], "--size"),
    "an unknown preset": (
        ["create", "me.mp4", "-o", "me", "--preset", "instant"],
        "'instant' on cpu; choose one of: quick",
    ),
    "an unknown head": (
        ["create", "me.mp4", "-o", "me", "--head", "wooden"],
        "no part named 'wooden'; choose one of: ",
    ),
    "a grid for a head that reads none": (
        ["create", "me.mp4", "-o", "me", "--grid", "ngp"],
        "--grid ngp: the linear head has no such choice; leave it out, or give --head radiance",
    ),
    "a package that is of no use here": (
        ["create", "me.mp4", "-o", "me", "--head", "radiance", "--grid", "tinycudann"],
        "--grid tinycudann: tinycudann runs on CUDA alone, not on cpu; give --grid ngp",
    ),
    "a word for a number": (["create", "me.mp4", "-o", "me", "--seed", "first"], "--seed"),
    "a count of none": (["bench", "splat", "--threads", "0"], "--threads 0: too small; give 1 or more"),
    "a time that runs backwards": (["create", "me.mp4", "-o", "me", "--budget-s", "-3"], "--budget-s -3"),
    "a time that is none": (["demo", "-o", "me", "--seconds", "nan"], "--seconds nan"),
    "one word too many": (["doctor", "please"], "'please'"),
}


@pytest.fixture(autouse=True)
def as_a_user_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AVATAR3D_DEBUG", raising=False)


class Scripted(Verb):
    """A verb that does what the test says."""

    def run(self, out: output.Output) -> dict[str, Any]:
        out.say("result")
        return {"answer": 42}


def failing(error: BaseException) -> type[Verb]:
    class Failing(Scripted):
        """A verb that fails."""

        def run(self, *_: object) -> dict[str, Any]:
            raise error

    return Failing


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(words)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("slow", ["torch", "mediapipe", "scipy", "av", "tensorboard"])
def test_help_answers_at_once(slow: str) -> None:
    # a clock would measure the machine; these are what help would wait for
    program = f"import sys; from avatar3d.cli import main; main(['--help']); sys.exit({slow!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_the_overview_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = answer(capsys, "--help")
    assert code == 0
    listed = {line.split()[0] for line in out.splitlines() if line.startswith("  ")}
    assert listed == set(VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_explains_itself_and_each_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = answer(capsys, name, "--help")
    assert code == 0
    flags = {f"--{field.name}".replace("_", "-") for field in fields(VERBS[name]) if not _positional(field)}
    assert flags >= {"--json", "--quiet"}
    assert not [flag for flag in flags if f"{flag} " not in out]


def _positional(field: Field[Any]) -> bool:
    return str(field.type).startswith(("Video", "Folder", "Positional"))


@pytest.mark.parametrize(("words", "told"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_on_one_line_with_what_to_do(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = answer(capsys, *words)
    assert code == 2
    assert out == ""
    assert err.startswith("avatar3d: error: ") and err.count("\n") == 1 and "; " in err
    assert not set(err) & set("│╭╰─")
    assert told in err


def test_the_users_fault_is_one_line_and_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VERBS, "info", failing(InputError("me.mp4: no face\nin any frame", "film the face")))
    code, _, err = answer(capsys, "info")
    assert (code, err) == (2, "avatar3d: error: me.mp4: no face in any frame; film the face\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_locked_disk_is_the_users_to_mend(
    number: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VERBS, "info", failing(OSError(number, "the reason", "W/frames.npy")))
    code, _, err = answer(capsys, "info")
    assert code == 2
    assert err.startswith("avatar3d: error: W/frames.npy: the reason; ") and err.count("\n") == 1


def test_interrupted_says_how_to_go_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERBS, "info", failing(KeyboardInterrupt()))
    assert answer(capsys, "info") == (130, "", "avatar3d: interrupted; the same command continues\n")


def test_an_interruption_that_python_drops_comes_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in a weak reference's callback, as after a long call that let a tensor go."""
    monkeypatch.setattr("avatar3d.cli.run.run", dropping)
    before = sys.unraisablehook, signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert cli.main([]) == 130
    finally:
        signal.signal(signal.SIGINT, before[1])
    assert capsys.readouterr().err == "avatar3d: interrupted; the same command continues\n"
    assert sys.unraisablehook is before[0]


def dropping(words: list[str]) -> int:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    class Tensor:
        pass

    tensor = Tensor()
    watched = weakref.ref(tensor, interrupt)
    del tensor
    assert watched() is None
    time.sleep(5)
    return len(words)


def test_our_own_fault_asks_for_a_report_and_shows_its_traceback_on_demand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VERBS, "info", failing(IndexError("index 7 is out of range")))
    code, _, err = answer(capsys, "info")
    assert code == 1
    assert "IndexError: index 7" in err and "AVATAR3D_DEBUG=1" in err and err.count("\n") == 1
    monkeypatch.setenv("AVATAR3D_DEBUG", "1")
    with pytest.raises(IndexError):
        cli.main(["info"])


def test_the_figures_go_to_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VERBS, "info", Scripted)
    code, out, err = answer(capsys, "info", "--json", str(tmp_path / "new" / "figures.json"))
    assert (code, out, err) == (0, "result\n", "")
    figures = json.loads((tmp_path / "new" / "figures.json").read_text())
    assert figures["answer"] == 42 and figures["verb"] == "info"


def test_a_log_file_gets_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with output.Output() as out:
        for step in range(1001):
            out.watch(Progress("landmarks", step / 1000))
            out.watch(Progress("track", step / 2000))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["landmarks", "track", "landmarks"]
    assert "100 %" in lines[-1]


def test_quiet_shows_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with output.Output(quiet=True) as out:
        out.watch(Progress("landmarks", 1.0))
        out.note("a remark")
        out.say("the result")
    assert capsys.readouterr() == ("the result\n", "")


def test_bars_end_full(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with output.Output() as out:
        for step in range(11):
            out.watch(Progress("landmarks", step / 10, f"{step} frames/s"))
    err = capsys.readouterr().err
    assert "landmarks" in err and "100 %" in err and "10 frames/s" in err


def test_the_reader_of_a_pipe_may_leave() -> None:
    """`avatar3d --help | head -1` must not end in a complaint."""
    command = f"{sys.executable} -m avatar3d --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
