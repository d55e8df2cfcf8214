# SPDX-License-Identifier: Apache-2.0
"""One of several processes that train the made-up person together, as torchrun would start them.

python ranks_child.py FACE_TASK OUT STEPS
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from made_up import make
from training_child import STAGES, task_of

from avatar3d import ranks
from avatar3d.avatar._linear_fit import LinearFit
from avatar3d.fit import Budget, fit
from avatar3d.store import write_tensors
from avatar3d.threads import torch_threads

BATCH = 2


def train_together(task: LinearFit, out: Path, steps: int) -> None:
    """Writes a checkpoint, the events and, of each process, the losses and what it learned."""
    with torch_threads(1):
        reports = list(
            fit(
                task,
                STAGES,
                Budget(seconds=1000, steps=steps),
                checkpoint=out / "checkpoint.safetensors",
                log_dir=out / "events",
                reviews=2,
                batch=BATCH,
            )
        )
    losses = torch.tensor([report.loss for report in reports], dtype=torch.float64)
    figures = torch.tensor([len(report.figures) for report in reports])
    found = {"losses": losses, "figures": figures, **task.snapshot()}
    write_tensors(out / f"rank{ranks.rank()}of{ranks.count()}.safetensors", found)


if __name__ == "__main__":
    face_task, out, steps = sys.argv[1:]
    with ranks.joined():
        train_together(task_of(make(Path(face_task))), Path(out), int(steps))
