# SPDX-License-Identifier: Apache-2.0
"""What a user reads when training meets a number that is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import COUNTS, make
from torch import Tensor

from avatar3d import cli
from avatar3d.avatar.linear import LinearSettings
from avatar3d.recipes import train
from avatar3d.recipes.train import TrainSettings
from avatar3d.store import Work, frames_writer, save_capture, save_track
from avatar3d.store.capture import save_picture


@pytest.fixture
def work(face_task: Path, tmp_path: Path) -> Work:
    """A prepared folder."""
    made_up, work = make(face_task), Work(tmp_path)
    with frames_writer(work.frames, made_up.capture.frames.shape) as frames:
        frames[:] = made_up.capture.frames
    np.save(work.masks, np.full(made_up.capture.frames.shape[:3], 255, np.uint8))
    save_picture(work.background, made_up.capture.frames[0])
    save_capture(work, made_up.capture, made_up.track.landmarks, {})
    save_track(work, made_up.track)
    for stage in ("capture", "track", "masks"):
        work.finish(stage, "made up")
    return work


def test_training_that_fails_says_where_and_what_to_do_on_one_line(
    work: Work, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(drawn: Tensor, _real: Tensor) -> Tensor:
        return drawn.mean() * torch.nan

    monkeypatch.delenv("AVATAR3D_DEBUG", raising=False)
    monkeypatch.setattr("avatar3d.recipes.train.perceptual_term", lambda *_: (spoilt, "spoilt"))
    six_steps = TrainSettings(None, 6, head=LinearSettings(COUNTS))
    monkeypatch.setattr(train, "PRESETS", {"linear": {"quick": six_steps}})
    code = cli.main(["train", str(work.path), "--preset", "quick", "--quiet"])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("avatar3d: error: training stopped at step ")
    assert "perceptual = nan" in err and "(stage detail)" in err and "train again with another --seed" in err
    assert not list(work.path.glob("*.avatar"))
