# SPDX-License-Identifier: Apache-2.0
"""The browser draws what the trainer draws: at rest, deformed, and by the sliders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import people
import pytest
import torch
from sights import Site, picture, slide

from avatar3d.avatars import Avatar, open_avatar, save_avatar
from avatar3d.compact import compacted
from avatar3d.face.arkit import SCORES, gaze_of, lids_of
from avatar3d.geometry import compose, quat_from_rotvec
from avatar3d.player import Player
from avatar3d.records import FPS, Motion
from avatar3d.render.native import Native
from avatar3d.store import AvatarFolder
from avatar3d.viewer.page import write_web_folder

WANTED_DB = 45
PATIENCE = 100  # looks, 200 ms apart


def drawn(avatar: Avatar, motion: Motion, frame: int = 0) -> np.ndarray:
    """[H,W,3] 0..1 by the trainer's renderer."""
    return Player(avatar.head, Native()).frame(avatar.head.encode(motion)[frame]).astype(np.float64) / 255


def apart_db(page: Any, wanted: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((picture(page)[..., :3] - wanted) ** 2)))


def at_rest(**scores: float) -> Motion:
    """A face in ARKit's scores on a head at rest."""
    expression = np.array([[scores.get(name, 0.0) for name in SCORES]], np.float32)
    gaze = gaze_of(expression).astype(np.float32)
    return Motion(expression, lids_of(expression), gaze, people.FACING.numpy()[None], FPS, "arkit")


@pytest.fixture(scope="module")
def opened(folder: Path) -> Avatar:
    """As the files have it."""
    return open_avatar(folder)


def test_the_neutral_head(page: Any, opened: Avatar) -> None:
    assert apart_db(page, drawn(opened, at_rest())) > WANTED_DB


@pytest.mark.parametrize("frame", [0, 17, people.FRAMES - 1])
def test_frames_of_a_clip(page: Any, opened: Avatar, frame: int) -> None:
    page.evaluate(f"() => avatarPlayer.seek({frame / FPS})")
    wanted = drawn(opened, opened.clip, frame)
    assert apart_db(page, wanted) > WANTED_DB
    assert apart_db(page, drawn(opened, opened.clip, (frame + 10) % people.FRAMES)) < 35  # frames do differ


def test_sliders(page: Any, opened: Avatar) -> None:
    scores = {"jawOpen": 0.8, "mouthSmileLeft": 0.5, "eyeBlinkRight": 0.6, "eyeLookUpLeft": 0.7, "eyeLookInRight": 1.0}
    for name, score in scores.items():
        slide(page, name, score)
    assert apart_db(page, drawn(opened, at_rest(**scores))) > WANTED_DB
    assert apart_db(page, drawn(opened, at_rest())) < 35


def test_the_heads_sliders_turn_it_on_its_neck(page: Any, opened: Avatar) -> None:
    page.evaluate(
        "() => { const s = document.getElementById('yaw'); s.value = 12; s.dispatchEvent(new Event('input')); }"
    )
    yaw = torch.tensor([0.0, np.radians(12), 0.0])
    turn = torch.cat([quat_from_rotvec(yaw), torch.zeros(3)]).double()
    neck = torch.tensor([1.0, 0, 0, 0, 0, -0.9, -0.8], dtype=torch.float64)
    back = torch.tensor([1.0, 0, 0, 0, 0, 0.9, 0.8], dtype=torch.float64)
    head = compose(people.FACING.double(), compose(neck, compose(turn, back))).float().numpy()
    motion = at_rest()
    wanted = drawn(opened, Motion(motion.expression, motion.blink, motion.gaze, head[None], FPS, "arkit"))
    # the body follows within a few seconds, by the frames that the page has drawn meanwhile
    for _ in range(PATIENCE):
        if (found := apart_db(page, wanted)) > WANTED_DB:
            break
        page.wait_for_timeout(200)
    assert found > WANTED_DB


def test_a_compact_avatar(
    visit: Callable[..., Any], serve: Callable[[Path], Site], made: Avatar, tmp_path: Path
) -> None:
    small = compacted(made.head, Native(), made.head.encode(made.clip)[::8], 45.0)
    save_avatar(tmp_path / "small.avatar", Avatar(small.head, made.voice, made.clip, made.about), small.steps)
    AvatarFolder(tmp_path / "small.avatar").add_clip("sample", made.clip, None)
    write_web_folder(tmp_path / "web", tmp_path / "small.avatar")
    page = visit(f"{serve(tmp_path / 'web').address}?size={people.SIDE}")
    page.evaluate("() => avatarPlayer.seek(0.4)")
    opened = open_avatar(tmp_path / "small.avatar")
    assert apart_db(page, drawn(opened, made.clip, 10)) > WANTED_DB
    heard = page.evaluate(
        "async () => Object.entries(await avatarPlayer.avatar.voice.tensors()).map(([k, v]) => [k, Array.from(v.data)])"
    )
    voice = AvatarFolder(tmp_path / "small.avatar").read_voice()
    assert {name for name, _ in heard} == voice.keys()
    for name, numbers in heard:
        np.testing.assert_allclose(numbers, voice[name].flatten(), rtol=1e-6, err_msg=name)
