# SPDX-License-Identifier: Apache-2.0
"""The demo from end to end, small: a made-up person is filmed, becomes an avatar, says new words and is judged."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avatar3d import media
from avatar3d.recipes import demo as recipe
from avatar3d.recipes.check import check
from avatar3d.recipes.check import report as check_report
from avatar3d.recipes.demo import DemoFiles, DemoSettings, demo, report

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
    assert {"film", "capture", "track", "masks", "head", "voice", "eval"} <= set(figures["seconds"])
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
