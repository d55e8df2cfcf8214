# SPDX-License-Identifier: Apache-2.0
"""The whole way on a real person, briefly: enough training to beat what copying frames can do, no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from avatar3d import media, store
from avatar3d.recipes.create import CreateSettings, create
from avatar3d.recipes.evaluate import EvalSettings, evaluate
from avatar3d.store import Work

BUDGET_S = 25.0
ENOUGH_SPEECH_FRAMES = 750  # in less than half a minute no voice can be learned


@pytest.mark.footage
def test_a_real_person_becomes_an_avatar(captures: Path, face_task: Path, tmp_path: Path) -> None:
    # the smallest picture trains furthest in a short time
    video = min(captures.glob("*.mp4"), key=lambda path: media.probe(path).width * media.probe(path).height)
    made = create(video, tmp_path / "work", CreateSettings(preset="quick", budget_s=BUDGET_S))
    assert made["quality"]["landmark_rms_px"] < 0.01 * made["size_px"]
    sample = Path(made["samples"][0])
    assert media.probe(sample).seconds == pytest.approx(10, abs=0.05)

    work = Work(tmp_path / "work")
    figures = evaluate(work, EvalSettings())
    tracked, nearest = figures["self_tracked"], figures["baselines"]["nearest_frame"]
    assert tracked["found"] == 1
    assert tracked["psnr_face"] > nearest["psnr_face"] + 4
    assert tracked["psnr_head"] > nearest["psnr_head"] + 3
    assert tracked["aperture_r"] > 0.9
    assert abs(tracked["aperture_lag_frames"]) <= 1
    assert tracked["jitter_pct_iod"] < 1.3 * tracked["jitter_real_pct_iod"]
    if len(store.load_capture(work).frames) >= ENOUGH_SPEECH_FRAMES:
        assert figures["self_audio"]["aperture_r"] > 0.3
