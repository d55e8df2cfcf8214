# SPDX-License-Identifier: Apache-2.0
"""A prior from work folders to a file and into a voice; and voices by other names."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import make

from avatar3d.audio.mel import Mel
from avatar3d.avatars import restore_voice, voice_entry
from avatar3d.errors import InputError
from avatar3d.motion.primed import Primed
from avatar3d.recipes.create import CreateSettings, create
from avatar3d.recipes.train_prior import PriorSettings, load_prior, train_prior
from avatar3d.recipes.voice import VoiceSettings, listening, load_voice, train_voice
from avatar3d.records import SAMPLE_RATE, Sound
from avatar3d.store import Work, frames_writer, save_capture, save_track, write_tensors


@pytest.fixture(scope="module")
def works(face_task: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Work]:
    """Two prepared folders whose sound is as loud as their mouths are open."""
    made = make(face_task, frames=120)
    opening = np.repeat(made.track.motion.expression[:, 0] + 1.5, SAMPLE_RATE // 25)
    time = np.arange(len(opening)) / SAMPLE_RATE
    sound = Sound((0.1 * opening * np.sin(2 * np.pi * 140 * time)).astype(np.float32), SAMPLE_RATE)
    prepared = []
    for name in ("one", "two"):
        work = Work(tmp_path_factory.mktemp(name))
        with frames_writer(work.frames, made.capture.frames.shape) as frames:
            frames[:] = made.capture.frames
        capture = replace(made.capture, sound=sound)
        save_capture(work, capture, made.track.landmarks, {"source": {"name": "me.mp4"}})
        save_track(work, made.track)
        for stage in ("capture", "track"):
            work.finish(stage, name)
        prepared.append(work)
    return prepared


@pytest.fixture(scope="module")
def prior(works: list[Work]) -> tuple[Path, dict[str, Any]]:
    out = works[0].path / "people.safetensors"
    return out, train_prior(works, out, PriorSettings(steps=4))


def test_a_prior_is_written_and_read_back(prior: tuple[Path, dict[str, Any]]) -> None:
    path, figures = prior
    assert figures["people"] == 2 and figures["frames"] > 200 and figures["unheard_parts"]
    assert load_prior(path, Mel()).width == 4  # two people of two codes each


def test_a_voice_begins_with_it_and_comes_back(works: list[Work], prior: tuple[Path, dict[str, Any]]) -> None:
    settings = VoiceSettings(steps=3, motion="primed", prior=prior[0])
    voice, figures = train_voice(works[1], settings)
    assert isinstance(voice, Primed) and figures["voice"] == "primed"
    stored = load_voice(works[1])
    assert stored is not None
    sound = Sound(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    np.testing.assert_array_equal(stored(sound).expression, voice(sound).expression)


def test_a_voice_by_rule_needs_no_training_and_is_judged_in_the_persons_codes(
    works: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avatar3d.audio.phones.Phones.phones", lambda *_: [])
    voice, figures = train_voice(works[0], VoiceSettings(audio="phones", motion="viseme"))
    assert voice is not None and figures["steps"] == 0 and "held_out" in figures
    assert restore_voice(voice_entry(voice), voice.tensors()).listen is not None


def test_a_judge_of_sync_is_asked_and_told_of(works: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avatar3d.recipes._judge._STEPS", 3)
    _, figures = train_voice(works[0], VoiceSettings(steps=3, motion="vae", sync=0.1))
    assert set(figures["sync"]) == {"own", "voice"}
    with pytest.raises(InputError, match="tcn asks no judge"):
        train_voice(works[0], VoiceSettings(steps=3, sync=0.1))


def test_what_is_no_prior_is_refused(tmp_path: Path, prior: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_prior(tmp_path / "none.safetensors", Mel())
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(InputError, match="not a prior"):
        load_prior(tmp_path / "text", Mel())
    write_tensors(tmp_path / "other.safetensors", {}, {"kind": "a cake"})
    with pytest.raises(InputError, match="not a prior"):
        load_prior(tmp_path / "other.safetensors", Mel())
    with pytest.raises(InputError, match="hears mel, for a voice that hears phones"):
        load_prior(prior[0], listening("phones"))
    with pytest.raises(InputError, match="no work folder"):
        train_prior([], tmp_path / "out.safetensors")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"voice": "parrot"}, "no part named 'parrot'"),
        ({"audio": "smell"}, "no part named 'smell'"),
        ({"voice": "primed"}, "begins with a prior"),
        ({"voice": "viseme", "prior": Path("p.safetensors")}, "begins with no prior"),
        ({"audio_weights": Path("w")}, "mel has no weights"),
        ({"renderer": "pencil"}, "no part named 'pencil'"),
    ],
)
def test_parts_that_cannot_be_are_refused_before_any_work(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        create(tmp_path / "me.mp4", tmp_path / "me", CreateSettings(**settings))


def test_a_package_that_is_missing_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pocketsphinx" else find(name))
    with pytest.raises(InputError, match="pip install 'pocketsphinx"):
        create(tmp_path / "me.mp4", tmp_path / "me", CreateSettings(voice="viseme"))


def test_weights_other_than_those_trained_on_are_refused() -> None:
    entry = {"part": "tcn", "config": {}, "listen": "mel", "heard": "0123"}
    with pytest.raises(InputError, match="trained on mel with other weights"):
        restore_voice(entry, {})
