# SPDX-License-Identifier: Apache-2.0
"""COLMAP's models: its own projection, text and binary, its library where it is, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from exchanged import Scene
from PIL import Image
from scipy.spatial.transform import Rotation

from avatar3d.data_prep import exchange
from avatar3d.data_prep.exchange import colmap
from avatar3d.errors import InputError
from avatar3d.records import unwatched


@pytest.fixture(scope="module")
def folder(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("colmap")
    colmap.write(out, scene.capture, scene.track, unwatched)
    return out


def model(folder: Path, cameras: str, images: str) -> Path:
    """A model of one's own words around three pictures of 40x30 px."""
    (folder / "images").mkdir()
    for number in range(3):
        Image.new("RGB", (40, 30)).save(folder / f"images/{number}.png")
    (folder / "cameras.txt").write_text(f"# a comment\n{cameras}\n")
    (folder / "images.txt").write_text(images)
    return folder


def test_an_image_sees_the_points_where_we_do(folder: Path, scene: Scene) -> None:
    """R(qvec) X + tvec, then f x / z + c: read here word by word."""
    _, name, *_, fx, fy, cx, cy = (folder / "sparse/0/cameras.txt").read_text().split()
    assert name == "PINHOLE"
    lines = (folder / "sparse/0/images.txt").read_text().splitlines()[::2]
    assert len(lines) == len(scene.frames)
    for line, vertices, seen in zip(lines, scene.vertices, scene.seen, strict=True):
        _, w, x, y, z, *shift, _, _ = line.split()
        R = Rotation.from_quat([float(v) for v in (x, y, z, w)]).as_matrix()
        a, b, c = R @ vertices.T + np.array(shift, float)[:, None]
        drawn = np.stack([float(fx) * a / c + float(cx), float(fy) * b / c + float(cy)], 1)
        assert np.abs(drawn - seen).max() < 1e-4


def test_text_and_binary_say_the_same(folder: Path, tmp_path: Path) -> None:
    binary = exchange.read(folder)
    sparse = tmp_path / "sparse/0"
    sparse.mkdir(parents=True)
    for name in ("cameras.txt", "images.txt"):
        (sparse / name).write_text((folder / "sparse/0" / name).read_text())
    (tmp_path / "images").symlink_to(folder / "images")
    text = exchange.read(tmp_path)
    assert np.array_equal(text.views.K, binary.views.K)
    assert np.abs(text.views.cam_from_head - binary.views.cam_from_head).max() < 1e-14
    assert [path.name for path in text.pictures] == [path.name for path in binary.pictures]


@pytest.mark.parametrize("ending", ["bin", "txt"])
def test_colmaps_own_library_reads_it(ending: str, folder: Path, scene: Scene, tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    for name in ("cameras", "images", "points3D"):
        (tmp_path / f"{name}.{ending}").write_bytes((folder / f"sparse/0/{name}.{ending}").read_bytes())
    theirs = pycolmap.Reconstruction(tmp_path)
    assert len(theirs.images) == len(scene.frames) and len(theirs.points3D) == 468
    for image in theirs.images.values():
        row = scene.frames.tolist().index(int(Path(image.name).stem))
        drawn = [image.project_point(point) for point in scene.vertices[row, ::40]]
        assert np.abs(np.array(drawn) - scene.seen[row, ::40]).max() < 1e-4


def test_its_librarys_files_are_read(folder: Path, tmp_path: Path) -> None:
    """A model that COLMAP itself has written, with points in its images, in both of its formats."""
    pycolmap = pytest.importorskip("pycolmap")
    theirs = pycolmap.Reconstruction(folder / "sparse/0")
    for image in theirs.images.values():
        image.points2D = pycolmap.Point2DList([pycolmap.Point2D(np.array([1.5, 2.5])) for _ in range(3)])
    ours = exchange.read(folder).views
    for name, write in (("binary", theirs.write_binary), ("text", theirs.write_text)):
        (tmp_path / name / "sparse/0").mkdir(parents=True)
        (tmp_path / name / "images").symlink_to(folder / "images")
        write(str(tmp_path / name / "sparse/0"))
        again = exchange.read(tmp_path / name).views
        assert np.abs(again.cam_from_head - ours.cam_from_head).max() < 1e-9
        assert np.array_equal(again.K, ours.K)


IMAGES = "".join(f"{n + 1} 1 0 0 0 0 0 {n + 5} 1 {n}.png\n1.0 2.0 -1\n" for n in range(3))


@pytest.mark.parametrize("camera", ["SIMPLE_PINHOLE 40 30 50 20 15", "SIMPLE_RADIAL 40 30 50 20 15 0"])
def test_undistorted_cameras_of_other_names_are_read(camera: str, tmp_path: Path) -> None:
    views = exchange.read(model(tmp_path, f"1 {camera}", IMAGES)).views
    assert views.K.tolist() == [[50, 0, 20], [0, 50, 15], [0, 0, 1]]
    assert views.cam_from_head[:, 2, 3].tolist() == [5, 6, 7]


@pytest.mark.parametrize(
    ("camera", "images", "words"),
    [
        ("OPENCV_FISHEYE 40 30 50 50 20 15 0 0 0 0", IMAGES, "camera model OPENCV_FISHEYE"),
        ("SIMPLE_RADIAL 40 30 50 20 15 0.1", IMAGES, r"lens distortion \(0.1\)"),
        ("OPENCV 40 30 50 50 20 15 0 0 0 0.01", IMAGES, "lens distortion"),
        ("PINHOLE 40 30 50 60 20 15", IMAGES, "pixels that are not square"),
        ("PINHOLE 80 60 50 50 20 15", IMAGES, "40x30 px, the camera has 80x60 px"),
        ("PINHOLE 40 30 50", IMAGES, "1 parameters of a PINHOLE camera"),
        ("SIMPLE_PINHOLE 40 30 50 20 15", "", "no frames"),
        ("SIMPLE_PINHOLE 40 30 50 20 15", IMAGES.replace("1 0.png", "7 0.png"), "names camera 7"),
        ("SIMPLE_PINHOLE 40 30 50 20 15", IMAGES.replace("1 0 0 0", "0 0 0 0"), "the quaternion of 0.png"),
        ("SIMPLE_PINHOLE 40 30 50 20 15", IMAGES.replace("1 0 0 0 0 0 5", "1 0 0 0 0 0 nan"), "holds NaN"),
        ("SIMPLE_PINHOLE 40 30 50 20 15", "what is this\n", "not COLMAP's format"),
    ],
)
def test_what_cannot_be_used_is_named(camera: str, images: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        exchange.read(model(tmp_path, f"1 {camera}", images))


def test_a_damaged_binary_is_named(folder: Path, tmp_path: Path) -> None:
    for name in ("cameras.bin", "images.bin"):
        (tmp_path / name).write_bytes((folder / "sparse/0" / name).read_bytes()[:100])
    with pytest.raises(InputError, match=r"images\.bin: not COLMAP's format"):
        exchange.read(tmp_path)
    (tmp_path / "cameras.bin").write_bytes(struct.pack("<QiiQQ", 1, 1, 5, 40, 30) + bytes(64))
    with pytest.raises(InputError, match="camera model OPENCV_FISHEYE"):
        exchange.read(tmp_path)
