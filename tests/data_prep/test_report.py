# SPDX-License-Identifier: Apache-2.0
"""The report names every frame that is left out, shows every blink, and is one small file that asks for no other."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from talking import speech, talking

from avatar3d.data_prep._plots import curves_svg, lag_svg
from avatar3d.data_prep._strip import basis_strip, shares
from avatar3d.data_prep.quality import frame_errors, picture_of, track_quality
from avatar3d.data_prep.report import write_report
from avatar3d.data_prep.sync import Lag, sound_lag
from avatar3d.face.canonical import load_canonical
from avatar3d.records import Capture, Landmarks, Track
from avatar3d.store import Work


@pytest.fixture(scope="module")
def tracked(face_task: Path) -> tuple[Capture, Track]:
    """A canonical face that opens its mouth, with two stretches of frames that cannot be used."""
    track = talking(0)
    face = load_canonical(face_task)
    track = replace(track, neutral=face.vertices.astype(np.float32))
    points = np.zeros((len(track.motion), 478, 3), np.float32)
    points[:, :468, :2] = picture_of(track)
    found, confidence = np.ones(len(points), bool), track.confidence.copy()
    found[100:120], confidence[100:120] = False, 0
    confidence[300:303] = 0.3
    points[100:120] = np.nan
    seen = Landmarks(points, track.landmarks.scores, found)
    frames = np.full((len(points), 64, 64, 3), 128, np.uint8)
    return Capture(frames, None, 25.0, (200,), "made up"), replace(track, landmarks=seen, confidence=confidence)


def test_the_report_is_one_file_that_names_every_frame_left_out(
    tracked: tuple[Capture, Track], face_task: Path, tmp_path: Path
) -> None:
    capture, track = tracked
    triangles = load_canonical(face_task).triangles
    page = write_report(Work(tmp_path), capture, track, track_quality(track, capture.cuts), triangles).read_text()
    assert re.search(r"100 to 119</td><td>4\.00 s</td><td>no face found</td><td>left out", page)
    assert re.search(r"300 to 302</td>.{1,80}counts less", page)
    assert "20 of 750 frames are left out" in page
    assert "neutral</span>" in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|https?://""", page)
    assert len(page) < 3_000_000


def test_many_bad_stretches_are_folded_and_none_is_left_away(tracked: tuple[Capture, Track], tmp_path: Path) -> None:
    capture, track = tracked
    confidence = np.where(np.arange(750) % 5 == 0, 0, 1).astype(np.float32)
    spoilt = replace(track, confidence=confidence)
    page = write_report(Work(tmp_path), capture, spoilt, track_quality(spoilt)).read_text()
    assert all(f"<td>{frame}</td>" in page for frame in range(0, 100, 5))
    assert "<details>" in page


def test_a_blink_of_two_frames_shows_in_fifty_minutes() -> None:
    lids = np.zeros(75_000)
    lids[40_001:40_003] = 1
    picture = curves_svg({"lid": lids}, 25.0, "", bounds=(0.0, 1.0))
    heights = {
        float(point.split(",")[1]) for line in re.findall(r'points="([^"]*)"', picture) for point in line.split()
    }
    assert len(heights) == 2  # shut, open
    assert len(picture) < 100_000


def test_a_curve_is_broken_where_nothing_is_known() -> None:
    values = np.sin(np.arange(5000) / 50)
    values[2000:3000] = np.nan
    assert curves_svg({"x": values}, 25.0, "").count("<polyline") == 2


def test_the_lag_is_marked_only_where_it_is_sure() -> None:
    lag = sound_lag(speech(0), talking(0))
    assert lag is not None and lag.sure
    assert "<circle" in lag_svg(lag)
    assert "<circle" not in lag_svg(Lag(lag.frames, 0.1, 0.01, lag.seconds, lag.curve))


def test_the_basis_is_drawn_where_it_moves(tracked: tuple[Capture, Track], face_task: Path) -> None:
    _, track = tracked
    strip = basis_strip(track, load_canonical(face_task).triangles, np.array([0, 1]))
    assert strip.shape == (448, 336, 4)
    shut, opened = strip[:112, 112:224].astype(int), strip[112:224, 112:224].astype(int)
    changed = np.abs(shut - opened).sum(-1) > 30
    assert changed[60:100].sum() > 4 * changed[:40].sum() and changed[60:100].any()  # the mouth, not the forehead
    assert shares(track).sum() == pytest.approx(1)


def test_errors_of_frames_are_those_of_all_vertices(tracked: tuple[Capture, Track]) -> None:
    _, track = tracked
    points = track.landmarks.points.copy()
    points[50, :468, 0] += 3
    errors = frame_errors(replace(track, landmarks=replace(track.landmarks, points=points)))
    assert errors[50] == pytest.approx(3, abs=1e-3)
    assert errors[51] == pytest.approx(0, abs=1e-3)
    assert np.isnan(errors[110])
