# SPDX-License-Identifier: Apache-2.0
"""Another tool's folder becomes a work folder: what is shown when, whose poses and masks, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from avatar3d.data_prep import exchange
from avatar3d.data_prep.exchange.taken import TakeSettings, rows_at, take
from avatar3d.data_prep.synthetic import Person, film
from avatar3d.errors import InputError
from avatar3d.face.canonical import load_canonical
from avatar3d.geometry import compose, invert, rotvec_from_quat
from avatar3d.recipes.bring_in import bring_in
from avatar3d.records import Capture, Landmarks, Motion, Track, held_out_start, unwatched
from avatar3d.store import Work, load_capture, load_landmarks, load_track

SECONDS, SIZE = 6, 160
LOST = (40, 41, 42)
NOTHING_SEEN = Landmarks(np.empty((0, 478, 3)), np.empty((0, 52)), np.empty(0, bool))  # writers do not ask


def test_a_missing_number_is_a_gap_and_other_rates_are_met() -> None:
    assert rows_at(np.array([3, 4, 6]), 25.0).tolist() == [0, 1, -1, 2]
    assert rows_at(np.arange(60), 60.0).tolist() == [round(k * 2.4) for k in range(25)]
    assert rows_at(np.arange(3), 12.5).tolist() == [0, 0, 1, 2, 2, 2]  # the nearest, halves to the even one


@pytest.fixture(scope="module")
def tool(face_task: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Track]:
    """A made-up talker as AD-NeRF's tools leave one, three frames without a pose, and the truth about it."""
    face = load_canonical(face_task)
    shot = film(Person(face, 1), SECONDS, SIZE, seed=3, samples_per_pixel_side=1)
    frames = np.stack(list(shot.frames()))
    truth = shot.truth
    count = len(frames)
    motion = Motion(
        np.zeros((count, 1), np.float32), np.zeros((count, 2), np.float32), np.zeros((count, 4), np.float32),
        truth.world_from_head, 25.0,
    )  # fmt: skip
    confidence = np.ones(count, np.float32)
    confidence[list(LOST)] = 0
    track = Track(
        truth.camera, face.vertices, np.zeros((468, 3, 1), np.float32), motion,
        NOTHING_SEEN, confidence, held_out_start(count), True, np.zeros((53, 1), np.float32),
    )  # fmt: skip
    person = np.zeros((count, SIZE, SIZE), np.uint8)
    person[:, 20:, 30:130] = 255
    capture = Capture(frames, truth.sound, 25.0, (), "made up", person, frames[0])
    out = tmp_path_factory.mktemp("tool") / "someone"
    out.mkdir()
    exchange.WRITERS["ad-nerf"](out, capture, track, unwatched)
    return out, track


@pytest.fixture(scope="module")
def work(tool: tuple[Path, Track], tmp_path_factory: pytest.TempPathFactory) -> Work:
    return bring_in(tool[0], tmp_path_factory.mktemp("taken") / "work").work


def turns(track: Track) -> torch.Tensor:
    return torch.from_numpy(track.motion.head).double()


def test_poses_and_camera_are_theirs(work: Work, tool: tuple[Path, Track]) -> None:
    """Their head space and ours differ by one similarity: between two frames the head turns as it did there."""
    ours, theirs = load_track(work), tool[1]
    kept = theirs.confidence > 0
    apart = compose(invert(turns(ours)), turns(theirs))[kept]
    change = compose(invert(apart[:1].expand_as(apart)), apart)
    assert rotvec_from_quat(change[:, :4]).norm(dim=1).max() < 1e-5  # rad
    crop = json.loads(work.capture_json.read_text())["crop"]
    scale = crop["size"] / crop["side"]
    K = theirs.camera.K
    assert ours.camera.K[0, 0] == pytest.approx(float(K[0, 0]) * scale, rel=1e-6)
    assert ours.camera.K[0, 2] == pytest.approx((float(K[0, 2]) - crop["left"]) * scale, rel=1e-6)
    assert ours.focal_observable


def test_a_frame_without_a_pose_keeps_its_place(work: Work, tool: tuple[Path, Track]) -> None:
    taken, landmarks, track = load_capture(work), load_landmarks(work), load_track(work)
    assert len(taken.frames) == len(tool[1].motion)
    assert not landmarks.found[list(LOST)].any() and landmarks.found.mean() > 0.9
    assert (track.confidence[list(LOST)] < 0.5).all()
    assert np.array_equal(taken.frames[40], taken.frames[39]) and np.array_equal(taken.frames[42], taken.frames[39])
    assert taken.sound is not None and len(taken.sound.samples) == len(taken.frames) * taken.sound.rate // 25


def test_masks_are_theirs(work: Work) -> None:
    crop = json.loads(work.capture_json.read_text())["crop"]
    person = np.zeros((SIZE, SIZE), np.uint8)
    person[20:, 30:130] = 255
    expected = Image.fromarray(person).resize((crop["size"],) * 2, Image.Resampling.BOX, box=_box(crop))
    made = load_capture(work).masks
    assert made is not None
    assert np.abs(made[0].astype(int) - np.asarray(expected)).mean() < 3


def _box(crop: dict[str, int]) -> tuple[int, int, int, int]:
    return crop["left"], crop["top"], crop["left"] + crop["side"], crop["top"] + crop["side"]


def test_the_same_again_is_read_back(work: Work, tool: tuple[Path, Track]) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in (work.frames, work.masks, work.track_file)}
    figures = bring_in(tool[0], work.path).figures
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert figures["format"] == "ad-nerf" and figures["their_masks"] and figures["poses"] == len(tool[1].motion) - 3


def folder_of(tool: tuple[Path, Track], out: Path, **about: Any) -> Path:
    """The same pictures in a folder of its own, with other words about them."""
    (out / "ori_imgs").symlink_to(tool[0] / "ori_imgs")
    said = json.loads((tool[0] / "transforms_train.json").read_text())
    (out / "transforms_train.json").write_text(json.dumps(said | about))
    return out


def test_another_folders_work_is_not_overwritten(work: Work, tool: tuple[Path, Track], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds the work of another video"):
        bring_in(folder_of(tool, tmp_path, focal_len=400.0), work.path)


def test_too_few_frames_are_refused(tool: tuple[Path, Track], tmp_path: Path) -> None:
    said = json.loads((tool[0] / "transforms_train.json").read_text())
    folder = folder_of(tool, tmp_path, frames=said["frames"][:50])
    with pytest.raises(InputError, match=r"2\.1 s of pictures, 5 s are needed"):
        bring_in(folder, tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_poses_of_something_else_are_refused(tool: tuple[Path, Track], tmp_path: Path) -> None:
    """A room that was scanned with the person in it: the camera's path says nothing about the head."""
    said = json.loads((tool[0] / "transforms_train.json").read_text())
    rng = np.random.default_rng(0)
    for row in said["frames"]:
        pose = np.array(row["transform_matrix"])
        pose[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        pose[:3, :3] *= np.sign(np.linalg.det(pose[:3, :3]))
        row["transform_matrix"] = pose.tolist()
    with pytest.raises(InputError, match="do not put the face where the pictures show it"):
        bring_in(folder_of(tool, tmp_path, frames=said["frames"]), tmp_path / "work")


def test_a_damaged_picture_is_named(tool: tuple[Path, Track], tmp_path: Path) -> None:
    folder = folder_of(tool, tmp_path)
    (folder / "ori_imgs").unlink()
    shutil.copytree(tool[0] / "ori_imgs", folder / "ori_imgs")
    path = folder / "ori_imgs/70.jpg"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match=r"70\.jpg: not a picture, or damaged"):
        bring_in(folder, tmp_path / "work")


def test_sound_of_ones_own_begins_with_frame_zero(tool: tuple[Path, Track], face_task: Path, tmp_path: Path) -> None:
    said = json.loads((tool[0] / "transforms_train.json").read_text())
    folder = folder_of(tool, tmp_path, frames=said["frames"][5:])
    soundfile.write(tmp_path / "film.wav", np.linspace(-0.5, 0.5, 7 * 16000), 16000)
    settings = TakeSettings(sound=tmp_path / "film.wav")
    taken, _ = take(exchange.read(folder), Work(tmp_path / "work"), face_task, settings)
    assert taken.sound is not None
    assert taken.sound.samples[0] == pytest.approx(-0.5 + 5 / 25 / 7, abs=1e-3)
