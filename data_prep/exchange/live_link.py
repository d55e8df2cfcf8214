# SPDX-License-Identifier: Apache-2.0
"""The CSV of Epic's Live Link Face: ARKit's 52 expressions and the turns of head and eyes, row by row.

Timecode HH:MM:SS:FF.sss counts frames of a 60 Hz clock (or 24, 25, 30, 50) and parts of them; BlendShapeCount is 61;
then 52 expressions 0..1 in the app's order, and HeadYaw, HeadPitch, HeadRoll, LeftEyeYaw .. RightEyeRoll in radians.
The app does not document its signs. Here angles turn right-handedly about ARKit's face axes, which are ours (x to the
person's left, y up, z out of the face): positive yaw looks to the person's left, positive pitch down. Where a file's
head turns the other way, it was recorded mirrored. Source: recordings' headers, and public importers of them.

What an avatar did is written with columns more, which other programs pass over: where head and body stood, and what of
the face its own basis says beyond ARKit's names.
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
# ours: turns of the body in radians, and places in cm in the camera's axes, both counted from the person's usual pose
PLACES = ("HeadX", "HeadY", "HeadZ", "BodyYaw", "BodyPitch", "BodyRoll", "BodyX", "BodyY", "BodyZ")
_HEADER = ("Timecode", "BlendShapeCount", *EXPRESSIONS, *ANGLES)
_U_CM = 10.0
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
    alone: a head at the world's origin that looks into the camera where the angles are zero. A file that `save` wrote
    has places too, and a body.

    Raises:
        InputError: no such file, another kind of file, a column or number missing, or fewer than two rows.
    """
    column = _columns(path, (*EXPRESSIONS, *ANGLES, *PLACES))
    scores = {name.lower(): column[name] for name in EXPRESSIONS}
    none = np.zeros_like(column["JawOpen"])
    expression = np.stack([scores.get(name.lower(), none) for name in SCORES], 1)
    return Motion(
        expression=expression.astype(np.float32),
        blink=lids_of(expression).astype(np.float32),
        gaze=_gaze(column, expression).astype(np.float32),
        head=_poses(column, "Head"),
        fps=FPS,
        basis="arkit",
        body=_poses(column, "Body") if PLACES[-1].lower() in next(_lines(path), []) else None,
    )


def read_own(path: Path, face: str) -> np.ndarray | None:
    """What `save` wrote as `own` [T,K] for a face of this name; None where the file has nothing of it."""
    header = next(_lines(path), [])
    names = [name for name in (_own(face, number) for number in range(len(header))) if name.lower() in header]
    if not names:
        return None
    column = _columns(path, ("JawOpen", *names))
    return np.stack([column[name] for name in names], 1).astype(np.float32)


def save(path: Path, scores: np.ndarray, motion: Motion, own: np.ndarray | None = None, face: str = "") -> None:
    """Writes what an avatar does, a row per frame; `read` gives the same to 1e-6.

    Args:
        scores: [T,52] in the order of `SCORES`.
        motion: its eyes, head and body are written, the poses as `avatar3d.motion._head_motion.from_usual` gives them.
        own: [T,K] what the scores leave of an expression in the basis of the face named `face`.
    """
    parts = [_expressions(scores), _angles(motion.head), _eyes(motion.gaze), motion.head[:, 4:] * _U_CM]
    names = [*_HEADER, *PLACES[:3]]
    if motion.body is not None:
        parts += [_angles(motion.body), motion.body[:, 4:] * _U_CM]
        names += PLACES[3:]
    if own is not None:
        parts.append(own)
        names += [_own(face, number) for number in range(own.shape[1])]
    _write_rows(path, names, np.arange(len(scores)) / motion.fps, np.concatenate(parts, 1))


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
    motion = track.motion
    values = np.concatenate([_expressions(track.landmarks.scores), _angles(motion.head), _eyes(motion.gaze)], 1)
    kept = np.flatnonzero((track.confidence > 0) & np.isfinite(values).all(1))
    _write_rows(path, _HEADER, kept / motion.fps, values[kept])
    return len(kept)


def _write_rows(path: Path, header: Sequence[str], times_s: np.ndarray, values: np.ndarray) -> None:
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(header)
        for time_s, row in zip(times_s.tolist(), values.tolist(), strict=True):
            rows.writerow([_timecode(time_s), len(EXPRESSIONS) + len(ANGLES), *(f"{value:.10g}" for value in row)])


def _own(face: str, number: int) -> str:
    """The column of one number that the face named `face` alone understands."""
    return f"Own-{face}-{number + 1}"


def _expressions(scores: np.ndarray) -> np.ndarray:
    """Scores [T,52] in the order of EXPRESSIONS."""
    said = {name.lower(): scores[:, index] for index, name in enumerate(SCORES)}
    return np.stack([said.get(name.lower(), np.zeros(len(scores))) for name in EXPRESSIONS], 1)


def _angles(poses: np.ndarray) -> np.ndarray:
    """[T,3] rad: yaw, pitch and roll of world_from_head [T,7]."""
    turns = _FACING.T @ Rotation.from_quat(poses[:, [1, 2, 3, 0]].astype(np.float64)).as_matrix()
    return Rotation.from_matrix(turns).as_euler("YXZ")


def _poses(column: dict[str, np.ndarray], part: str) -> np.ndarray:
    """world_from_head [T,7] float32 of the head, or the body, at the world's origin but for its places."""
    angles, places = ([column[f"{part}{axis}"] for axis in axes] for axes in (("Yaw", "Pitch", "Roll"), "XYZ"))
    turns = _FACING @ Rotation.from_euler("YXZ", np.stack(angles, 1)).as_matrix()
    quats = Rotation.from_matrix(turns).as_quat()[:, [3, 0, 1, 2]]
    return np.concatenate([quats, np.stack(places, 1) / _U_CM], 1).astype(np.float32)


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


def _columns(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns [T] by name at FPS, zero where the file has none of a name."""
    times_s, values = _table(path, names)
    if len(times_s) < 2:
        raise InputError(f"{path}: {len(times_s)} rows with a face", "record for longer")
    times_s = times_s - times_s[0]
    step_s = float(np.median(np.diff(times_s)))
    at_s = np.arange(max(round((times_s[-1] + step_s) * FPS), 1)) / FPS
    return {name: np.interp(at_s, times_s, values[:, index]) for index, name in enumerate(names)}


def _table(path: Path, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Times [T] s and values [T,len(names)] of the rows that have any."""
    lines = _lines(path)
    places = _places(next(lines, []), names, path)
    codes, rows = [], []
    for number, words in enumerate(lines, 2):
        values = _values(words, places, path, number)
        if values is not None:
            codes.append(_parts(words[0], path, number))
            rows.append(values)
    return _seconds(np.array(codes, np.float64).reshape(-1, 4)), np.array(rows).reshape(-1, len(names))


def _lines(path: Path) -> Iterator[list[str]]:
    """The names of the columns in small letters, then the words of each line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, words in enumerate(csv.reader(file)):
                yield words if number else [name.strip().lower() for name in words]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file", "name the CSV of a Live Link Face take") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file ({error})", "name the CSV of a Live Link Face take") from error


def _places(header: Sequence[str], names: Sequence[str], path: Path) -> list[int | None]:
    """Where each named value stands in a line; the tongue, the angles and what is ours may be missing."""
    if "timecode" not in header or "jawopen" not in header:
        raise InputError(f"{path}: not a recording of Live Link Face", "name a CSV with Timecode and BlendShapeCount")
    missing = [name for name in EXPRESSIONS[:-1] if name.lower() not in header]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing[:3])}", "record all of ARKit's expressions")
    return [header.index(name.lower()) if name.lower() in header else None for name in names]


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
