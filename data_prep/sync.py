# SPDX-License-Identifier: Apache-2.0
"""How late the sound of a capture is: learned from the clip itself, by hearing which mouth goes with which sound.

For every shift of the sound a linear map from its spectrum to the mouth is learned on four fifths of the clip and
judged on the rest. Only where sound and picture belong together does it foretell the mouth of frames it has not seen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import numpy as np
from scipy.ndimage import gaussian_filter1d

from avatar3d.audio.mel import Mel
from avatar3d.face.lips import lip_opening
from avatar3d.records import FPS, Capture, Sound, Track
from avatar3d.store import Work, key_of, load_capture, load_sound, read_json, write_json

__all__ = ["Lag", "in_step", "in_words", "kept_lag", "sound_lag"]

REACH = 15  # frames to either side
# The row of sound that fits a frame best begins this many rows of 40 ms after the frame's moment where sound and
# picture are in step. Speakers differ by a frame to either side: this is the middle of the recordings at hand.
_NATURAL_LEAD = 0.9
_FOLDS = 5
_RIDGE = 0.1  # times the number of frames, for features of unit spread
_SLOW_FRAMES = 12.0  # slower changes of the mouth are moods and poses, not sounds
_NEIGHBOURS = 4  # frames about the peak that belong to it
_LEAST_FRAMES = 6 * FPS
_MOST_FRAMES, _STRETCHES = 15_000, 10  # ten minutes
# Chance makes peaks too, the higher the shorter the clip. Above this no peak was seen in 1,040 pairs of 6 to 20 s of
# sound and picture that do not belong together.
_SURE_CORRELATION, _SURE_HEIGHT, _SURE_HEIGHT_OF_A_SECOND, _SPENT_S = 0.2, 0.12, 0.52, 3.0
_CLOSED = 0.1  # of the widest: openings are told apart by their ratio, but not below this
_MEND_FROM = 2.0  # frames; speakers differ by one, and viewers begin to see it at two (ITU-R BT.1359)
_VERSION = 2
_MOUTH_CORNERS = (78, 308)


@dataclass(frozen=True)
class Lag:
    """Where sound and picture fit best."""

    frames: float  # how much later the sound comes than it should; negative: earlier
    correlation: float  # of foretold and seen mouth at the best shift, 0..1
    height: float  # by how much that is above every shift further away; 0 at an end of what was searched
    seconds: float  # with a mouth in view
    curve: tuple[float, ...]  # [2*REACH+1] correlation for the shifts -REACH..REACH, the natural lead included

    @property
    def sure(self) -> bool:
        """Whether the figure may be acted on: a peak that is high, and higher than chance makes them."""
        return self.correlation >= _SURE_CORRELATION and self.height >= self.least_height

    @property
    def least_height(self) -> float:
        """The height that a peak needs in a clip of this length."""
        return max(_SURE_HEIGHT, _SURE_HEIGHT_OF_A_SECOND / max(self.seconds - _SPENT_S, 1.0) ** 0.5)

    @property
    def lags(self) -> tuple[float, ...]:
        """How late the sound would be, in frames, at each point of the curve."""
        return tuple(shift - _NATURAL_LEAD for shift in range(-REACH, REACH + 1))

    @property
    def mended_frames(self) -> float:
        """How much earlier the sound is to be played."""
        return self.frames if self.sure and abs(self.frames) >= _MEND_FROM else 0.0


def sound_lag(sound: Sound, track: Track) -> Lag | None:
    """Finds the shift between sound and picture, to a fraction of a frame.

    Args:
        sound: as long as the track.
        track: with frames at FPS.

    Returns:
        None where fewer than six seconds show a mouth.
    """
    rows = Mel()(sound)
    count = min(len(rows), len(track.motion))
    seen = _usable(track)[:count] & _looked_at(count)
    if seen.sum() < _LEAST_FRAMES:
        return None
    mouth = _mouth(track)[:count]
    mouth = (mouth - mouth[seen].mean(0)) / np.maximum(mouth[seen].std(0), 1e-9)
    heard = (rows[:count] - rows[:count].mean(0)) / (rows[:count].std(0) + 0.1)
    curve = np.array([_foretold(heard, mouth, seen, shift) for shift in range(-REACH, REACH + 1)])
    best = int(curve.argmax())
    far = np.abs(np.arange(len(curve)) - best) > _NEIGHBOURS
    at_end = best in (0, len(curve) - 1)
    return Lag(
        frames=float(best - REACH + (0.0 if at_end else _vertex(*curve[best - 1 : best + 2])) - _NATURAL_LEAD),
        correlation=float(curve[best]),
        height=0.0 if at_end else float(curve[best] - curve[far].max()),
        seconds=float(seen.sum()) / FPS,
        curve=tuple(curve.round(4).tolist()),
    )


def in_step(work: Work, capture: Capture, track: Track) -> Capture:
    """The capture with its sound moved to where it belongs, if that is known for sure; keeps the finding on disk.

    A finished measurement is read back. The sound on disk stays as it was recorded.
    """
    key = key_of("sync", _VERSION, work.key("capture"), work.key("track"))
    if work.key("sync") != key or not work.sync.is_file():
        lag = None if capture.sound is None else sound_lag(load_sound(work.audio), track)
        write_json(
            work.sync,
            {"late_s": lag.mended_frames / FPS if lag else 0.0, "lag": None if lag is None else asdict(lag)},
        )
        work.finish("sync", key)
    return load_capture(work)


def kept_lag(work: Work) -> Lag | None:
    """What `in_step` found; None where it could not be measured, has not been, or an earlier version noted it."""
    found = read_json(work.sync)["lag"] if work.sync.is_file() else None
    if found is None or set(found) != {field.name for field in fields(Lag)}:
        return None
    return Lag(**found)


def in_words(lag: Lag | None) -> str:
    """What was found, in a sentence."""
    if lag is None:
        return "whether sound and picture are in step could not be measured"
    if not lag.sure:
        return "whether sound and picture are in step cannot be told from this clip"
    amount = f"{abs(lag.frames):.1f} frames {'late' if lag.frames > 0 else 'early'}"
    if lag.mended_frames:
        return f"the sound came {amount} and was moved"
    return f"sound and picture are in step (the sound is {amount})"


def _usable(track: Track) -> np.ndarray:
    """[T] bool: a face was seen, and so close by that a smoothed path is not made up."""
    known = track.landmarks.found & (track.confidence > 0)
    return known & np.roll(known, 1) & np.roll(known, -1)


def _looked_at(frames: int) -> np.ndarray:
    """[T] bool: all, or of a long clip ten stretches that are spread over it; more would not make it surer."""
    if frames <= _MOST_FRAMES:
        return np.ones(frames, bool)
    stretch = _MOST_FRAMES // _STRETCHES
    starts = np.linspace(0, frames - stretch, _STRETCHES).astype(int)
    return np.isin(np.arange(frames), (starts[:, None] + np.arange(stretch)).ravel())


def _mouth(track: Track) -> np.ndarray:
    """[T,3]: opening and width of the mouth without what is slow, and the speed of the opening; head pose left out."""
    opening = lip_opening(track.neutral, track.basis, track.motion.expression)
    # lips that part are heard more than lips that part further, so that closures weigh more in the logarithm
    opening = np.log(opening + _CLOSED * max(float(np.quantile(opening, 0.9)), 1e-6))
    right, left = _MOUTH_CORNERS
    across = (track.basis[right] - track.basis[left]) @ track.motion.expression.T + (
        track.neutral[right] - track.neutral[left]
    )[:, None]
    paths = np.stack([opening, np.linalg.norm(across, axis=0)], 1)
    quick = paths - gaussian_filter1d(paths, _SLOW_FRAMES, axis=0)
    return np.concatenate([quick, np.gradient(quick[:, :1], axis=0)], 1)


def _foretold(heard: np.ndarray, mouth: np.ndarray, seen: np.ndarray, shift: int) -> float:
    """Mean correlation of the mouth of frames left out of the fit with what the sound `shift` rows later says of it."""
    row = np.arange(len(heard)) + shift
    kept = np.flatnonzero(seen & (row >= 0) & (row < len(heard)))
    X, Y = heard[row[kept]].astype(np.float64), mouth[kept].astype(np.float64)
    fold = np.arange(len(kept)) * _FOLDS // len(kept)
    grams = [X[fold == k].T @ X[fold == k] for k in range(_FOLDS)]
    products = [X[fold == k].T @ Y[fold == k] for k in range(_FOLDS)]
    said = np.empty_like(Y)
    for k in range(_FOLDS):
        out = fold == k
        penalty = _RIDGE * (len(kept) - out.sum()) * np.eye(X.shape[1])
        said[out] = X[out] @ np.linalg.solve(sum(grams) - grams[k] + penalty, sum(products) - products[k])
    return float(np.mean([_correlation(said[:, j], Y[:, j]) for j in range(Y.shape[1])]))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / max(np.sqrt((a @ a) * (b @ b)), 1e-12))


def _vertex(left: float, middle: float, right: float) -> float:
    """Where the parabola through three neighbours has its top, from the middle one, -.5...5."""
    bend = left - 2 * middle + right
    return 0.5 * (left - right) / bend if bend < 0 else 0.0
