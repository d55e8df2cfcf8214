# SPDX-License-Identifier: Apache-2.0
"""Training the head of a work folder: stored, read back, refused."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import COUNTS, MadeUp, make

from avatar3d import ranks
from avatar3d.avatar.linear import LinearSettings
from avatar3d.errors import InputError
from avatar3d.ops import _tinycudann
from avatar3d.preview import Preview
from avatar3d.recipes.create import CreateSettings, create_from
from avatar3d.recipes.train import (
    CUDA_PRESETS,
    GRIDS,
    PRESETS,
    TrainSettings,
    as_trained,
    load_head,
    preset,
    train,
    with_grid,
)
from avatar3d.records import Progress
from avatar3d.store import Work, frames_writer, load_track, save_capture, save_track

QUICK = TrainSettings(budget_s=None, steps=12, head=LinearSettings(COUNTS))


@pytest.fixture(scope="module")
def made_up(face_task: Path) -> MadeUp:
    return make(face_task, frames=66)


@pytest.fixture
def work(tmp_path: Path, made_up: MadeUp) -> Work:
    return _written(Work(tmp_path), made_up)


def _written(work: Work, made_up: MadeUp) -> Work:
    with frames_writer(work.frames, made_up.capture.frames.shape) as frames:
        frames[:] = made_up.capture.frames
    save_capture(work, made_up.capture, made_up.track.landmarks, {})
    save_track(work, made_up.track)
    work.finish("capture", "made up")
    work.finish("track", "made up")
    return work


def test_a_head_is_trained_stored_and_read_back(work: Work) -> None:
    messages: list[Progress] = []
    head, figures = train(work, "linear", QUICK, messages.append)
    assert figures["steps"] == 12
    assert figures["gaussians"] == len(head)
    assert figures["held_out"]["psnr_full"] > 10
    assert messages[-1].done == 1
    again, told = train(work, "linear", QUICK, lambda _: pytest.fail("nothing is left to do"))
    assert told == figures
    assert all(torch.equal(again.parts[name], tensor) for name, tensor in head.parts.items())
    assert torch.equal(load_head(work).parts["means"], head.parts["means"])


def test_the_motion_that_a_head_was_trained_on_is_kept_for_its_voice_and_clip(work: Work) -> None:
    measuring = replace(QUICK, retrack_frames=10_000)
    track = load_track(work)
    assert as_trained(work, "linear", track) == (track, ())
    train(work, "linear", measuring)
    again, jumps = as_trained(work, "linear", track)
    assert jumps == (track.fitted_frames,)
    assert again.motion.body is not None
    assert np.array_equal(again.motion.expression[jumps[0] :], track.motion.expression[jumps[0] :])
    assert not np.array_equal(again.motion.head[: jumps[0]], track.motion.head[: jumps[0]])
    train(work, "linear", QUICK)
    assert as_trained(work, "linear", track)[1] == (), "a motion of an earlier training is not this head's"


def test_other_settings_train_anew(work: Work) -> None:
    train(work, "linear", QUICK)
    assert train(work, "linear", replace(QUICK, steps=3))[1]["steps"] == 3


def test_too_few_frames_with_a_face_are_refused(work: Work, made_up: MadeUp) -> None:
    confidence = np.zeros_like(made_up.track.confidence)
    confidence[:20] = 1
    save_track(work, replace(made_up.track, confidence=confidence))
    with pytest.raises(InputError, match="only 20 frames"):
        train(work, "linear", QUICK)


def test_a_folder_that_is_not_prepared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        train(Work(tmp_path), "linear", QUICK)


@pytest.mark.parametrize(("head", "name"), [(head, name) for head in PRESETS for name in PRESETS[head]])
def test_presets_stay_in_their_time(head: str, name: str) -> None:
    settings = preset(head, name)
    assert settings.budget_s is not None
    longest = {"quick": 180, "standard": 600} if head == "radiance" else {"quick": 60, "standard": 240}
    assert settings.budget_s <= longest.get(name, 1200 if head == "radiance" else 480)


@pytest.mark.parametrize("head", [*CUDA_PRESETS, "wooden"])
def test_presets_for_a_gpu_draw_batches_and_keep_to_their_time(head: str) -> None:
    longest = (60, 300, 600) if head == "radiance" else (30, 90, 300)
    for name, seconds in zip(("fast", "standard", "quality"), longest, strict=True):
        settings = preset(head, name, "cuda:1")
        assert settings.budget_s is not None and settings.budget_s <= seconds
        assert settings.batch > 1
        assert settings.device == "cuda:1"


def test_a_radiance_head_has_grids_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = preset("radiance", "er-nerf", "cuda")
    assert usual.head.shape["half"] and not preset("radiance", "er-nerf").head.shape.get("half")
    assert with_grid(usual, "radiance", None) is usual
    with pytest.raises(InputError, match=r"--grid tinycudann: .* give --grid ngp"):
        with_grid(usual, "radiance", "tinycudann")
    with pytest.raises(InputError, match="'rows'; choose one of: lines, ngp, tinycudann"):
        with_grid(usual, "radiance", "rows")
    with pytest.raises(InputError, match="the triplane head has no such choice; leave it out"):
        with_grid(preset("triplane", "quick"), "triplane", "ngp")
    monkeypatch.setattr(_tinycudann, "why_not", lambda _device: "")
    for grid, (layout, path) in GRIDS.items():
        chosen = with_grid(usual, "radiance", grid).head
        assert (chosen.path, chosen.shape) == (path, {**usual.head.shape, "layout": layout})
        assert chosen.fit == usual.head.fit


def test_a_watcher_sees_the_head_while_it_is_trained(work: Work) -> None:
    preview, seen = Preview(least_s=0), []

    def watch() -> None:
        while (now := preview.newest(timeout_s=60)) is not None:
            seen.append(now)

    watcher = threading.Thread(target=watch)
    watcher.start()
    train(work, "linear", QUICK, preview=preview)
    watcher.join(60)
    assert not watcher.is_alive(), "the end of the training should have been told"
    assert seen
    for now in seen:
        assert 1 <= now.report.step <= 12
        code = now.head.encode(load_track(work).motion)[0]
        assert torch.isfinite(now.head.pose(code).means).all()


def test_of_several_processes_only_the_first_writes(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "rank", lambda: 1)
    before = sorted(work.path.rglob("*"))
    train(work, "linear", QUICK)
    assert sorted(work.path.rglob("*")) == before
    assert create_from(work, CreateSettings(preset="quick", budget_s=0.5)) == {}
    assert sorted(work.path.rglob("*")) == before


def test_a_preset_or_a_head_that_is_not_there_is_refused(work: Work) -> None:
    with pytest.raises(InputError, match="no preset named 'instant' on cpu; choose one of: quick"):
        preset("linear", "instant")
    with pytest.raises(InputError, match="no part named 'wooden'"):
        train(work, "wooden")
