# SPDX-License-Identifier: Apache-2.0
"""The CSV of Epic's Live Link Face: ARKit's 52 expressions and the turns of head and eyes, row by row.

Timecode HH:MM:SS:FF.sss counts frames of a 60 Hz clock (or 24, 25, 30, 50) and parts of them; BlendShapeCount is 61;
then 52 expressions 0..1 in the app's order, and HeadYaw, HeadPitch, HeadRoll, LeftEyeYaw .. RightEyeRoll in radians.
The app does not document its signs. Here angles turn right-handedly about ARKit's face axes, which are ours (x to the
person's left, y up, z out of the face): positive yaw looks to the person's left, positive pitch down. Where a file's
head turns the other way, it was recorded mirrored. Source: recordings' headers, and public importers of them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from avatar3d.errors import InputError
from avatar3d.face.arkit import EYEBALL, SCORES, gaze_of, lids_of
from avatar3d.records import FPS, Capture, Motion, Progress, Track, Watch, unwatched
from avatar3d.store import replacing, save_sound

NAME = "live-link"
FILE = "face.csv"
EXPRESSIONS = (
    "EyeBlinkLeft", "EyeLookDownLeft", "EyeLookInLeft", "EyeLookOutLeft", "EyeLookUpLeft", "EyeSquintLeft",
    "EyeWideLeft", "EyeBlinkRight", "EyeLookDownRight", "EyeLookInRight", "EyeLookOutRight", "EyeLookUpRight",
    "EyeSquintRight", "EyeWideRight", "JawForward", "JawRight", "JawLeft", "JawOpen", "MouthClose", "MouthFunnel",
    "MouthPucker", "MouthRight", "MouthLeft", "MouthSmileLeft", "MouthSmileRight", "MouthFrownLeft",
    "MouthFrownRight", "MouthDimpleLeft", "MouthDimpleRight", "MouthStretchLeft", "MouthStretchRight",
    "MouthRollLower", "MouthRollUpper", "MouthShrugLower", "MouthShrugUpper", "MouthPressLeft", "MouthPressRight",
    "MouthLowerDownLeft", "MouthLowerDownRight", "MouthUpperUpLeft", "MouthUpperUpRight", "BrowDownLeft",
    "BrowDownRight", "BrowInnerUp", "BrowOuterUpLeft", "BrowOuterUpRight", "CheekPuff", "CheekSquintLeft",
    "CheekSquintRight", "NoseSneerLeft", "NoseSneerRight", "TongueOut",
)  # fmt: skip
ANGLES = (
    "HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll", "RightEyeYaw", "RightEyePitch",
    "RightEyeRoll",
)  # fmt: skip
_HEADER = ("Timecode", "BlendShapeCount", *EXPRESSIONS, *ANGLES)
_CLOCKS_HZ = (24, 25, 30, 50, 60)
_USUAL_HZ = 60
_FACING = np.diag([1.0, -1.0, -1.0])  # world_from_head of a head that looks into the camera


def is_recording(path: Path) -> bool:
    """Whether a file begins as one of these."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(64).lower().replace(b"\xef\xbb\xbf", b"").startswith(b"timecode,blendshapecount")


def read(path: Path) -> Motion:
    """The motion at FPS, in basis "arkit" (columns as `avatar3d.face.arkit.SCORES`, `_neutral` 0; no tongue).

    Rows are interpolated between their timecodes; rows without values (a lost face) are bridged. `head` holds turns
    alone: a head at the world's origin that looks into the camera where the angles are zero.

    Raises:
        InputError: no such file, another kind of file, a column or number missing, or fewer than two rows.
    """
    times_s, values = _table(path)
    if len(times_s) < 2:
        raise InputError(f"{path}: {len(times_s)} rows with a face", "record for longer")
    times_s = times_s - times_s[0]
    step_s = float(np.median(np.diff(times_s)))
    at_s = np.arange(max(round((times_s[-1] + step_s) * FPS), 1)) / FPS
    column = {name: np.interp(at_s, times_s, values[:, index]) for index, name in enumerate((*EXPRESSIONS, *ANGLES))}
    scores = {name.lower(): column[name] for name in EXPRESSIONS}
    expression = np.stack([scores.get(name.lower(), np.zeros_like(at_s)) for name in SCORES], 1)
    turns = Rotation.from_euler("YXZ", np.stack([column[name] for name in ANGLES[:3]], 1)).as_matrix()
    quats = Rotation.from_matrix(_FACING @ turns).as_quat()[:, [3, 0, 1, 2]]
    return Motion(
        expression=expression.astype(np.float32),
        blink=lids_of(expression).astype(np.float32),
        gaze=_gaze(column, expression).astype(np.float32),
        head=np.concatenate([quats, np.zeros((len(at_s), 3))], 1).astype(np.float32),
        fps=FPS,
        basis="arkit",
    )


def write(folder: Path, capture: Capture, track: Track, watch: Watch = unwatched) -> int:
    """face.csv, a row for every frame in which a face was found, and aud.wav beside it; returns how many rows.

    Expressions are the detector's own scores (MediaPipe's, which has no tongue); head and eyes come from the track.
    Rows stand at the film's own times on the app's 60 Hz clock: frame k is at k / fps seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = save_track(folder / FILE, track)
    if capture.sound is not None:
        save_sound(folder / "aud.wav", capture.sound)
    watch(Progress("export", 1.0))
    return rows


def save_track(path: Path, track: Track) -> int:
    """The CSV alone; returns its rows."""
    return save(path, track.landmarks.scores, track.motion, track.confidence > 0)


def save(path: Path, scores: np.ndarray, motion: Motion, kept: np.ndarray | None = None) -> int:
    """Writes a CSV with expressions from `scores` [T,52] (as SCORES), head and eyes from `motion`; returns its rows.

    Args:
        kept: [T] bool, frames that have a row, where their scores are finite; None: all.
    """
    said = {name.lower(): scores[:, index] for index, name in enumerate(SCORES)}
    expressions = np.stack([said.get(name.lower(), np.zeros(len(scores))) for name in EXPRESSIONS], 1)
    turns = _FACING.T @ Rotation.from_quat(motion.head[:, [1, 2, 3, 0]].astype(np.float64)).as_matrix()
    angles = np.concatenate([Rotation.from_matrix(turns).as_euler("YXZ"), _eyes(motion.gaze)], 1)
    finite = np.isfinite(expressions).all(1)
    frames = np.flatnonzero(finite if kept is None else finite & kept)
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(_HEADER)
        for frame in frames.tolist():
            values = (*expressions[frame], *angles[frame])
            code = _timecode(frame / motion.fps)
            rows.writerow([code, len(values), *(f"{value:.10g}" for value in values)])
    return len(frames)


def _gaze(column: dict[str, np.ndarray], scores: np.ndarray) -> np.ndarray:
    """[T,4] from the eyes' angles where the file turns them, else from the eyeLook scores [T,52]."""
    if not any(np.any(column[name]) for name in ANGLES[3:]):
        return gaze_of(scores)
    angles = (column[f"{side}Eye{name}"] for side in ("Right", "Left") for name in ("Yaw", "Pitch"))
    return EYEBALL * np.sin(np.stack([*angles], 1))


def _eyes(gaze: np.ndarray) -> np.ndarray:
    """[T,6] rad: yaw, pitch and roll of the left eye, then of the right."""
    turn = np.arcsin(np.clip(gaze.astype(np.float64) / EYEBALL, -1, 1))
    none = np.zeros(len(gaze))
    return np.stack([turn[:, 2], turn[:, 3], none, turn[:, 0], turn[:, 1], none], 1)


def _timecode(time_s: float) -> str:
    whole = math.floor(time_s + 1e-9)
    ticks = (time_s - whole) * _USUAL_HZ
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}:{min(max(ticks, 0.0), 59.999):06.3f}"


def _table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Times [T] s and values [T,61] of the rows that have any."""
    codes, rows = [], []
    for line, (code, values) in enumerate(_rows(path), 2):
        if values is not None:
            codes.append(_parts(code, path, line))
            rows.append(values)
    return _seconds(np.array(codes, np.float64).reshape(-1, 4)), np.array(rows).reshape(-1, len(_HEADER) - 2)


def _rows(path: Path) -> Iterator[tuple[str, list[float] | None]]:
    """Timecode and values of each line, in the order of `_HEADER`; None for a line without values."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            places = _places([name.strip().lower() for name in next(lines, [])], path)
            for number, words in enumerate(lines, 2):
                if len(words) > 1:
                    yield words[0], _values(words, places, path, number)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file", "name the CSV of a Live Link Face take") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file ({error})", "name the CSV of a Live Link Face take") from error


def _places(header: Sequence[str], path: Path) -> list[int | None]:
    """Where each value stands in a line; the tongue and the angles may be missing."""
    if "timecode" not in header or "jawopen" not in header:
        raise InputError(f"{path}: not a recording of Live Link Face", "name a CSV with Timecode and BlendShapeCount")
    missing = [name for name in EXPRESSIONS[:-1] if name.lower() not in header]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing[:3])}", "record all of ARKit's expressions")
    return [header.index(name.lower()) if name.lower() in header else None for name in (*EXPRESSIONS, *ANGLES)]


def _values(words: Sequence[str], places: Sequence[int | None], path: Path, line: int) -> list[float] | None:
    if len(words) < 3 or words[1].strip() == "0":
        return None
    try:
        values = [0.0 if place is None else float(words[place]) for place in places]
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: line {line} is no row of numbers", "record or export it again") from error
    if not all(map(math.isfinite, values)):
        raise InputError(f"{path}: line {line} holds NaN or infinity", "record or export it again")
    return values


def _parts(code: str, path: Path, line: int) -> tuple[float, float, float, float]:
    words = code.strip().replace(";", ":").split(":")
    try:
        hours, minutes, seconds, ticks = (float(word) for word in words)
    except ValueError as error:
        raise InputError(f"{path}: line {line}: {code!r} is no timecode HH:MM:SS:FF", "record it again") from error
    return hours, minutes, seconds, ticks


def _seconds(parts: np.ndarray) -> np.ndarray:
    """Times [T] s that rise, of timecodes [T,4]; the clock's rate is the lowest that holds its largest count."""
    if not len(parts):
        return np.empty(0)
    over_a_second = np.ptp(parts[:, 2]) > 0
    rate = next((hz for hz in _CLOCKS_HZ if parts[:, 3].max() < hz), _USUAL_HZ) if over_a_second else _USUAL_HZ
    times_s = parts[:, :3] @ (3600.0, 60.0, 1.0) + parts[:, 3] / rate
    times_s[np.concatenate([[False], np.diff(times_s) < -43200]).cumsum() > 0] += 86400  # past midnight
    return np.maximum.accumulate(times_s)
