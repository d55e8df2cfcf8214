# SPDX-License-Identifier: Apache-2.0
"""What a folder is said to hold, and how a damaged one is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d.errors import InputError
from avatar3d.geometry import intrinsics
from avatar3d.recipes.info import info, report
from avatar3d.records import Camera, Capture, Landmarks, Motion, Track
from avatar3d.store import AvatarFolder, Work, frames_writer, save_capture, save_track, write_json

T, N = 50, 7


def motion() -> Motion:
    return Motion(*(np.zeros((T, width), np.float32) for width in (4, 2, 4, 7)), 25.0)


@pytest.fixture
def avatar(tmp_path: Path) -> Path:
    head = {
        "means": torch.zeros(N, 3),
        "quats": torch.ones(N, 4),
        "log_scales": torch.zeros(N, 3),
        "opacity_logits": torch.zeros(N),
        "colours": torch.zeros(N, 3),
        "background": torch.zeros(8, 8, 3),
    }
    manifest = {
        "program": "0.1.0",
        "head": {"part": "linear", "config": {}},
        "voice": None,
        "about": {"name": "someone", "consent": "given on 3 May", "licences": {"program": "Apache-2.0"}},
    }
    AvatarFolder(tmp_path / "someone.avatar").write(manifest, head, None, motion())
    return tmp_path / "someone.avatar"


@pytest.fixture
def work(tmp_path: Path) -> Work:
    folder = Work(tmp_path / "work")
    with frames_writer(folder.frames, (T, 8, 8, 3)) as frames:
        frames[:] = 0
    seen = Landmarks(np.zeros((T, 478, 3), np.float32), np.zeros((T, 52), np.float32), np.ones(T, bool))
    save_capture(folder, Capture(np.load(folder.frames, mmap_mode="r"), None, 25.0, (), "abc"), seen, {"source": "me"})
    confidence = np.ones(T, np.float32)
    confidence[:3] = 0
    camera = Camera(intrinsics(20.0, 8, 8), torch.eye(4), 8, 8)
    basis = np.zeros((468, 3, 4), np.float32)
    rig = np.zeros((53, 4), np.float32)
    save_track(folder, Track(camera, basis[..., 0], basis, motion(), seen, confidence, 45, False, rig))
    write_json(folder.run("main") / "metrics.json", {"frames": 5})
    (folder.path / "someone.avatar").mkdir()
    return folder


def test_an_avatar_tells_consent_licences_and_sizes(avatar: Path) -> None:
    figures = info(avatar)
    assert figures["kind"] == "avatar"
    assert (figures["gaussians"], figures["clip_s"], figures["voice"]) == (N, 2.0, None)
    assert set(figures["files_mb"]) == {
        "background.png", "clips/capture.safetensors", "rig.safetensors", "splats.ply",
    }  # fmt: skip
    text = report(figures)
    assert "given on 3 May" in text and "Apache-2.0" in text and "undamaged" in text


def test_a_work_folder_tells_capture_track_and_runs(work: Work) -> None:
    figures = info(work.path)
    assert figures["kind"] == "work"
    assert figures["capture"]["frames"] == T
    assert figures["track"] == {
        "components": 4, "focal_px": 20.0, "focal_observable": False, "fitted_frames": 45, "left_out_frames": 3,
            "face_model": "personal",
    }  # fmt: skip
    assert figures["runs"] == {"main": {"frames": 5}}
    assert figures["avatars"] == [str(work.path / "someone.avatar")]
    assert "focal_px" in report(figures)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize("name", ["splats.ply", "rig.safetensors", "background.png", "clips/capture.safetensors"])
@pytest.mark.parametrize("harm", [Path.unlink, shorten])
def test_a_damaged_avatar_is_refused_by_the_files_name(avatar: Path, name: str, harm: Callable[[Path], None]) -> None:
    harm(avatar / name)
    with pytest.raises(InputError, match=name):
        info(avatar)


def test_an_avatar_without_its_description_is_refused(avatar: Path) -> None:
    shorten(avatar / "avatar.json")
    with pytest.raises(InputError, match=r"avatar\.json.*damaged"):
        info(avatar)
    (avatar / "avatar.json").unlink()
    with pytest.raises(InputError, match="not an avatar folder"):
        info(avatar)


def test_a_damaged_work_folder_is_refused(work: Work) -> None:
    shorten(work.frames)
    with pytest.raises(InputError, match=r"frames\.npy"):
        info(work.path)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a work folder"):
        info(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        info(tmp_path / "missing")
