# SPDX-License-Identifier: Apache-2.0
"""AD-NeRF's family: its own projection, its angles, its pictures, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from exchanged import LOST, Scene
from PIL import Image
from scipy.spatial.transform import Rotation

from avatar3d.data_prep import exchange
from avatar3d.data_prep.exchange import ad_nerf
from avatar3d.data_prep.exchange._parsing import COLOURS, alpha_of_parsing
from avatar3d.data_prep.regions import Region
from avatar3d.errors import InputError
from avatar3d.records import unwatched


@pytest.fixture(scope="module")
def folder(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ad_nerf")
    ad_nerf.write(out, scene.capture, scene.track, unwatched)
    return out


def test_its_trainers_see_the_points_where_we_do(folder: Path, scene: Scene) -> None:
    """x_px = cx - f X/Z and y_px = cy + f Y/Z of the inverse of transform_matrix, as their face tracker projects."""
    rows = {}
    for split in ("train", "val"):
        about = json.loads((folder / f"transforms_{split}.json").read_text())
        rows |= {row["img_id"]: row for row in about["frames"]}
    assert sorted(rows) == scene.frames.tolist()
    for frame, vertices, seen in zip(scene.frames.tolist(), scene.vertices, scene.seen, strict=True):
        view = np.linalg.inv(np.array(rows[frame]["transform_matrix"]))
        x, y, z = view[:3, :3] @ (0.1 * vertices.T) + view[:3, 3:]  # metres
        drawn = np.stack([about["cx"] - about["focal_len"] * x / z, about["cy"] + about["focal_len"] * y / z], 1)
        assert (z < 0).all() and np.abs(drawn - seen).max() < 1e-4


def test_every_frame_has_its_pictures_and_the_lost_ones_no_pose(folder: Path, scene: Scene) -> None:
    for frame in range(len(scene.capture.frames)):
        names = (f"ori_imgs/{frame}.jpg", f"ori_imgs/{frame}.lms", f"gt_imgs/{frame}.jpg", f"parsing/{frame}.png")
        assert all((folder / name).is_file() for name in names)
    lms = np.loadtxt(folder / "ori_imgs" / f"{scene.frames[0]}.lms")
    assert lms.shape == (68, 2)
    assert np.abs(lms[30] - scene.seen[0, 4]).max() < 1e-3  # the tip of the nose
    assert lms[36, 0] < lms[45, 0]  # the person's right eye stands on the left of the picture
    assert not set(LOST) & set(exchange.read(folder).views.frame.tolist())


def test_parsing_and_torso_agree_with_the_mask(folder: Path, scene: Scene) -> None:
    parsing = np.asarray(Image.open(folder / "parsing/0.png"))
    torso = np.asarray(Image.open(folder / "torso_imgs/0.png"))
    parts = {name: (parsing == value).all(-1) for name, value in zip("hHmntr", COLOURS, strict=True)}
    assert sum(part.sum() for part in parts.values()) == parsing[..., 0].size
    assert np.array_equal(parts["r"], scene.capture.masks[0] < 128)
    assert min(part.sum() for part in parts.values()) > 0
    nose = scene.seen[0, 4].astype(int)
    assert parts["h"][nose[1], nose[0]]
    body = parts["n"] | parts["t"]
    assert (torso[..., 3][body] == 255).all() and not torso[..., 3][parts["r"]].any()
    under = (torso[..., 3] == 255) & ~body  # the neck goes on beneath the head
    chin = scene.seen[0, 152].astype(int)
    assert under[chin[1] - 3, chin[0] - 4 : chin[0] + 5].all()
    assert (parts["h"] | parts["H"] | parts["m"])[under].all()


def test_their_soft_edges_become_alpha() -> None:
    assert alpha_of_parsing(COLOURS[None]).tolist() == [[255, 255, 255, 255, 255, 0]]
    # as their resizing leaves an edge
    half = (COLOURS[[Region.HEAD, Region.ROOM]].astype(int).sum(0) // 2).astype(np.uint8)
    assert alpha_of_parsing(half[None, None]).item() == pytest.approx(128, abs=1)


def test_angles_turn_as_their_tracker_says() -> None:
    """Rx and Ry turn clockwise, Rz the usual way; R = Rx Ry Rz."""
    euler = np.random.default_rng(0).normal(size=(20, 3))
    expected = [Rotation.from_euler("XYZ", (-a, -b, c)).as_matrix() for a, b, c in euler]
    assert np.allclose(ad_nerf.rotation_from_euler(euler), expected)


def test_the_trackers_own_file_is_read(folder: Path, scene: Scene, tmp_path: Path) -> None:
    """track_params.pt alone, in their angles and tens of centimetres, gives the poses that it was made from."""
    views = exchange.read(folder).views
    flip = np.diag([1.0, -1, -1])
    R = flip @ views.cam_from_head[:, :3, :3]
    angles = np.stack([Rotation.from_matrix(each).as_euler("XYZ") for each in R]) * (-1, -1, 1)
    params = {
        "focal": torch.tensor([600.0]),
        "euler": torch.from_numpy(angles).float(),
        "trans": torch.from_numpy(10 * views.cam_from_head[:, :3, 3] @ flip).float(),
    }
    torch.save(params, tmp_path / "track_params.pt")
    (tmp_path / "ori_imgs").mkdir()
    for index in range(len(views)):
        (tmp_path / "ori_imgs" / f"{index}.jpg").write_bytes((folder / "ori_imgs/0.jpg").read_bytes())
    again = exchange.read(tmp_path).views
    assert again.K[0, 0] == 600
    assert np.allclose(again.cam_from_head[:, :3, :3], views.cam_from_head[:, :3, :3], atol=1e-6)
    assert np.allclose(again.cam_from_head[:, :3, 3], 10 * views.cam_from_head[:, :3, 3], atol=1e-5)
    assert again.held_out.sum() == len(views) - len(views) * 10 // 11


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("exploded"),))


def test_a_pickle_that_would_run_something_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"focal": _Bomb()}, tmp_path / "track_params.pt")
    with pytest.raises(InputError, match="no focal, euler and trans"):
        exchange.read(tmp_path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("focal_len", "wide", "focal_len is 'wide', not a number"),
        ("focal_len", -3.0, "focal length -3"),
        ("frames", [], "no frames"),
        ("frames", [{"img_id": 0}], "frame 0 has no img_id or no transform_matrix"),
        ("frames", [{"img_id": "a", "transform_matrix": np.eye(4).tolist()}], "img_id is 'a'"),
        ("frames", [{"img_id": 0, "transform_matrix": np.full((4, 4), np.nan).tolist()}], "holds NaN"),
        ("frames", [{"img_id": 0, "transform_matrix": (2 * np.eye(4)).tolist()}], "it scales, shears or mirrors"),
        ("frames", [{"img_id": 0, "transform_matrix": [[1, 2], [3, 4]]}], "shape"),
    ],
)
def test_what_cannot_be_used_is_named(key: str, value: object, words: str, folder: Path, tmp_path: Path) -> None:
    about = json.loads((folder / "transforms_train.json").read_text()) | {key: value}
    (tmp_path / "transforms_train.json").write_text(json.dumps(about))
    (tmp_path / "ori_imgs").symlink_to(folder / "ori_imgs")
    with pytest.raises(InputError, match=words):
        exchange.read(tmp_path, "ad-nerf")
