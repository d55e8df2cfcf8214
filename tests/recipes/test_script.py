# SPDX-License-Identifier: Apache-2.0
"""What an avatar is told to do: recorded and done again, laid over by hand, and every mistake told in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from made_up import film, make

from avatar3d import cli
from avatar3d.avatars import Avatar, save_avatar
from avatar3d.data_prep.exchange import live_link
from avatar3d.errors import InputError
from avatar3d.face.arkit import SCORES
from avatar3d.media.spoken import Reading
from avatar3d.motion._mouth import Mouth
from avatar3d.recipes import _script
from avatar3d.recipes._keys import read_keys
from avatar3d.recipes._played import TalkSettings
from avatar3d.recipes._script import Plan, Script, acted, at_ease, record, recorded, spoken_by
from avatar3d.records import Motion, Sound, TimedPhone, frame_count, unwatched
from avatar3d.store import save_sound

Answer = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def avatar(face_task: Path) -> Avatar:
    """Without a voice."""
    made_up = make(face_task)
    return Avatar(made_up.truth, None, made_up.track.motion)


@pytest.fixture(scope="module")
def folder(avatar: Avatar, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("talk") / "me.avatar"
    save_avatar(path, avatar)
    return path


@pytest.fixture
def answer(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Answer:
    """`avatar3d talk` of the avatar, written to out.mp4; returns exit code and stderr."""
    monkeypatch.delenv("AVATAR3D_DEBUG", raising=False)

    def run(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = cli.main(["talk", str(folder), "-o", str(tmp_path / "out.mp4"), "--quiet", *map(str, words)])
        return code, capsys.readouterr().err

    return run


def keys_file(folder: Path, *keys: dict[str, Any]) -> Path:
    path = folder / "keys.json"
    path.write_text(json.dumps(keys))
    return path


def frames_of(path: Path) -> int:
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


def same_poses(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of poses [T,7], whatever the signs of their quaternions."""
    signs = np.sign((one[:, :4] * other[:, :4]).sum(1, keepdims=True))
    return float(np.abs(one - other * np.hstack([np.repeat(signs, 4, 1), np.ones((len(one), 3))])).max())


def test_what_is_written_and_done_again_is_the_same_motion_and_the_same_picture(avatar: Avatar, tmp_path: Path) -> None:
    did = avatar.clip[slice(0, 30)]
    record(avatar, did, tmp_path / "did.csv")
    again = recorded(avatar, tmp_path / "did.csv", TalkSettings())
    assert len(again) == 30
    for name in ("expression", "blink", "gaze"):
        np.testing.assert_allclose(getattr(again, name), getattr(did, name), atol=1e-5)
    assert same_poses(again.head, did.head) < 1e-5
    there, here = (film(avatar.head, motion).astype(int) for motion in (did, again))
    assert np.abs(there - here).max() <= 1


def test_another_face_does_it_in_its_own_way(avatar: Avatar, face_task: Path, tmp_path: Path) -> None:
    record(avatar, avatar.clip, tmp_path / "did.csv")
    made_up = make(face_task)
    made_up.truth.parts["arkit_map"] = made_up.truth.parts["arkit_map"].flip(0)
    other = Avatar(made_up.truth, None, made_up.track.motion)
    assert live_link.read_own(tmp_path / "did.csv", "0123abcd") is None
    scores = live_link.read(tmp_path / "did.csv").expression
    did = recorded(other, tmp_path / "did.csv", TalkSettings()).expression
    wanted = np.hstack([scores, np.ones((len(scores), 1))]) @ made_up.truth.parts["arkit_map"].numpy()
    np.testing.assert_allclose(did, wanted, atol=1e-4)


def test_a_motion_drives_the_command_and_is_written_by_it(answer: Answer, avatar: Avatar, tmp_path: Path) -> None:
    record(avatar, avatar.clip[slice(0, 20)], tmp_path / "did.csv")
    keys = keys_file(tmp_path, {"time_s": 0, "control": "headYaw", "value": 15})
    code, err = answer("--motion", tmp_path / "did.csv", "--motion-out", tmp_path / "new.csv", "--keys", keys)
    assert code == 0, err
    assert frames_of(tmp_path / "out.mp4") == 20
    before, after = (live_link.read(tmp_path / name).head for name in ("did.csv", "new.csv"))
    apart = 2 * np.degrees(np.arccos(np.abs((before[:, :4] * after[:, :4]).sum(1)).clip(max=1)))
    assert apart == pytest.approx(np.full(20, 15.0), abs=0.01)


def test_gains_reach_the_motion(answer: Answer, avatar: Avatar, tmp_path: Path) -> None:
    record(avatar, avatar.clip, tmp_path / "did.csv")
    code, err = answer(
        "--motion", tmp_path / "did.csv", "--motion-out", tmp_path / "new.csv",
        "--mouth-gain", 0.5, "--expression-gain", 0.5,
    )  # fmt: skip
    assert code == 0, err
    calm = recorded(avatar, tmp_path / "new.csv", TalkSettings())
    assert calm.expression.std(0) == pytest.approx(0.5 * avatar.clip.expression.std(0), rel=1e-3)


GOOD = {"time_s": 0.5, "control": "jawOpen", "value": 0.5}
BAD_KEYS = {
    "no such file": (None, "no such file"),
    "no JSON": ("[{", "not a JSON file"),
    "a JSON of another kind": ("{}", "not a list of keys"),
    "nothing": ("[]", "not a list of keys"),
    "a key that is none": ("[3]", "key 1: not of the fields"),
    "a key without its value": ('[{"time_s": 1, "control": "jawOpen"}]', "key 1: not of the fields"),
    "a word too many": ([GOOD, GOOD | {"time": 1}], "key 2: not of the fields"),
    "an unknown control": ([GOOD | {"control": "earWiggle"}], "no control named 'earWiggle'"),
    "a control that is no word": ([GOOD | {"control": 3}], "no control named 3"),
    "a word for a number": ([GOOD | {"value": "much"}], 'value of jawOpen is "much", no number'),
    "a truth for a number": ([GOOD | {"value": True}], "value of jawOpen is true, no number"),
    "too much": ([GOOD | {"control": "headYaw", "value": 60}], "value of headYaw is 60; give -45 to 45 (degrees)"),
    "not a number": ([GOOD | {"value": float("nan")}], "value of jawOpen is nan"),
    "a time before the beginning": ([GOOD | {"time_s": -1}], "time_s is -1; give a number of 0 or more (s)"),
    "no end of time": ([GOOD | {"time_s": float("inf")}], "time_s is inf"),
    "an unknown ease": ([GOOD | {"ease": "bouncy"}], "no ease named 'bouncy'; choose one of: smooth, linear, hold"),
    "two at once": ([GOOD, GOOD | {"control": "JawOpen", "value": 0}], "keys 1 and 2 both set jawOpen at 0.5 s"),
}


@pytest.mark.parametrize(("text", "told"), BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_a_key_that_is_none_is_named(text: Any, told: str, answer: Answer, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    if text is not None:
        path.write_text(text if isinstance(text, str) else json.dumps(text))
    code, err = answer("--motion", "missing.csv", "--keys", path)
    assert code == 2
    assert err.startswith(f"avatar3d: error: {path}: ") and err.count("\n") == 1 and told in err
    assert not (tmp_path / "out.mp4").exists()


def test_names_are_known_by_their_letters(tmp_path: Path) -> None:
    (key,) = read_keys(keys_file(tmp_path, GOOD | {"control": "JAWOPEN", "ease": "hold"}))
    assert (key.control, key.ease) == ("jawOpen", "hold")


MISTAKES = {
    "nothing to do": ([], "nothing to say or do; name a sound file, or give --text"),
    "two things at once": (["s.wav", "--idle", "3"], "SPEECH and --idle both say what is to be done"),
    "a recording and a text": (["--motion", "m.csv", "--text", "hello"], "--motion and --text both say"),
    "no time at all": (["--idle", "0"], "--idle 0 s; give 0.04 to 3600 s"),
    "endless time": (["--idle", "inf"], "--idle inf s"),
    "too slow a reading": (["--text", "hello", "--speed", "3"], "a pace of 3 words a minute; give 80 to 450"),
    "a language that is none": (["--text", "hello", "--voice-lang", "e n"], "no voice is named 'e n'"),
    "too wide a mouth": (["s.wav", "--mouth-gain", "7"], "--mouth-gain 7; give 0 to 3"),
    "no factor": (["s.wav", "--expression-gain", "nan"], "--expression-gain nan; give 0 to 3"),
    "a motion as something else": (["s.wav", "--motion-out", "m.txt"], "--motion-out m.txt"),
}


@pytest.mark.parametrize(("words", "told"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_before_anything_is_read(words: list[str], told: str, answer: Answer) -> None:
    code, err = answer(*words)
    assert code == 2
    assert err.startswith("avatar3d: error: ") and err.count("\n") == 1 and told in err


def test_it_waits_as_long_as_it_is_told_to(answer: Answer, avatar: Avatar, tmp_path: Path) -> None:
    code, err = answer("--idle", 1.6, "--motion-out", tmp_path / "idle.csv", "--json", tmp_path / "out.json")
    assert code == 0, err
    figures = json.loads((tmp_path / "out.json").read_text())
    assert (figures["source"], figures["frames"], figures["seconds"]) == ("idle", 40, 1.6)
    assert frames_of(tmp_path / "out.mp4") == 40
    waits = recorded(avatar, tmp_path / "idle.csv", TalkSettings())
    said = avatar.clip.expression[:, 0]  # opens the mouth
    assert waits.expression[:, 0].max() < said.min() + 0.1 * np.ptp(said)
    assert np.ptp(waits.head[:, 5]) > 0


class Hum:
    """A voice that opens the mouth halfway whatever it hears."""

    listen = None

    def __call__(self, sound: Sound, seed: int = 0) -> Motion:
        blank = np.zeros((frame_count(sound), 7), np.float32)
        return Motion(blank[:, :2], blank[:, :2], blank[:, :4], blank + np.eye(7, dtype=np.float32)[0], 25.0)


def test_a_text_is_read_out_and_heard(avatar: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    tone = np.sin(np.arange(48_000) / 30).astype(np.float32)

    def read(text: str, reading: Reading, rate: int) -> Sound:
        told.append((text, reading.language, rate))
        return Sound(tone, rate)

    monkeypatch.setattr(_script, "spoken", read)
    plan = Plan(Script(text="hello", reading=Reading("de")), ())
    speaks = replace(avatar, voice=Hum())  # type: ignore[arg-type]
    motion, sound = acted(speaks, plan, TalkSettings(), unwatched, "me")
    assert told == [("hello", "de", 48_000)]
    assert sound is not None and sound.samples is tone and len(motion) == 25


def test_a_face_does_not_freeze_in_silence(avatar: Avatar) -> None:
    speaks = replace(avatar, voice=Hum())  # type: ignore[arg-type]
    silence = Sound(np.zeros(4 * 16_000, np.float32), 16_000)
    said = spoken_by(speaks, silence, TalkSettings(head="still"), "me")
    eased = at_ease(speaks, said, silence, TalkSettings())
    assert len(eased) == 100 and np.ptp(eased.head[:, 5]) > 0.003
    beside = eased.expression - said.expression
    assert beside.any() and np.abs(beside).max() < 0.6 * np.ptp(avatar.clip.expression)


def test_without_a_voice_nothing_is_said(answer: Answer, tmp_path: Path) -> None:
    save_sound(tmp_path / "s.wav", Sound(np.zeros(16_000, np.float32), 16_000))
    code, err = answer(tmp_path / "s.wav")
    assert code == 2 and "has no voice" in err


def test_a_head_that_knows_no_names_is_told_of(avatar: Avatar, tmp_path: Path) -> None:
    class Nameless:
        camera, background = avatar.head.camera, avatar.head.background
        encode, pose = avatar.head.encode, avatar.head.pose

        def tensors(self) -> dict[str, Any]:
            return {}

    still: Motion = avatar.clip[slice(0, 3)]
    with pytest.raises(InputError, match="--motion-out: this kind of head"):
        record(Avatar(Nameless(), None, avatar.clip), still, tmp_path / "m.csv")  # type: ignore[arg-type]


@pytest.mark.parametrize("option", [("--voice", "viseme"), ("--style", "other.mp4")])
def test_a_recording_has_neither_voice_nor_style(answer: Answer, option: tuple[str, str], tmp_path: Path) -> None:
    code, err = answer("--motion", tmp_path / "did.csv", *option)
    assert code == 2
    assert f"{option[0]} beside --motion" in err


def test_an_avatar_without_a_voice_is_told_of_the_one_by_rule(answer: Answer, tmp_path: Path) -> None:
    save_sound(tmp_path / "hum.wav", Sound(np.full(16_000, 0.1, np.float32), 16_000))
    code, err = answer(tmp_path / "hum.wav")
    assert code == 2
    assert "--voice viseme" in err


def test_any_face_speaks_by_rule(face_task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_script, "listening", lambda _: Spells())
    made_up = make(face_task)
    jaw = torch.zeros_like(made_up.truth.parts["arkit_map"])
    jaw[SCORES.index("jawOpen")] = torch.tensor([3.0, 0.0])
    jaw[-1, 0] = -1.4  # with its lips shut
    made_up.truth.parts["arkit_map"] = jaw
    avatar = Avatar(made_up.truth, None, made_up.track.motion)
    voice = _script.ruled_voice(avatar)
    time_s = np.arange(48_000) / 16_000
    hum = sum(np.sin(2 * np.pi * 150 * k * time_s) / k for k in range(1, 8)) * ((time_s > 1) & (time_s < 2))
    sound = Sound((0.2 * hum).astype(np.float32), 16_000)
    said = _script._personal(avatar, voice(sound))
    assert len(said) == 75
    mouth = Mouth.of(avatar.head, avatar.clip)
    opened = said.expression @ mouth.opening
    assert opened[30:45].mean() > opened[:5].mean() + 0.2 * np.ptp(avatar.clip.expression @ mouth.opening)


class Spells:
    """Hears silence, a second of an open vowel, and silence again."""

    width, look_ahead_s = 1, 0.0

    def __call__(self, sound: Sound) -> np.ndarray:
        return np.zeros((frame_count(sound), 1), np.float32)

    def phones(self, sound: Sound) -> list[TimedPhone]:
        return [TimedPhone("SIL", 0, 1), TimedPhone("AA", 1, 2), TimedPhone("SIL", 2, sound.seconds)]
