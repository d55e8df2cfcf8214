# SPDX-License-Identifier: Apache-2.0
"""What the training window shows: the head itself from any side, moved by its sliders, beside its film."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import SIZE, MadeUp, film, make

from avatar3d.avatar.triplane import TriplaneHead
from avatar3d.face.arkit import SCORES
from avatar3d.render.native import Native
from avatar3d.viewer.controls import NAMES, Controls, moment, steered
from avatar3d.viewer.scene import Footage, Request, Scene, framed, widened


@pytest.fixture(scope="module")
def made(face_task: Path) -> MadeUp:
    return make(face_task)


@pytest.fixture
def scene(made: MadeUp) -> Scene:
    tracked = np.full((SIZE, SIZE, 3), (9, 200, 9), np.uint8)
    footage = Footage(made.track.motion, made.track.camera, (), made.capture.frames, lambda _: tracked)
    return Scene(footage, lambda _: Native(), {"linear": lambda: made.truth})


def db(one: np.ndarray, two: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((one.astype(float) - two) ** 2) / 255**2 + 1e-12))


def test_as_filmed_it_is_the_films_own_picture(scene: Scene, made: MadeUp) -> None:
    for frame in (0, 20, 65):
        assert db(scene.picture(Request("linear", frame, SIZE, SIZE)), made.capture.frames[frame]) > 45


def test_a_wider_picture_shows_more_and_keeps_what_is_in_the_middle(scene: Scene) -> None:
    usual = scene.picture(Request("linear", 3, SIZE, SIZE))
    wide = scene.picture(Request("linear", 3, 2 * SIZE, SIZE))
    assert db(wide[:, SIZE // 2 : -SIZE // 2], usual) > 45
    high = scene.picture(Request("linear", 3, SIZE, 2 * SIZE))
    assert db(high[SIZE // 2 : -SIZE // 2], usual) > 45
    small = scene.picture(Request("linear", 3, SIZE // 2, SIZE // 2))
    assert small.shape == (SIZE // 2, SIZE // 2, 3)


def test_the_film_stands_beside_the_head_plain_tracked_or_as_error(scene: Scene, made: MadeUp) -> None:
    asked = Request("linear", 7, 2 * SIZE, SIZE, beside="filmed")
    both = scene.picture(asked)
    np.testing.assert_array_equal(both[:, SIZE:], made.capture.frames[7])
    assert db(both[:, :SIZE], made.capture.frames[7]) > 45
    assert (scene.picture(replace(asked, beside="filmed and tracked"))[:, SIZE:] == (9, 200, 9)).all()
    # an error says nothing of sliders and camera
    moved = replace(asked, beside="4 x error", controls=Controls(yaw_deg=20))
    assert scene.picture(moved)[:, SIZE:].max() <= 8
    assert scene.picture(replace(moved, frame=8))[:, :SIZE].tobytes() != both[:, :SIZE].tobytes()


def test_without_a_head_the_film_is_shown_and_without_a_film_the_head(scene: Scene, made: MadeUp) -> None:
    np.testing.assert_array_equal(scene.picture(Request(None, 5, SIZE, SIZE)), made.capture.frames[5])
    alone = Scene(Footage(made.track.motion, made.track.camera), lambda _: Native(), {"it": lambda: made.truth})
    assert alone.picture(Request("it", 5, 2 * SIZE, SIZE, beside="filmed")).shape == (SIZE, 2 * SIZE, 3)


def test_the_camera_goes_where_it_likes(scene: Scene) -> None:
    nearer = torch.eye(4)
    nearer[2, 3] = -2.0
    usual = scene.picture(Request("linear", 0, SIZE, SIZE))
    same = scene.picture(Request("linear", 0, SIZE, SIZE, cam_from_world=torch.eye(4).double()))
    np.testing.assert_array_equal(same, usual)
    assert db(scene.picture(Request("linear", 0, SIZE, SIZE, cam_from_world=nearer)), usual) < 25


def test_a_head_is_fetched_once_and_anew_when_it_has_changed(scene: Scene, made: MadeUp) -> None:
    fetched: list[int] = []

    def fetch() -> object:
        fetched.append(1)
        return made.truth.keep(torch.arange(10))

    scene.put("in training", fetch)  # type: ignore[arg-type]
    assert scene.names == ("linear", "in training")
    thin = scene.picture(Request("in training", 0, SIZE, SIZE))
    scene.picture(Request("in training", 1, SIZE, SIZE))
    assert len(fetched) == 1
    scene.put("in training", lambda: made.truth)
    assert db(scene.picture(Request("in training", 0, SIZE, SIZE)), thin) < 30


def test_any_kind_of_head_is_drawn(made: MadeUp) -> None:
    head = TriplaneHead.from_track(made.capture, made.track, made.triangles)
    scene = Scene(Footage(made.track.motion, made.track.camera), lambda _: Native(), {"triplane": lambda: head})
    expected = film(head, made.track.motion[4:5])[0]
    assert db(scene.picture(Request("triplane", 4, SIZE, SIZE)), expected) > 40


def test_controls_that_are_let_go_change_nothing(made: MadeUp) -> None:
    row = made.track.motion[3:4]
    same = steered(row, Controls(), made.track.arkit_map)
    for name in ("expression", "blink", "gaze", "head"):
        np.testing.assert_allclose(getattr(same, name), getattr(row, name), atol=1e-6)


def test_each_name_moves_what_the_map_says_and_lids_and_eyes_their_own(made: MadeUp) -> None:
    assert len(NAMES) == 51 and "_neutral" not in NAMES
    row = made.track.motion[3:4]
    for name in ("jawOpen", "mouthSmileLeft"):
        moved = steered(row, Controls({name: 0.5}), made.track.arkit_map)
        expected = row.expression[0] + 0.5 * made.track.arkit_map[SCORES.index(name)]
        np.testing.assert_allclose(moved.expression[0], expected, atol=1e-6)
        np.testing.assert_array_equal(moved.blink, row.blink)
    assert steered(row, Controls({"eyeBlinkRight": 1.0}), None).blink[0].tolist() == [1.0, row.blink[0, 1]]
    # the person's left is the picture's right
    left = Controls({"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0})
    assert (steered(row, left, None).gaze[0] > row.gaze[0]).tolist() == [True, False, True, False]
    np.testing.assert_allclose(
        steered(row, Controls(gaze=(0.1, -0.2)), None).gaze - row.gaze, [[0.1, -0.2] * 2], atol=1e-6
    )
    assert steered(row, Controls(blink=(0.0, 0.7)), None).blink[0, 1] == pytest.approx(max(0.7, row.blink[0, 1]))


def test_scores_are_taken_as_they_are_by_a_motion_in_arkits_own_basis(made: MadeUp) -> None:
    row = replace(made.track.motion[:1], expression=np.zeros((1, 52), np.float32), basis="arkit")
    moved = steered(row, Controls({"jawOpen": 0.25}), None).expression[0]
    assert {SCORES[at]: moved[at] for at in np.flatnonzero(moved)} == {"jawOpen": 0.25}


@pytest.mark.parametrize(("turn", "axis"), [("pitch_deg", 0), ("yaw_deg", 1), ("roll_deg", 2)])
def test_a_head_turns_about_its_own_axes_and_its_neck_stays(made: MadeUp, turn: str, axis: int) -> None:
    from avatar3d.geometry import apply_pose, compose, invert, rotvec_from_quat
    from avatar3d.motion._head_motion import _NECK_U

    before = torch.from_numpy(made.track.motion.head[9:10])
    after = torch.from_numpy(steered(made.track.motion[9:10], Controls(**{turn: 10.0}), None).head)  # type: ignore[arg-type]
    about = rotvec_from_quat(compose(invert(before), after)[:, :4])[0].rad2deg()
    np.testing.assert_allclose(about, 10.0 * np.eye(3)[axis], atol=1e-3)
    neck = torch.tensor([[_NECK_U]])
    np.testing.assert_allclose(apply_pose(after, neck), apply_pose(before, neck), atol=1e-5)


def test_a_body_is_where_the_whole_motion_has_it(made: MadeUp, monkeypatch: pytest.MonkeyPatch) -> None:
    follows = 0.05 * torch.randn(19, 6, generator=torch.Generator().manual_seed(0))
    monkeypatch.setitem(made.truth.parts, "body_map", follows)
    whole = made.truth.body(made.track.motion, [30])
    for frame in (0, 29, 30, 65):
        row = moment(made.truth, made.track.motion, frame, (30,))
        assert row.body is not None
        np.testing.assert_allclose(row.body[0], whole[frame], atol=1e-5)


def test_edges_of_a_room_are_drawn_out() -> None:
    room = torch.zeros(4, 4, 3)
    room[:, -1] = 1.0
    wide = widened(room, 12, 4)
    assert wide.shape == (4, 12, 3)
    assert (wide[:, 7:] == 1).all() and (wide[:, :7] == 0).all()


def test_a_framed_camera_sees_the_same_in_the_middle(made: MadeUp) -> None:
    camera = framed(made.track.camera, 200, 128)
    at = torch.tensor([10.0, 20.0, 1.0])
    ray = torch.linalg.inv(made.track.camera.K) @ at
    np.testing.assert_allclose((camera.K @ ray)[:2], [36 + 2 * 10, 2 * 20], rtol=1e-5)
