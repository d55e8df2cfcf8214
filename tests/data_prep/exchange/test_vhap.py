# SPDX-License-Identifier: Apache-2.0
"""VHAP and GaussianAvatars: their projection, FLAME's pose without FLAME, several cameras, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchanged import Scene, seen_by
from scipy.spatial.transform import Rotation

from avatar3d.data_prep import exchange
from avatar3d.data_prep.exchange import vhap
from avatar3d.data_prep.exchange.hinge import settled
from avatar3d.errors import InputError
from avatar3d.records import unwatched

NECK, ROOT = np.array([0.002, 0.09, 0.01]), np.array([0.0, -0.14, -0.02])  # m: J1 - J0, and J0


@pytest.fixture(scope="module")
def folder(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vhap")
    vhap.write(out, scene.capture, scene.track, unwatched)
    return out


def changed(folder: Path, out: Path, about: dict[str, Any]) -> Path:
    """The same folder with another transforms.json alone."""
    for name in ("images", "fg_masks"):
        (out / name).symlink_to(folder / name)
    (out / "transforms.json").write_text(json.dumps(about))
    return out


def test_gaussian_avatars_sees_the_points_where_we_do(folder: Path, scene: Scene) -> None:
    """Their reader turns columns y and z of world_from_cam, inverts it, and takes the focal length from the angle."""
    about = json.loads((folder / "transforms.json").read_text())
    rows = about["frames"]
    assert [row["timestep_index"] for row in rows] == about["timestep_indices"] == list(range(len(scene.frames)))
    for row, vertices, seen in zip(rows, scene.vertices, scene.seen, strict=True):
        c2w = np.array(row["transform_matrix"])
        c2w[:3, 1:3] *= -1
        view = np.linalg.inv(c2w)
        x, y, z = view[:3, :3] @ (0.1 * vertices.T) + view[:3, 3:]  # metres
        focal = row["w"] / (2 * np.tan(row["camera_angle_x"] / 2))
        assert np.abs(np.stack([focal * x / z + row["cx"], focal * y / z + row["cy"]], 1) - seen).max() < 1e-4


def test_its_splits_are_chronological(folder: Path, scene: Scene) -> None:
    rows = {name: json.loads((folder / f"transforms_{name}.json").read_text()) for name in ("train", "val", "test")}
    assert rows["val"]["frames"] == [] == rows["val"]["camera_indices"]
    split = int((scene.frames < scene.track.fitted_frames).sum())
    assert rows["train"]["timestep_indices"] == list(range(split))
    assert rows["test"]["timestep_indices"] == list(range(split, len(scene.frames)))


def with_flame(folder: Path, out: Path, scene: Scene) -> np.ndarray:
    """The folder as VHAP leaves it: a still camera, and the head moved by FLAME; returns where x (from J1) is in it.

    The same pictures: FLAME's pose is what brings the head to where the camera of each frame saw it.
    """
    rng = np.random.default_rng(0)
    about = json.loads((folder / "transforms.json").read_text())
    still = np.eye(4)
    still[2, 3] = 1.0
    gl = np.diag([1.0, -1, -1, 1])
    (out / "flame_param").mkdir()
    for index, row in enumerate(about["frames"]):
        cam_from_head = gl @ np.linalg.inv(np.array(row["transform_matrix"]))
        world_from_head = still @ gl @ cam_from_head  # world = Q x + s
        Q, s = world_from_head[:3, :3], world_from_head[:3, 3]
        neck = Rotation.from_rotvec(0.2 * rng.normal(size=3))
        root = Rotation.from_matrix(Q) * neck.inv()
        parameters = {
            "rotation": root.as_rotvec()[None].astype(np.float32),
            "neck_pose": neck.as_rotvec()[None].astype(np.float32),
            "translation": (s - root.apply(NECK) - ROOT)[None].astype(np.float32),
            "shape": np.zeros(300, np.float32),
            "expr": np.zeros((1, 100), np.float32),
        }
        np.savez(out / "flame_param" / f"{index:05d}.npz", **parameters)
        row |= {"flame_param_path": f"flame_param/{index:05d}.npz", "transform_matrix": still.tolist()}
    changed(folder, out, about)
    return 0.1 * scene.vertices


def test_the_pose_of_flame_is_read_but_for_its_joints(folder: Path, scene: Scene, tmp_path: Path) -> None:
    """With the joints known, the points are seen where they were; float32 is FLAME's own storage."""
    vertices = with_flame(folder, tmp_path, scene)
    foreign = exchange.read(tmp_path)
    assert foreign.hinge is not None and foreign.hinge.shape == (len(scene.frames), 3, 6)
    foreign.views.cam_from_head[:, :3, 3] += foreign.hinge @ np.concatenate([NECK, ROOT])
    assert np.abs(seen_by(foreign.views, vertices) - scene.seen).max() < 1e-3


def test_the_joints_are_found_from_landmarks(folder: Path, scene: Scene, tmp_path: Path) -> None:
    """A rigid face seen with 0.05 px of noise; how it is seen is what counts, not which joints explain it."""
    vertices = with_flame(folder, tmp_path, scene)[:1].repeat(len(scene.frames), 0)
    foreign = exchange.read(tmp_path)
    truth = foreign.views.cam_from_head.copy()
    truth[:, :3, 3] += foreign.hinge @ np.concatenate([NECK, ROOT])
    views = foreign.views
    x, y, z = np.moveaxis(np.einsum("tij,tnj->tni", truth[:, :3, :3], vertices) + truth[:, None, :3, 3], -1, 0)
    seen = np.stack([views.K[0, 0] * x / z + views.K[0, 2], views.K[1, 1] * y / z + views.K[1, 2]], -1)
    seen += 0.05 * np.random.default_rng(1).normal(size=seen.shape)
    seen[5] = np.nan
    poses = settled(views.cam_from_head, foreign.hinge, views.K, seen, np.ones(468, bool))
    # the origin may lie elsewhere in the head: compare how the poses move, about the head's middle
    apart = np.einsum("tji,tj->ti", truth[:, :3, :3], poses[:, :3, 3] - truth[:, :3, 3])
    assert np.abs(apart - apart.mean(0)).max() < 1e-3  # m
    before = np.einsum("tji,tj->ti", truth[:, :3, :3], views.cam_from_head[:, :3, 3] - truth[:, :3, 3])
    assert np.abs(before - before.mean(0)).max() > 1e-2


def test_nothing_moves_where_no_face_is_seen() -> None:
    poses, hinge = np.tile(np.eye(4), (3, 1, 1)), np.ones((3, 3, 6))
    assert np.array_equal(settled(poses, hinge, np.eye(3), np.full((3, 468, 2), np.nan), np.ones(468, bool)), poses)


def test_one_of_several_cameras_is_chosen(folder: Path, scene: Scene, tmp_path: Path) -> None:
    about = json.loads((folder / "transforms.json").read_text())
    about["frames"] += [row | {"camera_index": 8, "file_path": f"./{row['file_path']}"} for row in about["frames"]]
    changed(folder, tmp_path, about)
    with pytest.raises(InputError, match=r"2 cameras \(0, 8\)"):
        exchange.read(tmp_path)
    assert len(exchange.read(tmp_path, camera=8).views) == len(scene.frames)
    with pytest.raises(InputError, match="no camera 3"):
        exchange.read(tmp_path, camera=3)


@pytest.mark.parametrize("fault", ["missing", "text", "pickled", "nan", "lacking"])
def test_damaged_parameters_are_named(fault: str, folder: Path, scene: Scene, tmp_path: Path) -> None:
    with_flame(folder, tmp_path, scene)
    path = tmp_path / "flame_param/00002.npz"
    good = dict(np.load(path))
    path.unlink()
    if fault == "text":
        path.write_text("not a zip file")
    if fault == "pickled":
        np.savez(path, **good | {"rotation": np.array([{}], object)})
    if fault == "nan":
        np.savez(path, **good | {"translation": np.full((1, 3), np.nan)})
    if fault == "lacking":
        np.savez(path, rotation=good["rotation"])
    with pytest.raises(InputError, match=r"00002\.npz: "):
        exchange.read(tmp_path)
