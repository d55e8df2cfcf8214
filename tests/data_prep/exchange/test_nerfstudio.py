# SPDX-License-Identifier: Apache-2.0
"""transforms.json of nerfstudio and its relatives: other words for the same, order of time, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from avatar3d.data_prep import exchange
from avatar3d.errors import InputError

SIZE = (40, 30)


def row(name: str, **more: Any) -> dict[str, Any]:
    return {"file_path": name, "transform_matrix": np.eye(4).tolist(), **more}


def folder(out: Path, names: list[str], **about: Any) -> Path:
    """Pictures of 40x30 px and a transforms.json about them."""
    for name in names:
        (out / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", SIZE).save(out / name)
    usual = {"fl_x": 50.0, "cx": 20.5, "cy": 14.0, "frames": [row(name) for name in names]}
    (out / "transforms.json").write_text(json.dumps(usual | about))
    return out


def test_blenders_words_for_a_camera(tmp_path: Path) -> None:
    """An angle for the focal length, the middle for the axis, and names without an ending."""
    folder(tmp_path, ["a/r_1.png", "a/r_2.png"])
    frames = [row("./a/r_1"), row("./a/r_2")]
    (tmp_path / "transforms.json").write_text(json.dumps({"camera_angle_x": 2 * np.arctan(0.4), "frames": frames}))
    foreign = exchange.read(tmp_path)
    assert np.allclose(foreign.views.K, [[50, 0, 20], [0, 50, 15], [0, 0, 1]])
    assert [path.name for path in foreign.pictures] == ["r_1.png", "r_2.png"]


def test_cameras_of_single_frames_count(tmp_path: Path) -> None:
    names = ["a/1.png", "a/2.png"]
    frames = [row(name, fl_x=60.0, fl_y=60.0, cx=1.0, cy=2.0, w=40, h=30) for name in names]
    assert exchange.read(folder(tmp_path, names, frames=frames)).views.K[0].tolist() == [60, 0, 1]


def test_a_pose_is_turned_from_opengls_axes(tmp_path: Path) -> None:
    """A camera 3 in front of the world's origin that looks back at it sees the origin ahead, at depth 3."""
    pose = np.eye(4)
    pose[2, 3] = 3.0
    about = [row("a/1.png") | {"transform_matrix": pose.tolist()}]
    view = exchange.read(folder(tmp_path, ["a/1.png"], frames=about)).views.cam_from_head[0]
    assert np.allclose(view @ [0, 0, 0, 1], [0, 0, 3, 1]) and np.allclose(view @ [0, 1, 0, 1], [0, -1, 3, 1])


def test_frames_come_in_the_order_of_time(tmp_path: Path) -> None:
    """Numbers count, not letters; gaps in them stay gaps where most follow one another."""
    foreign = exchange.read(folder(tmp_path, ["a/f_10.png", "a/f_9.png", "a/f_11.png", "a/f_14.png"]))
    assert [path.name for path in foreign.pictures] == ["f_9.png", "f_10.png", "f_11.png", "f_14.png"]
    assert foreign.views.frame.tolist() == [9, 10, 11, 14]


def test_every_tenth_frame_is_a_film_of_its_own(tmp_path: Path) -> None:
    names = [f"a/frame_{number:05d}.png" for number in (0, 10, 20, 30)]
    assert exchange.read(folder(tmp_path, names)).views.frame.tolist() == [0, 1, 2, 3]


def test_splits_in_files_of_their_own(tmp_path: Path) -> None:
    names = ["a/1.png", "a/2.png", "a/3.png"]
    folder(tmp_path, names)
    about = json.loads((tmp_path / "transforms.json").read_text())
    (tmp_path / "transforms.json").unlink()
    for split, kept in (("train", names[:2]), ("test", names[1:])):
        (tmp_path / f"transforms_{split}.json").write_text(json.dumps(about | {"frames": [row(name) for name in kept]}))
    assert exchange.read(tmp_path).views.held_out.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"frames": []}, "no frames"),
        ({"frames": "none"}, "no list of frames"),
        ({"k1": 0.02}, r"lens distortion \(0.02"),
        ({"camera_model": "OPENCV_FISHEYE"}, "camera model OPENCV_FISHEYE"),
        ({"fl_x": 0.0}, "focal length 0"),
        ({"fl_y": 60.0}, "not square"),
        ({"w": 80}, "80x30 px by this file, 40x30 px in truth"),
        ({"frames": [row("a/1.png"), row("a/2.png", fl_x=70.0)]}, "a/2.png has focal length 70 px"),
        ({"frames": [row("a/1.png"), row("a/3.png")]}, "3.png: this picture is missing"),
        ({"frames": [row("a/1.png"), {"file_path": "a/2.png"}]}, "frame 1 has no file_path or no transform_matrix"),
        ({"frames": [row("a/1.png"), row("a/2.png") | {"transform_matrix": "x"}]}, "no matrix of numbers"),
    ],
)
def test_what_cannot_be_used_is_named(about: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        exchange.read(folder(tmp_path, ["a/1.png", "a/2.png"], **about))


def test_pictures_of_another_size_are_named(tmp_path: Path) -> None:
    folder(tmp_path, ["a/1.png", "a/2.png"])
    Image.new("RGB", (20, 30)).save(tmp_path / "a/2.png")
    with pytest.raises(InputError, match=r"2\.png: 20x30 px, the camera has 40x30 px"):
        exchange.read(tmp_path)


def test_a_focal_length_must_be_somewhere(tmp_path: Path) -> None:
    folder(tmp_path, ["a/1.png"])
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": [row("a/1.png")]}))
    with pytest.raises(InputError, match="no focal length"):
        exchange.read(tmp_path)
