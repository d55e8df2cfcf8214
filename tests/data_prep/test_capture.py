# SPDX-License-Identifier: Apache-2.0
"""Videos of a made-up person, framed and spoilt in many ways, through the whole capture stage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import write_clip

from avatar3d import media
from avatar3d.data_prep.capture import CaptureSettings, capture
from avatar3d.errors import InputError
from avatar3d.records import Progress, Sound
from avatar3d.store import Work, load_capture

SECONDS, SIZE = 2, 160
SHORT = CaptureSettings(min_seconds=1)
Film = tuple[list[np.ndarray], Sound]


@pytest.fixture(scope="module")
def film(face_task: Path) -> Film:
    """Frames [160,160,3] and sound."""
    from avatar3d.data_prep import synthetic
    from avatar3d.face.canonical import load_canonical

    shot = synthetic.film(
        synthetic.Person(load_canonical(face_task), 1), SECONDS, SIZE, seed=3, samples_per_pixel_side=1
    )
    return list(shot.frames()), shot.truth.sound


def placed(frames: list[np.ndarray], width: int, height: int, left: int, top: int) -> list[np.ndarray]:
    """The frames within a larger grey picture."""
    out = []
    for frame in frames:
        picture = np.full((height, width, 3), 110, np.uint8)
        picture[top : top + len(frame), left : left + len(frame)] = frame
        out.append(picture)
    return out


def about(work: Work) -> dict[str, Any]:
    return json.loads(work.capture_json.read_text())


def test_head_is_cut_out_at_working_size(film: Film, face_task: Path, tmp_path: Path) -> None:
    frames, sound = film
    video = write_clip(tmp_path / "clip.mp4", placed(frames, 480, 270, 200, 60), sound)
    work = Work(tmp_path / "work")
    taken, landmarks = capture(video, work, face_task, SHORT)
    assert taken.frames.shape == (SECONDS * 25, 128, 128, 3)
    assert isinstance(taken.frames, np.memmap)
    assert landmarks.found.all()
    low, high = landmarks.points[..., :2].min((0, 1)), landmarks.points[..., :2].max((0, 1))
    assert low.min() > 2
    assert high.max() < 126
    crop = about(work)["crop"]
    left, top = crop["left"], crop["top"]
    centre_x = left + np.median(landmarks.points[..., 0]) * crop["side"] / 128
    assert 240 < centre_x < 320  # where the head was put
    if crop["side"] == 128:  # and the pixels are the video's own
        shown = next(media.frames(video))[top : top + 128, left : left + 128]
        np.testing.assert_array_equal(taken.frames[0], shown)


def test_landmarks_lie_where_the_video_shows_them(film: Film, face_task: Path, tmp_path: Path) -> None:
    """The points of the crop, put back into the video, are those found in the video itself."""
    from avatar3d.data_prep.landmarks import detect

    big = [np.repeat(np.repeat(frame, 2, 0), 2, 1) for frame in film[0][:30]]
    video = write_clip(tmp_path / "clip.mp4", placed(big, 480, 400, 100, 60))
    work = Work(tmp_path / "work")
    _, landmarks = capture(video, work, face_task, replace(SHORT, size=128))
    crop = about(work)["crop"]
    assert crop["side"] > crop["size"] == 128
    whole = detect(list(media.frames(video)), face_task)
    back = landmarks.points[..., :2] * crop["side"] / 128 + np.array([crop["left"], crop["top"]])
    assert np.median(np.linalg.norm(back - whole.points[..., :2], axis=-1)) < 2.5


def test_square_picture_with_a_large_head_is_left_alone(film: Film, face_task: Path, tmp_path: Path) -> None:
    frames = [frame[16:144, 16:144] for frame in film[0]]
    video = write_clip(tmp_path / "clip.mp4", frames, film[1])
    taken, _ = capture(video, Work(tmp_path / "work"), face_task, SHORT)
    for mine, theirs in zip(taken.frames, media.frames(video), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert taken.sound is not None
    assert len(taken.sound.samples) == SECONDS * 16_000


def test_second_call_reads_back_and_other_settings_do_not(film: Film, face_task: Path, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "clip.mp4", film[0], film[1])
    work = Work(tmp_path / "work")
    said: list[Progress] = []
    first, seen = capture(video, work, face_task, SHORT, said.append)
    assert {message.stage for message in said} >= {"looking for the face", "frames", "landmarks"}
    assert said[-1].done == 1.0
    said.clear()
    again, seen_again = capture(video, work, face_task, SHORT, said.append)
    assert said == []
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(seen.points, seen_again.points)
    shorter, _ = capture(video, work, face_task, replace(SHORT, max_seconds=1.5), said.append)
    assert said
    assert len(shorter.frames) == 38
    assert shorter.sound is not None
    assert shorter.sound.seconds == pytest.approx(38 / 25)


@pytest.mark.parametrize("stage", ["looking for the face", "frames", "landmarks"])
def test_interrupted_call_is_taken_up_again(stage: str, film: Film, face_task: Path, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "clip.mp4", film[0], film[1])
    work = Work(tmp_path / "work")

    def interrupt(message: Progress) -> None:
        if message.stage == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(video, work, face_task, SHORT, interrupt)
    assert not list(work.path.glob("*.part-*"))
    assert not work.capture_json.exists()
    said: list[Progress] = []
    taken, landmarks = capture(video, work, face_task, SHORT, said.append)
    assert len(taken.frames) == len(landmarks.points) == SECONDS * 25
    assert ("frames" not in {message.stage for message in said}) == (stage == "landmarks")


def test_interrupted_new_capture_does_not_pass_for_the_old_one(film: Film, face_task: Path, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "clip.mp4", film[0], film[1])
    work = Work(tmp_path / "work")
    capture(video, work, face_task, SHORT)

    def interrupt(message: Progress) -> None:
        if message.stage == "landmarks":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(video, work, face_task, replace(SHORT, max_seconds=1.5), interrupt)
    taken, _ = capture(video, work, face_task, SHORT)
    assert len(taken.frames) == SECONDS * 25


def test_refusals_name_the_fault_and_write_nothing(film: Film, face_task: Path, tmp_path: Path) -> None:
    frames, _ = film
    small = [frame[::2, ::2] for frame in frames]
    work = Work(tmp_path / "work")

    def refused(pictures: list[np.ndarray], words: str, settings: CaptureSettings = SHORT) -> None:
        video = write_clip(tmp_path / "clip.mp4", pictures)
        with pytest.raises(InputError, match=words):
            capture(video, work, face_task, settings)
        assert not work.path.exists()

    refused(frames, "2.0 s of video, 5 s are needed", CaptureSettings())
    refused([np.full((200, 200, 3), 90, np.uint8)] * 50, "no face found")
    refused([np.hstack([frame, frame[:, ::-1]]) for frame in frames], "two faces")
    refused(placed(small, 360, 240, 40, 80), "the face is .* px high, 64 are needed")
    refused(small, "picture is 80x80 px")
    refused(frames, "not a working size", replace(SHORT, size=200))


def test_warnings_and_lost_faces_are_kept(film: Film, face_task: Path, tmp_path: Path) -> None:
    frames, sound = film
    empty = np.full_like(frames[0], 90)
    spoilt = [empty if 20 <= index < 30 else frame for index, frame in enumerate(frames)]
    work = Work(tmp_path / "work")
    taken, landmarks = capture(write_clip(tmp_path / "mute.mp4", spoilt), work, face_task, SHORT)
    assert not landmarks.found[20:30].any()
    assert landmarks.found[:20].all()
    assert landmarks.found[30:].all()
    assert np.isnan(landmarks.points[25]).all()
    assert taken.sound is None
    assert taken.cuts == (20, 30)
    said = about(work)
    assert said["bad_frames"] == list(range(20, 30))
    assert any("no audio track" in words for words in said["warnings"])
    assert any("60 s or more" in words for words in said["warnings"])
    assert any("no face in 10 of 50 frames" in words for words in said["warnings"])

    silent = Sound(np.zeros_like(sound.samples), sound.rate)
    capture(write_clip(tmp_path / "silent.mp4", frames, silent), Work(tmp_path / "other"), face_task, SHORT)
    assert any("silent" in words for words in about(Work(tmp_path / "other"))["warnings"])


def test_small_face_in_a_large_picture_is_searched_for(film: Film, face_task: Path, tmp_path: Path) -> None:
    """A face that the detector misses in the whole picture is found piece by piece."""
    from avatar3d.data_prep.landmarks import Landmarker

    pictures = placed(film[0], 1280, 720, 800, 300)
    with Landmarker(face_task) as landmarker:
        assert landmarker.find(pictures[0]) == []
    video = write_clip(tmp_path / "clip.mp4", pictures)
    work = Work(tmp_path / "work")
    _, landmarks = capture(video, work, face_task, SHORT)
    assert landmarks.found.all()
    assert 780 < about(work)["crop"]["left"] < 900


def test_masks_of_an_earlier_capture_go(film: Film, face_task: Path, tmp_path: Path) -> None:
    video = write_clip(tmp_path / "clip.mp4", film[0], film[1])
    work = Work(tmp_path / "work")
    taken, _ = capture(video, work, face_task, SHORT)
    np.save(work.masks, np.zeros(taken.frames.shape[:3], np.uint8))
    capture(video, work, face_task, replace(SHORT, max_seconds=1.5))
    assert load_capture(work).masks is None


def test_unwritable_folder_is_told(film: Film, face_task: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    video = write_clip(tmp_path / "clip.mp4", film[0])
    with pytest.raises(InputError, match="cannot be written"):
        capture(video, Work(file / "work"), face_task, SHORT)


@pytest.mark.footage
def test_real_clip_is_kept_pixel_for_pixel(captures: Path, face_task: Path, tmp_path: Path) -> None:
    video = captures / "hill_wda_8s_512.mp4"
    taken, landmarks = capture(video, Work(tmp_path / "work"), face_task)
    assert taken.frames.shape == (200, 512, 512, 3)
    assert landmarks.found.all()
    assert taken.cuts == ()
    np.testing.assert_array_equal(taken.frames[0], next(media.frames(video)))


@pytest.mark.footage
def test_cuts_between_shots_that_look_alike(captures: Path, face_task: Path, tmp_path: Path) -> None:
    settings = CaptureSettings(max_seconds=12)
    taken, _ = capture(captures / "grid_s1_dev.mp4", Work(tmp_path / "work"), face_task, settings)
    assert taken.cuts == tuple(range(75, 300, 75))
