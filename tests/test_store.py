# SPDX-License-Identifier: Apache-2.0
"""Files on disk: round trips, atomic writing, keys, and damage."""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avatar3d import store
from avatar3d.errors import InputError
from avatar3d.geometry import intrinsics
from avatar3d.records import Camera, Capture, Landmarks, Motion, Sound, Track

T = 6


def some(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def motion() -> Motion:
    return Motion(some(T, 4), some(T, 2), some(T, 4), some(T, 7), 25.0)


def landmarks() -> Landmarks:
    return Landmarks(some(T, 478, 3), some(T, 52), np.array([True, False] * 3))


def saved_work(folder: Path) -> tuple[store.Work, Capture, Track]:
    work = store.Work(folder)
    with store.frames_writer(work.frames, (T, 8, 8, 3)) as frames:
        frames[:] = np.arange(frames.size, dtype=np.uint8).reshape(frames.shape)
    sound = Sound(np.linspace(-0.5, 0.5, 3840, dtype=np.float32), 16_000)
    capture = Capture(np.load(work.frames, mmap_mode="r"), sound, 25.0, (3,), "abc")
    store.save_capture(work, capture, landmarks(), {"warnings": []})
    camera = Camera(intrinsics(20, 8, 8), torch.eye(4), 8, 8)
    track = Track(
        camera, some(468, 3), some(468, 3, 4), motion(), landmarks(), some(T), 5, False, some(53, 4)
    )  # fmt: skip
    store.save_track(work, track)
    return work, capture, track


def assert_same(a: Any, b: Any) -> None:
    """Field by field, through nested records."""
    for name in (entry.name for entry in fields(a)):
        x, y = getattr(a, name), getattr(b, name)
        if isinstance(x, Motion | Landmarks | Camera | Sound):
            assert_same(x, y)
        elif isinstance(x, np.ndarray | torch.Tensor):
            np.testing.assert_allclose(np.asarray(x), np.asarray(y), atol=1 / 32767)
        else:
            assert x == y, name


def test_capture_and_track_round_trip(tmp_path: Path) -> None:
    work, capture, track = saved_work(tmp_path)
    assert_same(capture, store.load_capture(work))
    assert_same(track, store.load_track(work))


def test_a_sound_that_came_late_is_moved_when_read(tmp_path: Path) -> None:
    work, capture, _ = saved_work(tmp_path)
    store.write_json(work.sync, {"late_s": 0.04, "lag": None})
    moved = store.load_capture(work).sound
    assert moved is not None and capture.sound is not None
    assert_same(moved, capture.sound.earlier(0.04))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    store.write_json(target, 1)
    with pytest.raises(RuntimeError), store.replacing(target) as part:
        part.write_text("half")
        raise RuntimeError
    assert store.read_json(target) == 1
    assert list(tmp_path.iterdir()) == [target]


def test_files_can_be_read_by_whom_the_umask_admits(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        store.write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(2)})
    finally:
        os.umask(old)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.avatar"
    for name in ("old", "new"):
        with store.replacing(target) as part:
            part.mkdir()
            (part / name).touch()
    assert [file.name for file in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_sweep_removes_left_overs_only(tmp_path: Path) -> None:
    (tmp_path / "frames.part-12345678.npy").touch()
    (tmp_path / "frames.npy").touch()
    store.sweep(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["frames.npy"]


def test_stage_keys(tmp_path: Path) -> None:
    work = store.Work(tmp_path)
    assert work.key("track") is None
    work.finish("capture", "1")
    work.finish("track", "2")
    assert (work.key("capture"), work.key("track")) == ("1", "2")
    assert store.key_of({"a": 1, "b": 2}) == store.key_of({"b": 2, "a": 1}) != store.key_of({"a": 1, "b": 3})


@pytest.mark.parametrize("name", ["frames.npy", "track.safetensors", "landmarks.safetensors", "capture.json"])
@pytest.mark.parametrize("damage", ["missing", "short", "noise"])
def test_damage_is_named(tmp_path: Path, name: str, damage: str) -> None:
    work, _, _ = saved_work(tmp_path)
    file = tmp_path / name
    data = file.read_bytes()
    file.unlink()
    if damage == "short":
        file.write_bytes(data[: len(data) // 2])
    if damage == "noise":
        file.write_bytes(bytes(range(256)) * 4)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        store.load_capture(work)
        store.load_track(work)


def test_another_version_is_refused(tmp_path: Path) -> None:
    work, _, _ = saved_work(tmp_path)
    about = json.loads(work.capture_json.read_text())
    work.capture_json.write_text(json.dumps(about | {"version": 99}))
    with pytest.raises(InputError, match="version 99"):
        store.load_capture(work)


def head_tensors() -> dict[str, torch.Tensor]:
    shapes = {"means": (5, 3), "quats": (5, 4), "log_scales": (5, 3), "opacity_logits": (5,), "colours": (5, 3)}
    tensors = {name: torch.randn(*shape) for name, shape in shapes.items()}
    return tensors | {"tables": torch.randn(3, 5, 9), "group": torch.arange(5, dtype=torch.uint8), "background": torch.rand(8, 8, 3)}  # fmt: skip  # noqa: E501


def test_avatar_folder_round_trip(tmp_path: Path) -> None:
    folder = store.AvatarFolder(tmp_path / "me.avatar")
    head, voice = head_tensors(), {"w": torch.randn(3, 2)}
    folder.write({"name": "me"}, head, voice, motion())
    assert folder.read_manifest()["name"] == "me"
    back = folder.read_head()
    assert back.keys() == head.keys()
    torch.testing.assert_close(back["tables"], head["tables"], atol=float(head["tables"].abs().max()) / 250, rtol=0)
    torch.testing.assert_close(back["background"], head["background"], atol=1 / 500, rtol=0)
    torch.testing.assert_close(back["means"], head["means"])
    torch.testing.assert_close(folder.read_voice()["w"], voice["w"])
    assert_same(folder.read_clip(), motion())


@pytest.mark.parametrize("body", [None, some(T, 7)])
def test_a_motion_comes_back_with_the_body_it_had(tmp_path: Path, body: np.ndarray | None) -> None:
    whole = replace(motion(), body=body)
    store.save_motion(tmp_path / "motion.safetensors", whole)
    assert_same(store.load_motion(tmp_path / "motion.safetensors"), whole)


def test_an_avatar_may_hold_a_voice_for_speech_that_is_still_coming(tmp_path: Path) -> None:
    folder, live = store.AvatarFolder(tmp_path / "me.avatar"), {"w": torch.randn(3, 2)}
    folder.write({}, head_tensors(), None, motion(), live_voice=live, network=b"a network")
    torch.testing.assert_close(folder.read_voice(store.LIVE_VOICE)["w"], live["w"])
    assert (folder.path / "audio2motion.onnx").read_bytes() == b"a network"
    assert set(folder.read_manifest()["files"]) >= {"audio2motion.onnx", "audio2motion_live.safetensors"}


def test_a_compact_voice_is_bytes_that_come_back_near(tmp_path: Path) -> None:
    folder = store.AvatarFolder(tmp_path / "small.avatar")
    rows = torch.logspace(-3, 3, 40)[:, None, None]  # each with a range of its own
    voice = {"net.0.weight": rows * torch.randn(40, 16, 3), "net.0.bias": torch.randn(40), "gain": torch.tensor(1.5)}
    folder.write({}, head_tensors(), voice, motion(), steps={}, live_voice=voice, network=b"a network")
    for name in ("audio2motion", store.LIVE_VOICE):
        back = folder.read_voice(name)
        assert back.keys() == voice.keys()
        apart = (back["net.0.weight"] - voice["net.0.weight"]).abs().amax((1, 2))
        assert (apart <= voice["net.0.weight"].abs().amax((1, 2)) / 127 * 0.71).all()
        assert torch.equal(back["net.0.bias"], voice["net.0.bias"])
        assert back["gain"] == 1.5 and back["gain"].shape == ()
    assert (folder.path / "audio2motion.safetensors.gz").stat().st_size < 1.4 * 40 * 16 * 3
    assert not (folder.path / "audio2motion.onnx").exists()


def test_a_damaged_avatar_names_the_file(tmp_path: Path) -> None:
    folder = store.AvatarFolder(tmp_path / "me.avatar")
    folder.write({}, head_tensors(), None, motion())
    ply = folder.path / "splats.ply"
    ply.write_bytes(ply.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(InputError, match=r"splats\.ply differs"):
        folder.read_manifest()
    ply.unlink()
    with pytest.raises(InputError, match=r"splats\.ply is missing"):
        folder.read_manifest()
    with pytest.raises(InputError, match="not an avatar folder"):
        store.AvatarFolder(tmp_path).read_manifest()
