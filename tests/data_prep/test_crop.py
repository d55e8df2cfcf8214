# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from avatar3d.data_prep._crop import SIZES, choose_crop, rival_share
from avatar3d.data_prep.landmarks import Face


def face(left: float, top: float, width: float, height: float) -> Face:
    points = np.zeros((478, 3), np.float32)
    points[:, :2] = left + width / 2, top + height / 2
    points[0, :2], points[1, :2] = (left, top), (left + width, top + height)
    return Face(points, np.zeros(52, np.float32))


@given(
    width=some.integers(128, 4000),
    height=some.integers(128, 4000),
    size=some.floats(0.1, 0.9),
    across=some.floats(0, 1),
    down=some.floats(0, 1),
    largest=some.sampled_from(SIZES),
)
def test_crop_lies_in_the_picture_and_is_never_enlarged(
    width: int, height: int, size: float, across: float, down: float, largest: int
) -> None:
    tall = size * min(width, height)
    crop = choose_crop([[face(across * (width - tall), down * (height - tall), tall, tall)]], width, height, largest)
    left, top, right, bottom = crop.box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert right - left == bottom - top == crop.side
    assert crop.size in SIZES
    assert crop.size <= min(crop.side, largest)


def test_phone_picture_is_cut_around_the_head() -> None:
    crop = choose_crop([[face(800, 250, 320, 400)]] * 10, 1920, 1080, 512)
    assert crop.side == 880
    assert crop.size == 512
    assert crop.left + crop.side / 2 == pytest.approx(960, abs=2)
    assert crop.top + crop.side / 2 == pytest.approx(450 + 88, abs=2)


def test_whole_way_of_the_head_comes_in() -> None:
    way = [[face(x, 300, 200, 250)] for x in np.linspace(300, 900, 50)]
    crop = choose_crop(way, 1920, 1080, 512)
    assert crop.left < 310
    assert crop.box[2] > 1090


def test_crop_near_a_working_size_is_trimmed_to_it() -> None:
    crop = choose_crop([[face(130, 80, 110, 128)]], 640, 360, 512)
    assert (crop.side, crop.size) == (256, 256)


def test_square_picture_with_a_large_head_is_kept_whole() -> None:
    assert choose_crop([[face(40, 40, 130, 160)]], 256, 256, 512).box == (0, 0, 256, 256)
    assert choose_crop([[face(200, 200, 130, 160)]], 1024, 1024, 512).side < 400


def test_only_large_second_faces_are_rivals() -> None:
    large, near, far = face(0, 0, 160, 200), face(300, 0, 120, 150), face(300, 0, 40, 50)
    assert rival_share([[large], [large, near], [large, far], []]) == 0.25
    assert rival_share([]) == 0
