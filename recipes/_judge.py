# SPDX-License-Identifier: Apache-2.0
"""A judge of lip sync for `voice`: trained on the same capture, asked about the voice's lips."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from avatar3d.contracts import Listen
from avatar3d.fit import Budget, fit
from avatar3d.motion._sync import Judge
from avatar3d.motion._sync_fit import STAGES, SyncFit, sync_figures
from avatar3d.records import Capture, Progress, Sound, Track, Watch

_STEPS = 400


def trained_judge(capture: Capture, sound: Sound, track: Track, listen: Listen, seed: int, watch: Watch) -> Judge:
    """A judge of this person's lips, from the training frames."""
    learner = SyncFit(listen, sound, track, capture.cuts, seed)
    for report in fit(learner, STAGES, Budget(steps=_STEPS), reviews=0, seed=seed):
        watch(Progress("judge of sync", report.progress, f"loss {report.loss:.3f}"))
    return learner.judge()


def opinion(judge: Judge, sound: Sound, track: Track, said: np.ndarray) -> dict[str, Any]:
    """What a judge says of the held-out part: of the person's own lips ("own"), and of expressions [T,K] ("voice")."""
    start, rows = track.fitted_frames, judge.listen(sound)
    found = judge.offset(rows[start:], said[start:])
    return {
        "own": sync_figures(judge, rows[start:], track.motion.expression[start:]),
        "voice": None if found is None else asdict(found),
    }
