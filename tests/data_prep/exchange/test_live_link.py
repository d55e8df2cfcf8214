# SPDX-License-Identifier: Apache-2.0
"""Live Link Face: its columns and clock, which way a head turns, out and in again, and what is refused."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exchanged import LOST, Scene

from avatar3d.data_prep import exchange
from avatar3d.data_prep.exchange import live_link
from avatar3d.data_prep.exchange.live_link import ANGLES, EXPRESSIONS
from avatar3d.errors import InputError
from avatar3d.face.arkit import SCORES
from avatar3d.geometry import apply_pose
from avatar3d.records import unwatched


def take(path: Path, codes: list[str], **columns: list[float]) -> Path:
    """A recording in which all else is zero."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Timecode", "BlendShapeCount", *EXPRESSIONS, *ANGLES])
        for index, code in enumerate(codes):
            values = [columns.get(name, [0.0] * len(codes))[index] for name in (*EXPRESSIONS, *ANGLES)]
            rows.writerow([code, 61, *values])
    return path


def sixtieths(count: int) -> list[str]:
    return [f"23:59:{58 + at // 60:02d}:{at % 60:02d}.000" for at in range(count)]


def test_every_score_but_neutral_is_a_column_and_only_the_tongue_is_left_over() -> None:
    columns = {name.lower() for name in EXPRESSIONS}
    assert len(columns) == 52
    assert {name.lower() for name in SCORES} - columns == {"_neutral"}
    assert columns - {name.lower() for name in SCORES} == {"tongueout"}


def test_names_are_matched_and_not_places(tmp_path: Path) -> None:
    motion = live_link.read(take(tmp_path / "a.csv", sixtieths(60), JawOpen=[0.7] * 60, EyeBlinkRight=[0.9] * 60))
    assert motion.basis == "arkit" and motion.expression.shape == (25, 52)
    assert motion.expression[3, SCORES.index("jawOpen")] == pytest.approx(0.7)
    assert motion.expression[3].sum() == pytest.approx(1.6)
    assert motion.blink[3].tolist() == pytest.approx([0.9, 0.0])  # right, left


@pytest.mark.parametrize(("hz", "digits"), [(60, ""), (60, ".000"), (30, ".500"), (24, "")])
def test_the_clock_is_the_one_that_holds_its_counts(hz: int, digits: str, tmp_path: Path) -> None:
    codes = [f"01:02:{at // hz:02d}:{at % hz:02d}{digits}" for at in range(3 * hz)]
    ramp = (np.arange(3 * hz) / hz).tolist()
    motion = live_link.read(take(tmp_path / "a.csv", codes, JawOpen=ramp))
    assert len(motion) == 75
    opening = motion.expression[:, SCORES.index("jawOpen")]
    assert np.abs(opening[:74] - np.arange(74) / 25).max() < 1e-6


def test_a_take_may_pass_midnight_and_lose_the_face(tmp_path: Path) -> None:
    codes = ["23:59:59:00", "23:59:59:55", "00:00:00:00", "00:00:00:55"]
    path = take(tmp_path / "a.csv", codes, JawOpen=[0.0, 0.1, 9.0, 0.3])
    lines = path.read_text().splitlines()
    lines[3] = "00:00:00:00,0"  # as the app writes a lost face
    path.write_text("\n".join(lines))
    opening = live_link.read(path).expression[:, SCORES.index("jawOpen")]
    assert opening[25] == pytest.approx(0.1 + 0.2 * 5 / 60) and opening.max() <= 0.3 + 1e-6


@pytest.mark.parametrize(
    ("angle", "towards"),
    [("HeadYaw", (1, 0)), ("HeadPitch", (0, 1))],  # picture: right is the person's left, and down
)
def test_a_head_turns_as_its_angle_says(angle: str, towards: tuple[int, int], tmp_path: Path) -> None:
    motion = live_link.read(take(tmp_path / "a.csv", sixtieths(60), **{angle: [0.3] * 60}))
    nose = torch.tensor([[[0.0, 0.0, 1.0]]])
    moved = apply_pose(torch.from_numpy(motion.head[:1]), nose)[0, 0]
    assert moved[:2].tolist() == pytest.approx([np.sin(0.3) * step for step in towards], abs=1e-6)
    assert moved[2] == pytest.approx(-np.cos(0.3))  # towards the camera


def test_eyes_look_where_scores_or_angles_say(tmp_path: Path) -> None:
    """Both eyes to the person's left, which is the picture's right: the left one outwards, the right one inwards."""
    scores = take(tmp_path / "a.csv", sixtieths(60), EyeLookOutLeft=[1.0] * 60, EyeLookInRight=[1.0] * 60)
    angles = take(tmp_path / "b.csv", sixtieths(60), LeftEyeYaw=[0.5] * 60, RightEyeYaw=[0.5] * 60)
    for path in (scores, angles):
        across = live_link.read(path).gaze[0]
        assert across[0] == across[2] > 0.1 and across[1] == across[3] == 0


def test_what_is_written_is_read_again(scene: Scene, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, (len(scene.track.motion), 52)).astype(np.float32)
    scores[:, 0] = 0
    gaze = rng.uniform(-0.2, 0.2, (len(scores), 4)).astype(np.float32)
    track = replace(
        scene.track,
        landmarks=replace(scene.track.landmarks, scores=scores),
        motion=replace(scene.track.motion, gaze=gaze),
    )
    count = exchange.WRITERS["live-link"](tmp_path, scene.capture, track, unwatched)
    again = live_link.read(tmp_path / live_link.FILE)
    kept = np.setdiff1d(np.arange(len(again)), LOST)
    assert count == len(kept) and len(again) == len(scores)
    assert np.abs(again.expression - scores)[kept].max() < 1e-6
    assert np.abs(again.gaze - gaze)[kept].max() < 1e-6
    same = np.abs((again.head[:, :4] * track.motion.head[:, :4]).sum(1))[kept]
    assert np.abs(same - 1).max() < 1e-6
    bridged = (scores[LOST[0] - 1] + scores[LOST[0] + 1]) / 2
    assert np.abs(again.expression[LOST[0]] - bridged).max() < 1e-6
    assert (tmp_path / "aud.wav").is_file()


def test_a_take_is_no_capture(tmp_path: Path) -> None:
    path = take(tmp_path / "a.csv", sixtieths(60))
    for given in (path, tmp_path):
        with pytest.raises(InputError, match="talk --motion"):
            exchange.read(given)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file"),
        ("", "not a recording"),
        ("a,b\n1,2\n", "not a recording"),
        ("Timecode,BlendShapeCount,JawOpen\n", "no column EyeBlinkLeft"),
        ("FULL", "0 rows with a face"),
        ("FULL\n00:00:00:00,61," + "0," * 60 + "x", "line 2 is no row of numbers"),
        ("FULL\n00:00:00:00,61,0,0", "line 2 is no row of numbers"),
        ("FULL\n00:00:00:00,61," + "0," * 60 + "nan", "line 2 holds NaN"),
        ("FULL\n0.5,61," + "0," * 60 + "0", "is no timecode"),
        ("FULL\n00:00:00:00,61," + "0," * 60 + "0", "1 rows with a face"),
    ],
)
def test_what_cannot_be_used_is_named(text: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    if text is not None:
        header = ",".join(("Timecode", "BlendShapeCount", *EXPRESSIONS, *ANGLES))
        path.write_text(text.replace("FULL", header))
    with pytest.raises(InputError, match=words):
        live_link.read(path)


def test_bytes_are_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(bytes(range(256)) * 10)
    with pytest.raises(InputError, match="not a"):
        live_link.read(path)
