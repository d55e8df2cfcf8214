# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from avatar3d import assets
from avatar3d.metrics import Figures, Judge, Look, find_regions, shots_of
from avatar3d.perceptual import Lpips
from avatar3d.records import Landmarks

FRAMES, SIDE = 12, 96


def seen(seed: int = 0) -> Landmarks:
    """A face that drifts to the right and opens its mouth now and then."""
    rng = np.random.default_rng(seed)
    points = np.repeat(rng.uniform(25, 70, (1, 478, 3)), FRAMES, 0)
    points[:, 33, :2], points[:, 263, :2] = (35, 45), (60, 45)
    for upper, lower in ((13, 14), (82, 87), (312, 317)):
        points[:, lower] = points[:, upper]
        points[:, lower, 1] += 5 + 4 * np.sin(np.arange(FRAMES))
    points[..., 0] += 0.3 * np.arange(FRAMES)[:, None]
    scores = rng.random((FRAMES, 52))
    return Landmarks(points.astype(np.float32), scores.astype(np.float32), np.ones(FRAMES, bool))


def film() -> np.ndarray:
    return np.random.default_rng(1).integers(40, 200, (FRAMES, SIDE, SIDE, 3), dtype=np.uint8)


def judged(judge: Judge, made: np.ndarray, landmarks: Landmarks) -> Figures:
    return judge.figures([judge.look(row, frame) for row, frame in enumerate(made)], landmarks)


def test_the_real_frames_themselves_are_perfect() -> None:
    landmarks = seen()
    found = judged(Judge(film(), landmarks, np.zeros(FRAMES, int)), film(), landmarks)
    assert found.psnr_full == found.psnr_head == found.psnr_mouth == pytest.approx(78.13, abs=0.01)
    assert found.ssim_full == found.ssim_head == found.sharpness == found.found == pytest.approx(1.0)
    assert found.lmd_pct_iod == found.bs_mse_upper == found.bs_mse_lower == found.aperture_lag_frames == 0
    assert found.aperture_r == pytest.approx(1.0) and found.aperture_gain == pytest.approx(1.0)
    assert found.jitter_pct_iod == found.jitter_real_pct_iod
    assert found.lpips_head is None and found.lpips_lips is None


def test_an_error_counts_in_the_regions_it_touches() -> None:
    landmarks, real = seen(), film()
    made = real.copy()
    for row in range(FRAMES):
        made[row][~find_regions(landmarks.points[row], SIDE, SIDE).head] += 20
    found = judged(Judge(real, landmarks, np.zeros(FRAMES, int)), made, landmarks)
    assert found.psnr_head == found.psnr_face == pytest.approx(78.13, abs=0.01)
    assert found.psnr_full is not None and found.psnr_full < 50
    made = real.copy()
    for row in range(FRAMES):
        made[row][find_regions(landmarks.points[row], SIDE, SIDE).mouth] += 20
    found = judged(Judge(real, landmarks, np.zeros(FRAMES, int)), made, landmarks)
    assert found.psnr_mouth == pytest.approx(10 * np.log10(255**2 / 400), abs=1e-6)


def test_frames_without_a_face_take_the_nearest_regions_and_are_not_found() -> None:
    landmarks = seen()
    gone = landmarks.found.copy()
    gone[[3, 4]] = False
    points, scores = landmarks.points.copy(), landmarks.scores.copy()
    points[~gone], scores[~gone] = np.nan, np.nan
    patchy = Landmarks(points, scores, gone)
    judge = Judge(film(), patchy, np.zeros(FRAMES, int))
    np.testing.assert_array_equal(judge.points[3], landmarks.points[2])
    found = judged(judge, film(), patchy)
    assert found.found == pytest.approx(10 / 12)
    assert found.psnr_face is not None and found.lmd_pct_iod == 0


def test_no_face_at_all_leaves_only_the_whole_picture() -> None:
    nothing = Landmarks(
        np.full((FRAMES, 478, 3), np.nan, np.float32), np.full((FRAMES, 52), np.nan, np.float32), np.zeros(FRAMES, bool)
    )
    found = judged(Judge(film(), nothing, np.zeros(FRAMES, int)), film(), nothing)
    known = {name for name in Figures.names() if getattr(found, name) is not None}
    assert known == {"psnr_full", "ssim_full", "found"}


def test_a_face_found_in_no_made_frame_has_no_motion() -> None:
    landmarks = seen()
    lost = Landmarks(landmarks.points * np.nan, landmarks.scores * np.nan, np.zeros(FRAMES, bool))
    found = judged(Judge(film(), landmarks, np.zeros(FRAMES, int)), film(), lost)
    assert found.found == 0 and found.psnr_face is not None
    assert found.aperture_r is None and found.lmd_pct_iod is None and found.jitter_pct_iod is None
    assert found.jitter_real_pct_iod is not None and found.bs_mse_lower is None


def test_other_shapes_are_refused() -> None:
    judge = Judge(film(), seen(), np.zeros(FRAMES, int))
    with pytest.raises(ValueError, match="made"):
        judge.look(0, np.zeros((SIDE, SIDE - 1, 3), np.uint8))
    with pytest.raises(ValueError, match="made"):
        judge.look(0, np.zeros((SIDE, SIDE, 3), np.float32))
    with pytest.raises(ValueError, match="12 frames"):
        judge.figures([Look(psnr_full=1.0)], seen())


@pytest.fixture
def referee() -> ModuleType:
    """An independent scorer, a Python file that the environment names."""
    path = os.environ.get("AVATAR3D_REFEREE")
    if not path:
        pytest.skip("AVATAR3D_REFEREE names no scorer to agree with")
    spec = importlib.util.spec_from_file_location("referee", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAIRS = {
    "psnr_full": "psnr", "psnr_head": "psnr_H", "psnr_face": "psnr_F", "psnr_lips": "psnr_L", "psnr_mouth": "psnr_M",
    "ssim_full": "ssim", "ssim_head": "ssim_H", "lpips_head": "lpips_H", "lpips_lips": "lpips_L",
    "sharpness": "sharp_H", "lmd_pct_iod": "lmd", "aperture_r": "ap_r", "aperture_gain": "ap_gain",
    "aperture_lag_frames": "ap_lag", "jitter_pct_iod": "jitter", "jitter_real_pct_iod": "jitter_gt", "found": "found",
}  # fmt: skip


@pytest.mark.footage
@pytest.mark.parametrize(("name", "cut_every"), [("lieu_wda_60s_256.mp4", 0), ("grid_s1_dev.mp4", 75)])
def test_an_independent_referee_agrees(
    referee: ModuleType, captures: Path, face_task: Path, name: str, cut_every: int
) -> None:
    from avatar3d import media
    from avatar3d.data_prep.landmarks import detect

    start, count = 50, 40
    frames = [frame for row, frame in zip(range(start + count), media.frames(captures / name), strict=False)]
    real = np.stack(frames[start:])
    made = np.stack([gaussian_filter(frame, (1, 1, 0)) for frame in frames[start - 1 : -1]])
    truth, found = detect(real, face_task), detect(made, face_task)
    known = assets.state(assets.LPIPS_ALEX)["where"] in ("folder", "cache")
    lpips = Lpips.load(assets.find(assets.LPIPS_ALEX)) if known else None
    shots = shots_of(range(75, start + count, 75) if cut_every else (), start, start + count)
    mine = judged(Judge(real, truth, shots, lpips), made, found)
    theirs = referee.Scorer(real, truth.points, start=start, cuts=cut_every, task=str(face_task))(made, found.points)
    for ours, theirs_name in PAIRS.items():
        expected, got = theirs[theirs_name], getattr(mine, ours)
        if lpips is None and ours.startswith("lpips"):
            assert got is None
        else:
            assert got == pytest.approx(expected, abs=2e-4), ours
