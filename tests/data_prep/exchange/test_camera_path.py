# SPDX-License-Identifier: Apache-2.0
"""nerfstudio's camera paths: through exported cameras a head looks as it was filmed; time, shape, and faults."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exchanged import Scene

from avatar3d.data_prep.exchange import camera_path, nerfstudio
from avatar3d.errors import InputError
from avatar3d.geometry import apply_pose, matrix_from_pose, project, quat_from_rotvec
from avatar3d.records import Camera

ASIDE = torch.tensor([0.0, 1.0, 0.2, 0.1, 0.4, -0.3, 6.0])  # a pose of a head


def moment(x: float = 0.0, fov: float = 40.0) -> dict[str, Any]:
    """A camera 5 u before the face, which it looks at; OpenGL's axes are those of head space."""
    return {"camera_to_world": [1, 0, 0, x, 0, 1, 0, 0, 0, 0, 1, 5, 0, 0, 0, 1], "fov": fov, "aspect": 1.5}


def file(folder: Path, rows: list[Any], **about: Any) -> Path:
    usual = {"camera_type": "perspective", "render_width": 300, "render_height": 200, "fps": 5}
    path = folder / "camera_path.json"
    path.write_text(json.dumps(usual | {"camera_path": rows} | about))
    return path


def middle(camera: Camera, world_from_head: torch.Tensor, point: tuple[float, float, float] = (0, 0, 0)) -> list[float]:
    """Where a point of head space is seen, px."""
    world = apply_pose(world_from_head, torch.tensor([point], dtype=torch.float32))
    there = world @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
    return [float(value) for value in project(there, camera.K)[0]]


def test_through_exported_cameras_the_head_looks_as_it_was_filmed(scene: Scene, tmp_path: Path) -> None:
    nerfstudio.write(tmp_path / "data", scene.capture, scene.track)
    told = json.loads((tmp_path / "data" / "transforms.json").read_text())
    fov = 2 * math.degrees(math.atan(told["h"] / 2 / told["fl_y"]))
    rows = [{"camera_to_world": np.ravel(row["transform_matrix"]).tolist(), "fov": fov} for row in told["frames"]]
    count = len(rows)
    path = camera_path.read(
        file(tmp_path, rows, render_width=told["w"], render_height=told["h"], seconds=count / 25, fps=24)
    )
    assert path.fps == pytest.approx(25)
    off_axis = torch.tensor([told["cx"] - told["w"] / 2, told["cy"] - told["h"] / 2])
    for index in (0, 7, count - 1):
        camera = path.at(index / 25, ASIDE)
        points = apply_pose(ASIDE, torch.from_numpy(scene.vertices[index]).float())
        there = points @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
        seen = project(there, camera.K) + off_axis
        assert float((seen - torch.from_numpy(scene.seen[index])).abs().max()) < 2e-3


def test_right_is_right_and_up_is_up(tmp_path: Path) -> None:
    camera = camera_path.read(file(tmp_path, [moment()])).at(0.0, ASIDE)
    assert (camera.width, camera.height) == (300, 200)
    assert middle(camera, ASIDE) == pytest.approx([150, 100], abs=1e-3)
    focal = 100 / math.tan(math.radians(20))
    assert middle(camera, ASIDE, (1, 0, 0)) == pytest.approx([150 + focal / 5, 100], abs=1e-2)
    assert middle(camera, ASIDE, (0, 1, 0)) == pytest.approx([150, 100 - focal / 5], abs=1e-2)


def test_time_runs_between_moments_and_stays_or_begins_anew(tmp_path: Path) -> None:
    rows = [moment(0.0, 40.0), moment(1.0, 20.0)]
    path = camera_path.read(file(tmp_path, rows))
    at = [middle(path.at(time_s, ASIDE), ASIDE)[0] - 150 for time_s in (0.0, 0.1, 0.2, 7.0)]
    half = (math.tan(math.radians(20)) + math.tan(math.radians(10))) / 2
    expected = [0, -0.5 / 5 * 100 / half, -1 / 5 * 100 / math.tan(math.radians(10))]
    assert at == pytest.approx([*expected, expected[-1]], abs=1e-2)
    round_and_round = camera_path.read(file(tmp_path, rows, is_cycle=True))
    again = [middle(round_and_round.at(time_s, ASIDE), ASIDE)[0] - 150 for time_s in (0.4, 0.3, 0.6)]
    assert again == pytest.approx([0, expected[1], expected[2]], abs=1e-2)


def test_another_width_shows_the_same(tmp_path: Path) -> None:
    path = camera_path.read(file(tmp_path, [moment(0.3)]))
    small, large = path.at(0, ASIDE, 150), path.at(0, ASIDE)
    assert (small.width, small.height) == (150, 100)
    assert 2 * np.array(middle(small, ASIDE)) == pytest.approx(np.array(middle(large, ASIDE)), abs=1e-3)


def test_a_viewers_own_world_is_undone(tmp_path: Path) -> None:
    turn = matrix_from_pose(torch.cat([quat_from_rotvec(torch.tensor([0.3, 0.5, -0.2])), torch.tensor([1.0, 2, 3])]))
    there = turn.double().numpy() @ np.reshape(moment(0.4)["camera_to_world"], (4, 4))
    there[:3, 3] *= 0.25
    path = file(tmp_path, [{"camera_to_world": there.ravel().tolist(), "fov": 40.0}])
    (tmp_path / camera_path.TRANSFORMS).write_text(json.dumps({"transform": turn[:3].tolist(), "scale": 0.25}))
    plain = tmp_path / "plain"
    plain.mkdir()
    expected = camera_path.read(file(plain, [moment(0.4)])).head_from_camera
    torch.testing.assert_close(camera_path.read(path).head_from_camera, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("rows", "about", "told"),
    [
        ([], {}, "no list camera_path"),
        (["here"], {}, "no list camera_path"),
        ([moment()], {"camera_type": "fisheye"}, "type 'fisheye'"),
        ([{"fov": 40}], {}, "camera_to_world of moment 0"),
        ([{"camera_to_world": [0] * 15, "fov": 40}], {}, "camera_to_world of moment 0"),
        ([moment(), {"camera_to_world": [2, *[0] * 15], "fov": 40}], {}, "moment 1 is no rotation"),
        ([moment(float("nan"))], {}, "NaN"),
        ([moment(fov=0.0)], {}, "fov is 0"),
        ([moment(fov=float("nan"))], {}, "fov is nan"),
        ([moment()], {"fps": 0}, "fps is 0"),
        ([moment()], {"fps": True}, "fps is True"),
        ([moment()], {"seconds": -2}, "seconds is -2"),
        ([moment()], {"render_width": 1e9}, "render_width"),
        ([moment()], {"render_height": None}, "render_height is None"),
    ],
)
def test_what_cannot_be_used_is_named(rows: list[Any], about: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        camera_path.read(file(tmp_path, rows, **about))


def test_a_list_or_nothing_is_no_path(tmp_path: Path) -> None:
    (tmp_path / "camera_path.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="no list camera_path"):
        camera_path.read(tmp_path / "camera_path.json")
    path = file(tmp_path, [moment()])
    (tmp_path / camera_path.TRANSFORMS).write_text("[]")
    with pytest.raises(InputError, match="no transform"):
        camera_path.read(path)
