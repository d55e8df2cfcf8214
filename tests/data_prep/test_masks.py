# SPDX-License-Identifier: Apache-2.0
"""Masks and room of a painted person whose outline is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from avatar3d import store
from avatar3d.data_prep import masks as masks_module
from avatar3d.data_prep._cut_sheet import mask_sheet, temporal_overlap
from avatar3d.data_prep._plate import filled_in
from avatar3d.data_prep._silhouette import places_of, silhouette_score
from avatar3d.data_prep.masks import masks
from avatar3d.geometry import intrinsics
from avatar3d.records import Camera, Capture, Landmarks, Motion, Track

SIZE, FRAMES, CUT = 128, 44, 24
SKIN, CLOTH = np.array([205, 150, 120]), np.array([60, 70, 140])


def painted_track() -> Track:
    """A head that slides to and fro, 40 px wide."""
    head = np.zeros((FRAMES, 7), np.float32)
    head[:, 1] = 1.0  # half a turn about x: facing the camera
    head[:, 4] = 0.5 * np.sin(np.arange(FRAMES) / 3)
    head[:, 6] = 10.0
    points = np.full((FRAMES, 478, 3), SIZE / 2, np.float32)
    rng = np.random.default_rng(0)
    motion = Motion(
        rng.standard_normal((FRAMES, 2)).astype(np.float32),
        np.zeros((FRAMES, 2), np.float32),
        np.zeros((FRAMES, 4), np.float32),
        head,
        25.0,
    )
    confidence = np.ones(FRAMES, np.float32)
    found = np.ones(FRAMES, bool)
    confidence[5:9], found[5:9], points[5:9] = 0, False, np.nan
    return Track(
        Camera(intrinsics(250.0, SIZE, SIZE), torch.eye(4), SIZE, SIZE),
        rng.uniform(-0.7, 0.7, (468, 3)).astype(np.float32),
        0.01 * rng.standard_normal((468, 3, 2)).astype(np.float32),
        motion,
        Landmarks(points, np.zeros((FRAMES, 52), np.float32), found),
        confidence,
        40,
        False,
        np.zeros((53, 2), np.float32),
    )


def room(number: int) -> np.ndarray:
    """[H,W,3] one of two rooms."""
    y, x = np.mgrid[:SIZE, :SIZE]
    stripes = 25 * ((x // 12 + number) % 2)
    return np.stack([70 + stripes, 150 - stripes + y // 4, 90 + 60 * number + x // 4], -1).astype(float)


def painted(track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Frames [T,H,W,3] uint8 and the true person [T,H,W] bool."""
    rng = np.random.default_rng(1)
    frames, truth = [], []
    y, x = np.mgrid[0.5:SIZE, 0.5:SIZE]
    for frame in range(FRAMES):
        place = places_of(track, np.array([frame]), 1.0)[0]
        dx, dy = (x - place.centre[0]) / place.px_per_u, (y - place.centre[1]) / place.px_per_u
        head = np.hypot(dx / 0.95, dy / 1.3) < 1
        aside = np.abs(x - SIZE / 2) / place.px_per_u
        body = ((aside < 1.9) & (aside < 2.5 * (dy - 1.2))) | ((np.abs(dx) < 0.4) & (dy > 0.5) & (dy < 2))
        picture = room(int(frame >= CUT))
        picture[body] = CLOTH
        picture[head] = SKIN
        frames.append(np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8))
        truth.append(head | body)
    return np.stack(frames), np.stack(truth)


@pytest.fixture(scope="module")
def track() -> Track:
    return painted_track()


@pytest.fixture(scope="module")
def work(track: Track, tmp_path_factory: pytest.TempPathFactory) -> store.Work:
    work = store.Work(tmp_path_factory.mktemp("painted"))
    pictures, _ = painted(track)
    with store.frames_writer(work.frames, pictures.shape) as frames:
        frames[:] = pictures
    store.save_capture(work, Capture(pictures, None, 25.0, (CUT,), "painted"), track.landmarks, {})
    store.save_track(work, track)
    return work


@pytest.fixture(scope="module")
def cut_out(work: store.Work, track: Track) -> Capture:
    return masks(store.load_capture(work), track, work)


def test_the_person_is_cut_out_in_both_shots(cut_out: Capture, track: Track) -> None:
    _, truth = painted(track)
    assert cut_out.masks is not None
    found = cut_out.masks > 127
    overlap = (found & truth).sum((1, 2)) / (found | truth).sum((1, 2))
    assert overlap.min() > 0.90
    assert overlap.mean() > 0.92  # a chest that never moves is the hard case: nothing but its colour speaks for it


def test_edges_are_soft_and_the_rest_is_not(cut_out: Capture) -> None:
    assert cut_out.masks is not None
    soft = (cut_out.masks > 5) & (cut_out.masks < 250)
    assert 0.005 < soft.mean() < 0.12


def test_the_plate_is_the_longer_shots_room(cut_out: Capture, track: Track) -> None:
    _, truth = painted(track)
    uncovered = ~truth[:CUT].any(0)
    once = ~truth[:CUT].all(0) & ~uncovered & (np.mean(truth[:CUT], 0) < 0.5)
    error = np.abs(np.asarray(cut_out.background, float) - room(0)).mean(-1)
    assert error[uncovered].mean() < 3
    assert once.any() and error[once].mean() < 12


def test_masks_are_made_once(cut_out: Capture, work: store.Work, track: Track, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks_module, "_seen", lambda *_: pytest.fail("made again"))
    again = masks(store.load_capture(work), track, work)
    assert np.array_equal(np.asarray(again.masks), np.asarray(cut_out.masks))


def test_an_interrupted_run_leaves_nothing(work: store.Work, track: Track, tmp_path: Path) -> None:
    other = store.Work(tmp_path)
    store.save_track(other, track)

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        masks(store.load_capture(work), track, other, stop)
    assert not other.masks.exists() and other.key("masks") is None
    assert not list(tmp_path.glob("*part*"))


def test_the_silhouette_follows_the_head(track: Track) -> None:
    place = places_of(track, np.array([0]), 1.0)[0]
    score = silhouette_score(place, place, SIZE, SIZE)
    column, row = place.centre.astype(int)
    assert score[row, column] == 4.0  # the face
    assert score[SIZE - 1, column] == 4.0  # the chest
    assert score[2, 2] == -4.0 and score[2, SIZE - 3] == -4.0


def test_holes_are_filled_from_around() -> None:
    y, x = np.mgrid[:60, :50]
    smooth = np.stack([2.0 * x, 3.0 * y, 100 + 0 * x], -1)
    known = np.ones((60, 50), bool)
    known[20:40, 15:30] = False
    filled = filled_in(np.where(known[..., None], smooth, 0), known)
    assert np.array_equal(filled[known], smooth[known].astype(np.float32))
    assert np.abs(filled - smooth).max() < 20
    assert (filled_in(smooth, np.zeros((60, 50), bool)) == 127).all()


def test_the_sheet_shows_parts_cut_outs_and_hair(cut_out: Capture, track: Track) -> None:
    shown = mask_sheet(cut_out, track, 3, 100)
    assert shown.shape == (300, 300, 3) and shown.dtype == np.uint8
    assert (shown[102, 2] == (0, 255, 0)).all() and (shown[102, 102] == (255, 0, 255)).all()


def test_steadiness_falls_where_masks_flicker(cut_out: Capture) -> None:
    steady = temporal_overlap(cut_out)
    assert steady is not None and steady > 0.97
    assert cut_out.masks is not None
    flickering = np.array(cut_out.masks)
    flickering[::2, 100:] = 0
    worse = temporal_overlap(dataclasses.replace(cut_out, masks=flickering))
    assert worse is not None and worse < 0.8
    assert temporal_overlap(dataclasses.replace(cut_out, masks=0 * flickering)) is None


def test_a_network_is_heard_and_another_makes_other_masks(track: Track, tmp_path: Path) -> None:
    pictures, truth = painted(track)
    folder = store.Work(tmp_path)
    store.save_track(folder, track)
    capture = Capture(pictures, None, 25.0, (CUT,), "painted")
    alone = np.array(masks(capture, track, folder).masks) > 127
    known = {picture.tobytes(): person.astype(np.float32) for picture, person in zip(pictures, truth, strict=True)}
    network = masks_module.Network(lambda picture: known[picture.tobytes()], "one that knows")
    told = np.array(masks(capture, track, folder, network=network).masks) > 127
    wrong = [np.mean(found != truth) for found in (alone, told)]
    assert wrong[1] < 0.6 * wrong[0]
