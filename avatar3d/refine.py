# SPDX-License-Identifier: Apache-2.0
"""Tracking through the renderer: a motion refined until the drawn head lies on the filmed one.

    track = refine(head, capture, track, Native())

Landmarks say where a face is to half a pixel, frame by frame for themselves. A trained head says it to a fraction of
that, from every pixel of the skin, and in its own terms: head pose, expression, lids and gaze of each frame are moved
until the picture agrees, by Gauss-Newton (Lucas and Kanade, 1981, with a renderer in place of the template). So is the
pose of the body, of which landmarks say nothing at all. The head itself stays as it is, so pictures that it was not
trained on teach it nothing. Of a head that is drawn by rays some pixels are looked at, each for those about it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from avatar3d._steady import POSE, Quadratic
from avatar3d.avatar._frames import Frames, usable_frames
from avatar3d.avatar._looks import looks_of
from avatar3d.contracts import Bodied, Draw, Head
from avatar3d.geometry import normalise, quat_from_rotvec, quat_multiply, rotvec_from_quat
from avatar3d.records import Capture, Motion, Progress, Track, Watch, unwatched
from avatar3d.threads import torch_threads

__all__ = ["RefineSettings", "refine"]

_ROBUST = 0.1  # residuals beyond this lose weight: highlights, hands, what the head never learned
_CURVATURE_FRAMES = 16
# pixels that err together: a picture of n pixels says as much as n / 10 independent ones
_PATCH_PX = 10.0
_STILL_LOOK = 0.02  # lids and gaze that move less are taken to move by this
_LEAST_VARIANCE = (0.5 / 255) ** 2  # of a difference: pictures come in whole numbers
_LOOKS = 4  # both lids, gaze across and down
_PROBE = 0.5  # of the prior's deviations: how far a number is moved to see what it does to the picture


@dataclass(frozen=True)
class RefineSettings:
    """How far a motion may move from the landmarks', and how steady it is held."""

    passes: int = 2  # over the frames; each draws every frame once, with gradients
    turn_deg: float = 0.3  # standard deviations about the landmarks' motion
    shift_u: float = 0.01
    expression: float = 0.25  # in units of expression, which have unit variance
    lids_gaze: float = 0.5  # in standard deviations of the capture's own
    body_turn_deg: float = 2.0  # standard deviations about what the head's pose suggests
    body_shift_u: float = 0.05
    steadiness: float = 32.0  # strength of the prior on the head's accelerations over the measured one
    rays: int = 3000  # looked at in the face, and as many in all of a picture, of a head that is drawn by rays


def refine(
    head: Head,
    capture: Capture,
    track: Track,
    draw: Draw,
    frames: range | None = None,
    settings: RefineSettings = RefineSettings(),
    watch: Watch = unwatched,
) -> Track:
    """The track with the motion under which `head`, drawn, agrees best with the capture's pictures.

    A frame's picture speaks for that frame alone, except that the poses of head and body are steadied over time
    (heavy-tailed second differences), never across a cut or a frame of confidence 0. Those frames, and frames that are
    not asked for, keep their motion; where the track has no body, they take the one that the head's pose suggests.
    Nothing is random. What is held beside the pictures is a few hundred bytes a frame.

    Args:
        frames: a range of step 1; None: all.
    """
    frames = range(len(track.motion)) if frames is None else frames
    runs = _runs(usable_frames(track), capture.cuts, frames)
    if not runs:
        return track
    with torch_threads(1):
        scene = _Scene(head, capture, track, draw, settings.rays)
        motion = track.motion
        if isinstance(head, Bodied):
            motion = replace(motion, body=head.body(motion, capture.cuts))
        spread = _spread(replace(track, motion=motion), settings)
        total = np.zeros((len(motion), len(spread)))
        curvature: np.ndarray | None = None
        for number in range(settings.passes):
            told = partial(_tell, watch, number, settings.passes)
            seen = scene.seen(motion, runs, _PROBE * spread, told)
            if curvature is None:
                curvature = scene.curvature(seen, _PROBE * spread)
            problem = Quadratic(curvature / seen.variance, seen.slopes / seen.variance, 1 / spread**2, total)
            last = number == settings.passes - 1
            step = _step(problem, motion, runs, settings.steadiness if last else 0.0)
            motion, total = moved(motion, step), total + step
    return replace(track, motion=motion)


def moved(motion: Motion, step: np.ndarray) -> Motion:
    """A motion moved by steps [T,6+K+4]: turn (rad), shift (u), expression, both lids, gaze across and down.

    Where the motion has a body, six more: its turn and shift.
    """
    face, numbers = motion.expression.shape[1], POSE + motion.expression.shape[1] + _LOOKS
    looks = step[:, POSE + face : numbers].astype(np.float32)
    return replace(
        motion,
        head=_moved_poses(motion.head, step[:, :POSE]),
        expression=motion.expression + step[:, POSE : POSE + face].astype(np.float32),
        blink=motion.blink + looks[:, :2],
        gaze=motion.gaze + looks[:, [2, 3, 2, 3]],
        body=None if motion.body is None else _moved_poses(motion.body, step[:, numbers:]),
    )


def _moved_poses(poses: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Poses [T,7] turned and shifted by [T,6]."""
    turns = quat_from_rotvec(torch.from_numpy(step[:, :3]))
    quats = normalise(quat_multiply(turns, torch.from_numpy(poses[:, :4].astype(np.float64)))).numpy()
    return np.concatenate([quats, poses[:, 4:] + step[:, 3:]], 1).astype(np.float32)


def _step(problem: Quadratic, motion: Motion, runs: Sequence[slice], strength: float) -> np.ndarray:
    """The best step [T,D]: of head and face, then of the body given these."""
    if motion.body is None:
        return problem.steady(_path(motion.head, runs), runs, strength)
    head, body = problem.parted(-POSE)
    step = head.steady(_path(motion.head, runs), runs, strength)
    pulled = replace(body, slope=body.slope + step @ problem.curvature[:-POSE, -POSE:])
    return np.concatenate([step, pulled.steady(_path(motion.body, runs), runs, strength)], 1)


def _tell(watch: Watch, number: int, passes: int, share: float) -> None:
    watch(Progress("refine", (number + share) / passes))


def _spread(track: Track, settings: RefineSettings) -> np.ndarray:
    """Standard deviations [D] of the prior about where the motion began."""
    known = track.motion[: track.fitted_frames]
    looks = np.concatenate([known.blink, known.gaze[:, :2]], 1)
    pose = [np.radians(settings.turn_deg)] * 3 + [settings.shift_u] * 3
    expression = [settings.expression] * known.expression.shape[1]
    body = [np.radians(settings.body_turn_deg)] * 3 + [settings.body_shift_u] * 3
    spread = [*pose, *expression, *(settings.lids_gaze * looks.std(0).clip(_STILL_LOOK))]
    return np.array(spread if known.body is None else spread + body)


def _runs(usable: np.ndarray, cuts: Sequence[int], frames: range) -> list[slice]:
    """Stretches of usable frames within `frames` and within a shot."""
    asked = np.zeros(len(usable), bool)
    asked[frames.start : frames.stop] = usable[frames.start : frames.stop]
    starts = np.zeros(len(usable) + 1, bool)
    starts[[0, len(usable), *cuts]] = True
    starts[1:-1] |= asked[1:] != asked[:-1]
    edges = np.flatnonzero(starts)
    return [slice(a, b) for a, b in pairwise(edges.tolist()) if asked[a]]


def _path(poses: np.ndarray, runs: Sequence[slice]) -> np.ndarray:
    """Poses [T,6] of [T,7], as sums of turns from frame to frame (whose differences hold for a head turned any way)."""
    quats = torch.from_numpy(poses[:, :4].astype(np.float64))
    path = np.zeros((len(poses), POSE))
    path[:, 3:] = poses[:, 4:]
    for run in runs:
        back = quats[run][:-1] * torch.tensor([1.0, -1.0, -1.0, -1.0], dtype=torch.float64)
        turns = rotvec_from_quat(quat_multiply(quats[run][1:], back)).numpy()
        path[run.start + 1 : run.stop, :3] = turns.cumsum(0)
    return path


@dataclass(frozen=True)
class _Seen:
    """What pictures say of a motion, D numbers a frame (as in `moved`); and of F frames more."""

    slopes: np.ndarray  # [T,D] half the gradient of weighted squared differences
    variance: float  # of a difference
    frames: np.ndarray  # [F]
    codes: Tensor  # [F,P]
    answers: Tensor  # [D,F,P] how the codes move with the motion


class _Scene:
    """Pictures of a head in a motion, against the capture's."""

    def __init__(self, head: Head, capture: Capture, track: Track, draw: Draw, rays: int) -> None:
        # each frame is a shot of its own: a picture speaks for its frame, and what a head averages over several would
        # answer to one alone but faintly, and all of them at once would go too far
        self.head, self.cuts = head, range(1, len(track.motion))
        with torch.no_grad():
            some_code = head.encode(track.motion, self.cuts)[0]
        self.looks = looks_of(head, draw, Frames(capture, track), some_code, rays)

    def seen(self, motion: Motion, runs: Sequence[slice], probe: np.ndarray, told: Callable[[float], None]) -> _Seen:
        """What the pictures of `runs` say of a motion."""
        asked = np.concatenate([np.arange(run.start, run.stop) for run in runs])
        with torch.no_grad():
            codes = self.head.encode(motion, self.cuts)
        pulls, variance = self._pulls(codes, asked, told)
        chosen = asked[np.linspace(0, len(asked) - 1, min(_CURVATURE_FRAMES, len(asked))).astype(int)]
        slopes, answers = np.zeros((len(motion), len(probe))), []
        for number in range(len(probe)):
            answer = self._answer(motion, codes, number, len(probe), float(probe[number]))
            slopes[:, number] = (answer * pulls).sum(1).numpy()
            answers.append(answer[chosen])
        return _Seen(slopes, variance, chosen, codes[chosen], torch.stack(answers))

    @torch.enable_grad()  # also for a trainer that asks between two steps
    def _pulls(self, codes: Tensor, asked: np.ndarray, told: Callable[[float], None]) -> tuple[Tensor, float]:
        """Half the gradient by the codes [T,P], and the variance of a difference."""
        pulls, squares, weights = torch.zeros_like(codes), 0.0, 0.0
        for count, frame in enumerate(asked.tolist(), 1):
            code = codes[frame].clone().requires_grad_()
            difference, weight = self._difference(code, frame)
            loss = 0.5 * (weight * difference.square()).sum()
            (pulls[frame],) = torch.autograd.grad(loss, code)
            squares, weights = squares + 2 * float(loss.detach()), weights + float(weight.sum())
            told(count / len(asked))
        return pulls, _PATCH_PX * max(squares / weights, _LEAST_VARIANCE)

    @torch.no_grad()
    def _answer(self, motion: Motion, codes: Tensor, number: int, numbers: int, size: float) -> Tensor:
        """How the codes of each frame [T,P] move with one number of that frame's motion."""
        nudge = np.zeros((len(motion), numbers))
        nudge[:, number] = size
        answer: Tensor = (self.head.encode(moved(motion, nudge), self.cuts) - codes) / size
        return answer

    def _difference(self, code: Tensor, frame: int) -> tuple[Tensor, Tensor]:
        """Drawn minus real [3,...], and how much each number counts."""
        difference = self.looks.drawn(code, frame) - self.looks.real(frame)
        with torch.no_grad():
            weight = self.looks.weight(frame) / (1 + (difference / _ROBUST).square())
        return difference, weight

    @torch.no_grad()
    def curvature(self, seen: _Seen, probe: np.ndarray) -> np.ndarray:
        """Gauss-Newton's [D,D], the mean over some frames."""
        total = np.zeros((len(probe), len(probe)))
        for code, frame, moves in zip(seen.codes, seen.frames.tolist(), seen.answers.unbind(1), strict=True):
            root = self._difference(code, frame)[1].sqrt()
            here = self.looks.drawn(code, frame)
            columns = [
                ((self.looks.drawn(code + size * move, frame) - here) * root).flatten() / size
                for move, size in zip(moves, probe.tolist(), strict=True)
            ]
            jacobian = torch.stack(columns)
            total += (jacobian @ jacobian.T).double().numpy()
        return total / len(seen.frames)
