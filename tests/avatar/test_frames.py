# SPDX-License-Identifier: Apache-2.0
"""Where errors count more, and which frames are drawn how often."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import SIZE, MadeUp

from avatar3d.avatar._frames import Frames, rarity


@pytest.fixture
def frames(made_up: MadeUp) -> Frames:
    return Frames(made_up.capture, made_up.track)


def test_the_open_mouth_counts_most_and_the_room_least(made_up: MadeUp, frames: Frames) -> None:
    frame = int(made_up.track.motion.expression[:60, 0].argmax())
    weight = frames.weight(frame, 0)
    x, y = made_up.track.landmarks.points[frame, [13, 14], :2].mean(0)
    assert weight[int(y), int(x)] == 9
    assert weight[0, 0] == 1
    x, y = made_up.track.landmarks.points[frame, [159, 145], :2].mean(0)
    assert weight[int(y), int(x)] == 3


def test_a_level_is_half_the_size_in_everything(frames: Frames) -> None:
    assert frames.target(3, 1).shape == (3, SIZE // 2, SIZE // 2)
    assert frames.weight(3, 1).shape == (SIZE // 2, SIZE // 2)
    assert torch.allclose(frames.target(3, 1).mean(), frames.target(3, 0).mean(), atol=1e-3)


def test_a_face_at_the_edge_has_weights_and_a_box_inside_the_picture(made_up: MadeUp) -> None:
    points = made_up.track.landmarks.points.copy()
    points[..., :2] += [0.6 * SIZE, -0.7 * SIZE]
    landmarks = replace(made_up.track.landmarks, points=points)
    frames = Frames(made_up.capture, replace(made_up.track, landmarks=landmarks))
    assert frames.weight(0, 0).shape == (SIZE, SIZE)
    x0, y0, x1, y1 = frames.face_box(0)
    assert 0 <= x0 < x1 <= SIZE
    assert 0 <= y0 < y1 <= SIZE


@pytest.mark.parametrize("level", [0, 1])
def test_patches_lie_inside_the_picture(frames: Frames, level: int) -> None:
    torch.manual_seed(0)
    starts = set()
    for _ in range(50):
        rows, columns = frames.patch(5, level, 0.5)
        assert rows.stop <= SIZE >> level
        assert columns.stop <= SIZE >> level
        assert rows.start >= 0
        assert columns.start >= 0
        assert rows.stop - rows.start == columns.stop - columns.start == max(round(0.5 * (SIZE >> level)), 31)
        starts.add((rows.start, columns.start))
    assert len(starts) > (10 if level == 0 else 1)  # half size leaves the smallest patch two places a side


def test_rare_kinds_of_frames_are_drawn_more_often(made_up: MadeUp) -> None:
    usable = torch.arange(made_up.track.fitted_frames)
    chances = rarity(made_up.track, usable)
    shut = torch.from_numpy(made_up.track.motion.blink.mean(1) > 0.5)[: len(usable)]
    assert chances.sum() == pytest.approx(1, abs=1e-5)
    assert chances[: len(usable)][shut].mean() > 1.3 * chances[: len(usable)][~shut].mean()


def test_alpha_is_judged_only_where_the_mask_is_sure(made_up: MadeUp) -> None:
    masks = np.full((len(made_up.capture.frames), SIZE, SIZE), 120, np.uint8)
    masks[:, : SIZE // 2] = 255
    frames = Frames(replace(made_up.capture, masks=masks), made_up.track)
    half = torch.zeros(SIZE, SIZE)
    half[: SIZE // 2] = 1
    assert frames.alpha_error(half, 0, 0) == 0
    # not along the outline, where masks are loose
    assert frames.alpha_error(1 - half, 0, 0) == pytest.approx(0.5 - 1 / SIZE)
    assert frames.surely(0, 0).sum() == SIZE * (SIZE // 2 - 1)
    assert frames.alpha_error(half[::2, ::2], 0, 1) == 0


def test_what_is_on_the_shelf_is_made_once_and_what_does_not_fit_each_time(made_up: MadeUp) -> None:
    size = 3 * SIZE * SIZE
    frames = Frames(made_up.capture, made_up.track, shelf_bytes=2 * size)
    plain = Frames(made_up.capture, made_up.track)
    for _ in range(2):
        for frame in (4, 9, 20):
            assert torch.equal(frames.target(frame, 1), plain.target(frame, 1))
            assert torch.equal(frames.weight(frame, 0), plain.weight(frame, 0))
    assert (frames._read, plain._read) == (4, 6)
    assert not plain._shelf


def _held_kib() -> int:
    """What this process holds of memory, mapped files included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what memory a process holds")
def test_drawing_from_a_long_capture_takes_no_more_memory_than_from_a_short_one(
    made_up: MadeUp, tmp_path: Path
) -> None:
    count, size = 900, 256
    open_new = np.lib.format.open_memmap
    pictures = open_new(tmp_path / "frames.npy", "w+", np.uint8, (count, size, size, 3))  # 177 MB
    masks = open_new(tmp_path / "masks.npy", "w+", np.uint8, (count, size, size))  # 59 MB
    landmarks = replace(
        made_up.track.landmarks, points=np.resize(made_up.track.landmarks.points * size / SIZE, (count, 478, 3))
    )
    track = replace(
        made_up.track, landmarks=landmarks, confidence=np.ones(count, np.float32), fitted_frames=count * 10 // 11
    )
    frames = Frames(replace(made_up.capture, frames=pictures, masks=masks), track)
    alpha, order = torch.zeros(size, size), np.random.default_rng(0).permutation(count).tolist()
    most, before = 0, 0
    for turn, frame in enumerate(order):
        frames.target(frame, 0)
        frames.alpha_error(alpha, frame, 0)
        if turn == 50:
            before = _held_kib()
        most = max(most, _held_kib())
    assert most - before < 60_000
