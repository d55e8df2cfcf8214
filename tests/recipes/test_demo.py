# SPDX-License-Identifier: Apache-2.0
"""The demo from end to end, small: a made-up person is filmed, becomes an avatar, says new words and is judged."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avatar3d import media
from avatar3d.data_prep.quality import picture_of
from avatar3d.errors import InputError
from avatar3d.face.rig import rig_vertices
from avatar3d.recipes import demo as recipe
from avatar3d.recipes.check import check
from avatar3d.recipes.check import report as check_report
from avatar3d.recipes.demo import DemoFiles, DemoSettings, demo, report
from avatar3d.recipes.export import export
from avatar3d.store import load_capture, load_track

SETTINGS = DemoSettings(seconds=6, size=128, speech_s=2.0, budget_s=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, face_task: Path) -> tuple[DemoFiles, dict[str, Any]]:
    assert face_task.is_file()
    folder = tmp_path_factory.mktemp("demo") / "out"
    return DemoFiles(folder), demo(folder, SETTINGS)


def test_the_whole_way(made: tuple[DemoFiles, dict[str, Any]]) -> None:
    files, figures = made
    assert all(Path(path).is_file() for path in figures["open"])
    assert media.probe(files.sample).seconds == pytest.approx(SETTINGS.speech_s, abs=0.04)
    with Image.open(files.gif) as gif:
        assert gif.n_frames == round(SETTINGS.speech_s * recipe.GIF_FPS)
    assert {"film", "capture", "track", "masks", "linear", "voice", "eval"} <= set(figures["seconds"])
    assert figures["eval"]["self_tracked"]["found"] == 1
    # two seconds of training already beat a picture that does not move
    assert figures["eval"]["self_tracked"]["psnr_face"] > figures["eval"]["baselines"]["mean_image"]["psnr_face"]
    assert report(figures).splitlines()[-1].startswith(f"open {files.gif}")


def test_what_it_says_moves_its_mouth(made: tuple[DemoFiles, dict[str, Any]]) -> None:
    """The face moves more than the wall behind it: the sample is no still."""
    frames = np.stack(list(media.frames(made[0].sample))).astype(float)
    moving = np.abs(np.diff(frames, axis=0)).mean((0, 3))
    assert moving[64:100, 48:80].mean() > 3 * moving[:16, :16].mean()


def test_its_film_is_checked_on_what_create_has_done(made: tuple[DemoFiles, dict[str, Any]]) -> None:
    files, _ = made
    figures = check(files.film, files.work.path)
    found = {row["name"]: row for rows in figures["findings"].values() for row in rows}
    assert figures["grade"] == "red"  # six seconds
    assert found["length"]["figure"] == pytest.approx(SETTINGS.seconds)
    assert {found[name]["grade"] for name in ("frame rate", "uneven frames", "frames without a face", "cuts")} == {
        "green"
    }
    page = Path(figures["page"]).read_text(encoding="utf-8")
    assert [row["value"] for row in found.values() if escape(row["value"]) not in page] == []
    assert "film closer" in check_report(figures)  # 128 px


def test_its_capture_is_exported_so_that_other_programs_see_the_same(
    made: tuple[DemoFiles, dict[str, Any]], tmp_path: Path
) -> None:
    work, out = made[0].work, tmp_path / "nerfstudio"
    figures = export(work, out)
    about = json.loads((out / "transforms.json").read_text())
    track = load_track(work)
    assert figures["frames"] == len(about["frames"]) == len(about["train_filenames"]) + len(about["val_filenames"])
    frame = int(Path(about["frames"][-1]["file_path"]).stem)
    with Image.open(out / about["frames"][-1]["file_path"]) as picture:
        assert np.array_equal(np.asarray(picture), load_capture(work).frames[frame])
    # where nerfstudio puts the head's points: axes of OpenGL, world_from_cam
    points = rig_vertices(track.neutral, track.basis, track.motion.expression[frame : frame + 1])[0].astype(np.float64)
    view = np.linalg.inv(np.array(about["frames"][-1]["transform_matrix"]))
    x, y, z = view[:3, :3] @ points.T + view[:3, 3:]
    seen = np.stack([about["cx"] - about["fl_x"] * x / z, about["cy"] + about["fl_y"] * y / z], 1)
    assert np.abs(seen - picture_of(track)[frame]).max() < 1e-3  # px; the track is kept in float32
    with pytest.raises(InputError, match="in use"):
        export(work, out)
