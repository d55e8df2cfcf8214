# SPDX-License-Identifier: Apache-2.0
"""A process that trains the made-up person, and is killed while it writes its checkpoint.

python training_child.py FACE_TASK CHECKPOINT STEPS DEADLY_SAVE
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from made_up import SETTINGS, MadeUp, make

from avatar3d.avatar._fit_settings import FitSettings
from avatar3d.avatar._linear_fit import LinearFit
from avatar3d.avatar.linear import LinearHead
from avatar3d.contracts import Tools
from avatar3d.fit import Budget, Stage, StepReport, fit
from avatar3d.perceptual import gradient_loss
from avatar3d.render.native import Native
from avatar3d.store import files
from avatar3d.threads import torch_threads

STAGES = [Stage("shape", 0.5, {"picture": 1.0}), Stage("detail", 1.0, {"picture": 1.0, "perceptual": 0.1})]


def task_of(made_up: MadeUp) -> LinearFit:
    """The same beginning every time."""
    head = LinearHead.from_track(made_up.capture, made_up.track, made_up.triangles, SETTINGS)
    tools = Tools(Native(), gradient_loss)
    return LinearFit(head, made_up.capture, made_up.track, tools, FitSettings(patch_share=0.25)).painted()


def trained(task: LinearFit, steps: int, checkpoint: Path | None) -> list[StepReport]:
    """All steps that are left, each saved."""
    with torch_threads(1):
        return list(fit(task, STAGES, Budget(steps=steps), checkpoint=checkpoint, checkpoint_every_s=0.0, reviews=2))


def _die_half_way(save: Any, deadly: int) -> Any:
    saves = 0

    def write(tensors: Any, path: Path, metadata: Any) -> None:
        nonlocal saves
        saves += 1
        save(tensors, path, metadata=metadata)
        if saves == deadly:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    return write


if __name__ == "__main__":
    face_task, checkpoint, steps, deadly = sys.argv[1:]
    files.save_tensors = _die_half_way(files.save_tensors, int(deadly))
    trained(task_of(make(Path(face_task))), int(steps), Path(checkpoint))
