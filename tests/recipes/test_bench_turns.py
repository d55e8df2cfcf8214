# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import MadeUp, make

from avatar3d import assets
from avatar3d.errors import InputError
from avatar3d.geometry import quat_from_rotvec, quat_multiply
from avatar3d.recipes.bench_turns import TurnsSettings, bench_turns, only, report_turns, yaws_deg
from avatar3d.records import Progress
from avatar3d.store import Work, frames_writer, save_capture, save_track


@pytest.fixture(scope="module")
def turning(face_task: Path) -> MadeUp:
    """Turns by 7 degrees to both sides."""
    return make(face_task, 160)


def _work(made: MadeUp, folder: Path) -> Work:
    work = Work(folder)
    with frames_writer(work.frames, made.capture.frames.shape) as array:
        array[:] = made.capture.frames
    save_capture(work, made.capture, made.track.landmarks, {})
    save_track(work, made.track)
    return work


def test_a_head_is_trained_on_frames_that_look_ahead_and_judged_on_the_others(
    turning: MadeUp, face_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "find", lambda *_: face_task)
    monkeypatch.setattr(assets, "state", lambda *_: {"where": "absent"})
    told: list[Progress] = []
    figures = bench_turns(_work(turning, tmp_path), TurnsSettings(near_deg=4.5, steps=8), told.append)
    turn = np.abs(yaws_deg(turning.track))
    assert figures["near_frames"] == (turn <= 4.5).sum() and figures["far_frames"] == min((turn > 4.5).sum(), 60)
    assert 6 < figures["furthest_deg"] < 8
    made, warped = figures["rows"]
    assert (made["of"], warped["of"]) == ("made", "warp")
    assert 5 < made["psnr_head"] < 40 and 5 < warped["psnr_face"] < 40 and made["lpips_head"] is None
    assert told[-1].done == 1.0 and "look ahead" in report_turns(figures)


def test_a_video_that_does_not_turn_enough_is_refused(turning: MadeUp, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 beyond"):
        bench_turns(_work(turning, tmp_path), TurnsSettings(near_deg=20.0))


def test_yaw_is_counted_to_the_side_about_the_usual_one() -> None:
    made = _Turned.by([0, 0, 0, 12, -25], [0, 5, -5, 0, 3])
    np.testing.assert_allclose(yaws_deg(made), [0, 0, 0, 12, -25], atol=0.2)


def test_what_is_left_of_a_capture_has_a_cut_at_every_gap(turning: MadeUp) -> None:
    rows = np.array([3, 4, 5, 9, 10, 40])
    capture, track = only(replace(turning.capture, cuts=(5, 20)), turning.track, rows)
    assert capture.cuts == (2, 3, 5)
    np.testing.assert_array_equal(capture.frames[3], turning.capture.frames[9])
    np.testing.assert_array_equal(track.motion.head, turning.track.motion.head[rows])
    np.testing.assert_array_equal(track.landmarks.points, turning.track.landmarks.points[rows])
    assert track.fitted_frames == len(track.confidence) == 6


class _Turned:
    @staticmethod
    def by(yaws: list[float], pitches: list[float]) -> object:
        """As much of a track as its yaw needs: heads turned by so many degrees."""
        facing = torch.tensor([0.0, 1.0, 0.0, 0.0])
        turns = [
            quat_multiply(
                quat_from_rotvec(torch.tensor([0.0, -np.radians(yaw), 0.0])),
                quat_multiply(quat_from_rotvec(torch.tensor([np.radians(pitch), 0.0, 0.0])), facing),
            )
            for yaw, pitch in zip(yaws, pitches, strict=True)
        ]

        class Motion:
            head = np.concatenate([torch.stack(turns).float().numpy(), np.zeros((len(yaws), 3), np.float32)], 1)

        class Track:
            motion, confidence = Motion, np.ones(len(yaws))

        return Track
