# SPDX-License-Identifier: Apache-2.0
"""A training that is killed goes on as if nothing had happened."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import training_child
from made_up import make

from avatar3d.store import load_tensors

STEPS, DEADLY_SAVE = 36, 20


@pytest.mark.skipif(sys.platform == "win32", reason="kills with SIGKILL")
def test_killed_while_it_writes_a_checkpoint_it_ends_with_the_bits_of_a_run_that_was_left_alone(
    face_task: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    words = [training_child.__file__, face_task, checkpoint, STEPS, DEADLY_SAVE]
    child = subprocess.run([sys.executable, *map(str, words)], capture_output=True, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert len(list(checkpoint.parent.iterdir())) == 2, "the half-written file should lie beside the whole one"
    assert load_tensors(checkpoint)[1]["step"] == DEADLY_SAVE - 1

    made_up = make(face_task)
    whole, resumed = training_child.task_of(made_up), training_child.task_of(made_up)
    expected = training_child.trained(whole, STEPS, None)
    reports = training_child.trained(resumed, STEPS, checkpoint)
    assert [report.loss for report in reports] == [report.loss for report in expected[DEADLY_SAVE - 1 :]]
    state = resumed.snapshot()
    for name, tensor in whole.snapshot().items():
        assert torch.equal(tensor, state[name]), name
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]
