# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from openface_stand_in import stand_in
from torch import Tensor

from avatar3d import assets, media
from avatar3d.avatars import Avatar
from avatar3d.data_prep.landmarks import Face
from avatar3d.errors import InputError
from avatar3d.geometry import intrinsics
from avatar3d.metrics import Figures
from avatar3d.player import Player
from avatar3d.recipes import evaluate as recipe
from avatar3d.recipes._contender import spoken
from avatar3d.recipes._sheets import contact_sheet
from avatar3d.recipes.evaluate import EvalSettings, avatars_of, evaluate, table
from avatar3d.records import Camera, Capture, Gaussians, Image, Landmarks, Motion, Sound, Track, held_out_start
from avatar3d.store import Work, frames_writer, load_picture, load_track, save_capture, save_track

FRAMES, SIDE, CODES = 110, 48, 3
START = held_out_start(FRAMES)


def camera() -> Camera:
    return Camera(intrinsics(100.0, SIDE, SIDE), torch.eye(4), SIDE, SIDE)


def motion() -> Motion:
    head = np.tile(np.array([1, 0, 0, 0, 0, 0, 5], np.float32), (FRAMES, 1))
    head[:, 4] = np.arange(FRAMES) * 0.001
    expression = np.zeros((FRAMES, CODES), np.float32)
    expression[:, 0] = np.sin(np.arange(FRAMES) * 0.7)
    return Motion(expression, np.zeros((FRAMES, 2), np.float32), np.zeros((FRAMES, 4), np.float32), head, 25.0)


def picture(code: Tensor) -> Tensor:
    """What the head of these tests looks like at a code: a pattern whose brightness is the first number."""
    pattern = torch.linspace(0.2, 0.6, SIDE)[:, None, None] + torch.linspace(0, 0.2, SIDE)[None, :, None]
    return (pattern + 0.1 * code[0]).expand(SIDE, SIDE, 3)


def film() -> np.ndarray:
    codes = torch.from_numpy(motion().expression)
    return np.stack([(picture(code).clamp(0, 1) * 255).round().byte().numpy() for code in codes])


def landmarks() -> Landmarks:
    points = np.repeat(np.random.default_rng(0).uniform(12, 36, (1, 478, 3)), FRAMES, 0).astype(np.float32)
    points[:, 14, 1] += 3 * motion().expression[:, 0]
    return Landmarks(points, np.full((FRAMES, 52), 0.5, np.float32), np.ones(FRAMES, bool))


class PatternHead:
    """Its colours carry the code; `encode` remembers what it was asked."""

    def __init__(self) -> None:
        self.camera, self.background = camera(), torch.zeros(SIDE, SIDE, 3)
        self.asked: list[tuple[Motion, tuple[int, ...]]] = []

    def encode(self, motion: Motion, cuts: tuple[int, ...] = ()) -> Tensor:
        self.asked.append((motion, tuple(cuts)))
        return torch.from_numpy(motion.expression)

    def pose(self, code: Tensor) -> Gaussians:
        empty = torch.zeros(1)
        return Gaussians(empty, empty, empty, empty, code, empty)

    def config(self) -> dict[str, Any]:
        return {}

    def tensors(self) -> dict[str, Tensor]:
        return {}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        raise NotImplementedError


class PatternDraw:
    def __call__(self, gaussians: Gaussians, camera: Camera) -> Image:
        alpha = torch.ones(camera.height, camera.width)
        return Image(picture(gaussians.colours), alpha, alpha)


class HalfVoice:
    """Says what the track does, at half the size, and notes the sound that it heard."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, int]] = []  # samples and seed

    def __call__(self, sound: Sound, seed: int = 0) -> Motion:
        self.heard.append((len(sound.samples), seed))
        rows = round(sound.seconds * 25)
        tail = motion()[slice(FRAMES - rows, FRAMES)]
        return Motion(tail.expression / 2, tail.blink + 0.25, tail.gaze, tail.head * np.nan, 25.0)

    def config(self) -> dict[str, Any]:
        return {}

    def tensors(self) -> dict[str, Tensor]:
        return {}


class PatternLandmarker:
    """Reads the code back out of the brightness."""

    def __init__(self, _: Path) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def largest(self, frame: np.ndarray) -> Face:
        plain = float(picture(torch.zeros(1)).mean())
        points = landmarks().points[0].copy()
        points[14, 1] += 3 * (frame.mean() / 255 - plain) * 10
        return Face(points, np.full(52, 0.5, np.float32))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """A work folder with an avatar of the pattern head; neither model nor weights are asked for."""
    monkeypatch.setenv("AVATAR3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AVATAR3D_ASSETS", raising=False)
    folder = Work(tmp_path / "capture")
    frames = film()
    with frames_writer(folder.frames, frames.shape) as array:
        array[:] = frames
    sound = Sound(np.zeros(FRAMES * 640, np.float32), 16_000)
    save_capture(folder, Capture(frames, sound, 25.0, (30,), "x"), landmarks(), {})
    neutral = np.random.default_rng(1).uniform(-0.5, 0.5, (468, 3)).astype(np.float32)
    save_track(
        folder,
        Track(
            camera(), neutral, np.zeros((468, 3, CODES), np.float32), motion(), landmarks(),
            np.ones(FRAMES, np.float32), START, False, np.zeros((53, CODES), np.float32),
        ),
    )  # fmt: skip
    (folder.path / "me.avatar").mkdir()
    (folder.path / "me.avatar" / "avatar.json").write_text("{}")
    monkeypatch.setattr(recipe, "Landmarker", PatternLandmarker)
    monkeypatch.setattr(recipe, "renderer_of", lambda *_: PatternDraw())
    monkeypatch.setattr(assets, "find", lambda name, *_: Path(name))
    return folder


@pytest.fixture
def avatar(monkeypatch: pytest.MonkeyPatch) -> Avatar:
    made = Avatar(PatternHead(), HalfVoice(), motion()[slice(0, 20)], {"preset": "quick"})  # type: ignore[arg-type]
    monkeypatch.setattr(recipe, "open_avatar", lambda _: made)
    return made


@pytest.mark.usefixtures("avatar")
def test_a_head_that_draws_the_truth_is_perfect_and_the_rest_is_not(work: Work) -> None:
    told: dict[str, list[float]] = {}
    report = evaluate(work, EvalSettings(), lambda one: told.setdefault(one.stage, []).append(one.done))
    assert report["frames"] == FRAMES - START and report["first_frame"] == START
    assert (report["capture"], report["preset"], report["device"]) == ("capture", "quick", "cpu")
    tracked, audio = report["self_tracked"], report["self_audio"]
    assert list(tracked) == list(audio) == list(report["baselines"]["warp"]) == Figures.names()
    assert tracked["psnr_full"] > 75 and tracked["aperture_r"] == pytest.approx(1.0, abs=1e-3)
    assert audio["psnr_full"] < 40 and audio["aperture_gain"] == pytest.approx(0.5, abs=0.02)
    assert report["baselines"]["mean_image"]["psnr_full"] < 40
    assert tracked["lpips_head"] is None and any("LPIPS" in note for note in report["notes"])
    assert list(told) == ["refine", "eval"]
    assert all(done[-1] == 1.0 and done == sorted(done) for done in told.values())
    assert report["render_fps"] > 0 and report["seconds"]["eval"] > 0 and report["peak_rss_mb"] > 0


@pytest.mark.usefixtures("avatar")
def test_what_is_written_can_be_read_back(work: Work, tmp_path: Path) -> None:
    report = evaluate(work, EvalSettings(frames=tmp_path / "pairs"))
    kept = {name: value for name, value in report.items() if name != "heads"}
    assert json.loads((work.run("me") / "metrics.json").read_text()) == kept
    for production, same in (("self_tracked", True), ("self_audio", False)):
        for row in range(START, FRAMES):
            made = load_picture(tmp_path / "pairs" / production / f"{row:06d}_pred.png")
            true = load_picture(tmp_path / "pairs" / production / f"{row:06d}_true.png")
            np.testing.assert_array_equal(true, film()[row])
            assert made.shape == true.shape and (not same or (made == true).all())
    assert load_picture(work.run("me") / "contact.png").shape[1] == 3 * SIDE
    assert load_picture(work.run("me") / "orbit.png").shape[1] == 7 * SIDE
    assert (work.run("me") / "orbit.gif").stat().st_size > 0
    assert START <= report["orbit"]["frame"] < FRAMES and report["orbit"]["camera"]["alpha_inside"] == 1
    text = table(report)
    assert "alpha_inside" in text and "self_audio" in text and "psnr_face" in text and "warp" in text


def test_the_head_is_given_cuts_and_the_whole_motion(work: Work, avatar: Avatar) -> None:
    evaluate(work, EvalSettings(baselines=False, motion="landmarks"))
    assert isinstance(avatar.head, PatternHead)
    tracked, said = avatar.head.asked[:2]
    assert tracked[1] == said[1] == (30,) and len(tracked[0]) == len(said[0]) == FRAMES
    np.testing.assert_array_equal(said[0].head, motion().head)
    np.testing.assert_allclose(said[0].blink[START:], 0.25)


@pytest.mark.usefixtures("avatar")
def test_motion_is_refined_on_the_pictures_and_both_are_named(work: Work) -> None:
    track = load_track(work)
    wrong = track.motion.expression.copy()
    wrong[START:, 0] += 0.2
    save_track(work, replace(track, motion=replace(track.motion, expression=wrong)))
    report = evaluate(work, EvalSettings(baselines=False))
    assert report["motion"] == "photometric"
    assert report["self_tracked"]["psnr_full"] > report["self_landmarks"]["psnr_full"] + 6
    assert "self_landmarks" in table(report) and "the head is frozen" in table(report)
    plain = evaluate(work, EvalSettings(baselines=False, motion="landmarks"))
    assert plain["motion"] == "landmarks" and plain["self_landmarks"] is None
    assert plain["self_tracked"] == report["self_landmarks"]
    assert "self_landmarks" not in table(plain)


def test_without_a_voice_or_baselines_their_places_stay_empty(
    work: Work, avatar: Avatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "open_avatar", lambda _: Avatar(avatar.head, None, avatar.clip))
    report = evaluate(work, EvalSettings(baselines=False))
    assert report["self_audio"] is None and report["baselines"] == {} and report["preset"] is None
    assert any("self_audio" in note for note in report["notes"])
    assert "self_audio" not in table(report).splitlines()[2]


@pytest.mark.usefixtures("avatar")
def test_all_avatars_of_a_folder_are_judged_side_by_side(work: Work, tmp_path: Path) -> None:
    other = work.path / "other.avatar"
    other.mkdir()
    (other / "avatar.json").write_text("{}")
    os.utime(work.path / "me.avatar" / "avatar.json", (1, 1))
    report = evaluate(work, EvalSettings(motion="landmarks", frames=tmp_path / "pairs"))
    assert list(report["heads"]) == ["other", "me"]  # the newest first, whose figures stand on the top level too
    assert report["heads"]["other"].items() <= report.items()
    assert report["heads"]["me"]["self_tracked"] == report["self_tracked"]
    assert {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "pairs").glob("*/*")} == {
        f"pairs/{name}/{production}" for name in ("me", "other") for production in ("self_tracked", "self_audio")
    }
    for name in ("me", "other"):
        assert json.loads((work.run(name) / "metrics.json").read_text())["self_tracked"]["psnr_full"] > 30
        assert (work.run(name) / "contact.png").is_file()
    page = (work.path / "eval.html").read_text(encoding="utf-8")
    assert "<h2>me</h2>" in page and "<h2>other</h2>" in page and "psnr_face" in page
    assert all(link.startswith("data:") for link in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert page.count("data:image/jpeg") == 2 * (2 + 3 * 3 + 1)  # slider, worst frames, orbit
    shown = list(media.frames(work.path / "eval.mp4", 25.0))
    assert len(shown) == FRAMES - START and shown[0].shape[1] == 3 * SIDE
    real, other_made, mine = (shown[-1][-SIDE:, at : at + SIDE].astype(int) for at in (0, SIDE, 2 * SIDE))
    assert np.abs(real - film()[-1]).mean() < 6 and np.abs(other_made - mine).mean() < 3
    sound = media.sound(work.path / "eval.mp4")
    assert sound is not None and sound.seconds == pytest.approx((FRAMES - START) / 25, abs=0.1)
    heads, productions = table(report).splitlines()[2:4]
    assert heads.split() == ["other"] * 2 + ["me"] * 2
    assert productions.split()[-3:] == ["nearest_frame", "mean_image", "warp"]


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for OpenFace is a script with a #! line")
@pytest.mark.usefixtures("avatar")
def test_networks_of_the_users_own_are_heard_where_they_are(work: Work, tmp_path: Path) -> None:
    assert any("no LSE" in note for note in evaluate(work, EvalSettings(baselines=False))["notes"])
    weights = tmp_path / "weights"
    weights.mkdir()
    stand_in(weights / "FeatureExtraction")
    report = evaluate(work, EvalSettings(baselines=False, weights=weights))
    name = next(iter(report["heads"]))
    assert set(report["networks"]) == {"real", f"{name}/self_tracked", f"{name}/self_landmarks", f"{name}/self_audio"}
    assert report["networks"][f"{name}/self_audio"]["aue_lower"] == 12
    assert report["networks"][f"{name}/self_audio"]["fid"] is None
    assert "aue_upper" in table(report)


def test_avatars_are_found_by_age_and_told_apart_by_name(work: Work) -> None:
    other = work.path / "other.avatar"
    other.mkdir()
    (other / "avatar.json").write_text("{}")
    os.utime(work.path / "me.avatar" / "avatar.json", (1, 1))
    assert avatars_of(work) == [other, work.path / "me.avatar"]
    with pytest.raises(InputError, match="no avatar"):
        avatars_of(Work(work.path / "elsewhere"))
    with pytest.raises(InputError, match="two avatars of one name"):
        evaluate(work, EvalSettings((other, work.path / "copy" / "other.avatar")))


def test_the_voice_hears_five_seconds_of_lead_in_and_a_missing_end_is_held() -> None:
    track = Track(
        camera(), np.zeros((468, 3)), np.zeros((468, 3, CODES)), motion(), landmarks(), np.ones(FRAMES), START, False,
        np.zeros((53, CODES)),
    )  # fmt: skip
    voice = HalfVoice()
    sound = Sound(np.zeros((FRAMES + 40) * 640, np.float32), 16_000)
    late = spoken(voice, sound, track, FRAMES - 2, seed=9)  # type: ignore[arg-type]
    assert voice.heard == [(min(FRAMES, 125 + 2) * 640, 9)]
    np.testing.assert_allclose(late.expression[-2:], motion().expression[-2:] / 2)
    assert not late.expression[:-2].any()
    short = Sound(sound.samples[: (FRAMES - 1) * 640], 16_000)
    held = spoken(voice, short, track, FRAMES - 2)  # type: ignore[arg-type]
    np.testing.assert_array_equal(held.expression[-1], held.expression[-2])


def test_a_contact_sheet_shows_real_made_and_error() -> None:
    real, made = np.full((30, 40, 3), 100, np.uint8), np.full((30, 40, 3), 110, np.uint8)
    sheet = contact_sheet([(real, made, "frame 7")] * 2)
    assert sheet.shape[1] == 120
    np.testing.assert_array_equal(np.unique(sheet[-30:, :40]), [100])
    np.testing.assert_array_equal(np.unique(sheet[-30:, 40:80]), [110])
    np.testing.assert_array_equal(np.unique(sheet[-30:, 80:]), [40])


def test_frames_are_laid_over_the_room_or_a_colour() -> None:
    class Nothing:
        def __call__(self, _: Gaussians, camera: Camera) -> Image:
            empty = torch.zeros(camera.height, camera.width)
            return Image(empty[..., None].expand(-1, -1, 3), empty, empty)

    head = PatternHead()
    head.background = torch.full((SIDE, SIDE, 3), 0.2)
    player = Player(head, Nothing())  # type: ignore[arg-type]
    assert (player.frame(torch.zeros(CODES)) == 51).all()
    assert (player.frame(torch.zeros(CODES), background=torch.ones(3)) == 255).all()
