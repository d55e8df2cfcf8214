# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from avatar3d.data_prep.synthetic import Film, Person, film, filming_camera, orbit, write_video
from avatar3d.data_prep.synthetic.controls import COLUMN, CONTROLS
from avatar3d.data_prep.synthetic.mesh import face_normals
from avatar3d.data_prep.synthetic.person import world_from_head
from avatar3d.data_prep.synthetic.speech import LIP_CLOSURES
from avatar3d.face.canonical import CanonicalFace
from avatar3d.face.groups import INNER_LIPS, LEFT_EYE, RIGHT_EYE
from avatar3d.records import Progress

_MAGENTA = np.array([4.0, 0.0, 4.0])  # linear light that no part of a person has


def _still(person: Person, yaw_deg: float, size: int = 160, **controls: float) -> tuple[np.ndarray, np.ndarray]:
    """A picture before a magenta wall, and the landmarks [468,2] px."""
    row = np.zeros((1, len(CONTROLS)))
    for name, value in controls.items():
        row[0, COLUMN[name]] = value
    pose = world_from_head(np.array([[np.radians(yaw_deg), 0, 0]]), np.zeros((1, 3)))
    vertices, camera = person.vertices(row), filming_camera(size)
    picture = person.draw(vertices[0], row[0], pose[0], camera, _MAGENTA, samples=1)
    w, x, y, z = pose[0, :4].astype(float)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    seen = vertices[0] @ rotation.T + pose[0, 4:]
    focal = float(camera.K[0, 0])
    return picture, focal * seen[:, :2] / seen[:, 2:] + size / 2


def _wall(picture: np.ndarray) -> np.ndarray:
    red, green, blue = picture.astype(int).transpose(2, 0, 1)
    return (red > 200) & (blue > 200) & (green < 40)


def _inside(shape: tuple[int, ...], outline: np.ndarray) -> np.ndarray:
    mask = Image.new("1", (shape[1], shape[0]))
    ImageDraw.Draw(mask).polygon([(float(x) - 0.5, float(y) - 0.5) for x, y in outline], fill=1)
    return np.asarray(mask)


def test_truth_is_fixed_by_the_seed(footage: Film) -> None:
    """Figures, not a hash: the last bits of a float differ between machines. A change of looks leaves them alone."""
    truth = footage.truth
    assert truth.vertices.shape == (500, 468, 3) and truth.vertices.dtype == np.float32
    assert np.abs(truth.vertices).mean() == pytest.approx(0.34190, abs=2e-5)
    assert truth.vertices[:, 14].std(0) == pytest.approx([0.0000, 0.0512, 0.0196], abs=2e-4)
    assert truth.world_from_head[100] == pytest.approx(
        [0.0043, 0.9892, -0.0032, -0.1466, -0.1278, 0.0585, 6.1610], abs=2e-4
    )


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_other_seeds_are_other_people(canonical: CanonicalFace, person: Person, seed: int) -> None:
    rest = np.zeros((1, len(CONTROLS)))
    other = Person(canonical, seed)
    assert np.abs(other.vertices(rest) - person.vertices(rest)).max() > 0.02
    mine, theirs = _still(person, 0, 96)[0], _still(other, 0, 96)[0]
    assert np.abs(mine.astype(int) - theirs).mean() > 3
    assert not (_wall(theirs) & _inside(theirs.shape, _still(other, 0, 96)[1][[10, 234, 152, 454]])).any()


def test_lips_touch_on_m_b_and_p(footage: Film) -> None:
    truth = footage.truth
    middles = [int(p.middle_s * truth.fps) for p in truth.phonemes if p.name in LIP_CLOSURES]
    assert len(middles) >= 15
    assert truth.lip_gap[middles].max() < 1e-6
    assert np.percentile(truth.lip_gap, 95) > 0.12


def test_landmarks_are_where_the_camera_sees_the_vertices(person: Person) -> None:
    row = np.zeros((1, len(CONTROLS)))
    short = film(person, 0.4, 160, seed=1)
    for index in (0, 9):
        pose, face = short.truth.world_from_head[index].astype(float), short.truth.vertices[index].astype(float)
        axis, w = pose[1:4], pose[0]
        turned = face + 2 * np.cross(axis, np.cross(axis, face) + w * face) + pose[4:]
        pixels = 1.95 * 160 * turned[:, :2] / turned[:, 2:] + 80
        assert np.abs(pixels - short.truth.landmarks[index]).max() < 1e-2
    assert person.vertices(row).shape == (1, 468, 3)


@pytest.mark.parametrize("yaw_deg", [-20, 0, 20])
def test_pixels_are_where_the_landmarks_are(person: Person, yaw_deg: float) -> None:
    """The dark hole of an open mouth lies in the lips' landmarks, and white of the eyes in the eyes'."""
    picture, landmarks = _still(person, yaw_deg, jaw=0.9)
    mouth = _inside(picture.shape, landmarks[list(INNER_LIPS)])
    y, x = np.nonzero((picture.max(2) < 90) & (np.hypot(*np.moveaxis(_grid(160) - landmarks[13], -1, 0)) < 25))
    assert mouth[y, x].mean() > 0.85
    for eye in (RIGHT_EYE, LEFT_EYE):
        inside = _inside(picture.shape, landmarks[list(eye)])
        assert np.ptp(picture.astype(int), axis=2)[inside].mean() < 55  # grey, while skin is not


def _grid(size: int) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size] + 0.5
    return np.stack([x, y], -1)


@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.parametrize("yaw_deg", [-25, 0, 25])
def test_nothing_shows_through_the_mouth_or_the_eyes(canonical: CanonicalFace, seed: int, yaw_deg: float) -> None:
    person = Person(canonical, seed)
    for controls in ({"jaw": 0.7}, {"jaw": 0.9, "smile": 0.6}, {"gaze_x": 1.0}, {"gaze_x": -1.0, "gaze_y": 0.5}):
        picture, landmarks = _still(person, yaw_deg, 256, **controls)
        for outline in (INNER_LIPS, RIGHT_EYE, LEFT_EYE):
            assert not (_wall(picture) & _inside(picture.shape, landmarks[list(outline)])).any()


def test_shut_lids_hide_the_eyes(person: Person) -> None:
    picture, landmarks = _still(person, 0, 256, blink_right=1.0, blink_left=1.0)
    for eye in (RIGHT_EYE, LEFT_EYE):
        middle = landmarks[list(eye)].mean(0)
        near = np.hypot(*np.moveaxis(_grid(256) - middle, -1, 0)) < 12
        red, _, blue = picture[near].astype(int).T
        assert ((blue > red) & (red > 60)).mean() < 0.01


@pytest.mark.parametrize("part", ["skull", "ear_right", "ear_left", "eye_right", "eye_left", "tongue"])
def test_closed_parts_face_outwards(person: Person, part: str) -> None:
    surface = person.surface
    span = surface.spans[part]
    triangles = surface.triangles[((surface.triangles >= span.start) & (surface.triangles < span.stop)).all(1)]
    points = surface.points - surface.points[span].mean(0)
    outwards = (face_normals(points, triangles) * points[triangles].mean(1)).sum(1)
    assert outwards.sum() > 0  # six times the volume
    assert (outwards > -1e-4).mean() > 0.85


def test_the_mouth_bag_faces_the_camera(person: Person) -> None:
    surface = person.surface
    for part in ("bag", "pocket_right", "pocket_left"):
        span = surface.spans[part]
        triangles = surface.triangles[((surface.triangles >= span.start) & (surface.triangles < span.stop)).all(1)]
        row = np.zeros(len(CONTROLS))
        row[COLUMN["jaw"]] = 0.7
        face = person.vertices(row[None])[0] * 10
        points = person.points_in_head(face, row)
        facing = face_normals(points, triangles)[:, 2]
        assert facing.clip(0).sum() > 4 * (-facing).clip(0).sum()


def test_a_frame_is_the_same_however_it_is_asked_for(person: Person) -> None:
    heard: list[Progress] = []
    short = film(person, 0.2, 64, seed=3, samples_per_pixel_side=1, watch=heard.append)
    frames = list(short.frames())
    assert len(frames) == len(short) == 5
    assert np.array_equal(frames[3], short.frame(3))
    assert [message.done for message in heard] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_more_samples_smooth_edges_and_keep_the_picture(person: Person) -> None:
    one, two = (film(person, 0.2, 96, seed=3, samples_per_pixel_side=samples).frame(2) for samples in (1, 2))
    difference = np.abs(one.astype(int) - two)
    assert 0.2 < difference.mean() < 6


def test_a_novel_view_turns_the_whole_world(person: Person) -> None:
    short = film(person, 0.2, 96, seed=3)
    camera = short.truth.camera
    assert np.array_equal(short.frame(2, orbit(camera, 0.0)), short.frame(2))
    side = short.frame(2, orbit(camera, 30.0)).astype(int)
    assert np.abs(side - short.frame(2)).mean() > 5
    nose, ear = (short.truth.vertices[2, vertex] for vertex in (1, 234))
    turned = orbit(camera, 30.0).cam_from_world.numpy()
    pose = short.truth.world_from_head[2]
    vector, w = pose[1:4], pose[0]
    places = [v + 2 * np.cross(vector, np.cross(vector, v) + w * v) + pose[4:] for v in (nose, ear)]
    seen = [turned[:3, :3] @ place + turned[:3, 3] for place in places]
    assert seen[0][0] - seen[1][0] < places[0][0] - places[1][0]  # from the image's right the nose points left


def test_a_film_becomes_a_video_with_sound(person: Person, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    short = film(person, 1.0, 64, seed=0, samples_per_pixel_side=1)
    write_video(tmp_path / "talker.mp4", short)
    with av.open(str(tmp_path / "talker.mp4")) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == 25
    assert np.abs(pictures[10].astype(int) - short.frame(10)).mean() < 6
    with av.open(str(tmp_path / "talker.mp4")) as container:
        heard = sum(frame.samples for frame in container.decode(audio=0))
    assert heard / 16_000 == pytest.approx(1.0, abs=0.08)
