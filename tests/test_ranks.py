# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one head: the same steps as one process that draws all their pictures."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import ranks_child
import torch
import training_child
from made_up import make

from avatar3d import ranks
from avatar3d.store import load_tensors

PROCESSES, STEPS = 2, 14


def _free_port() -> int:
    with socket.socket() as at:
        at.bind(("127.0.0.1", 0))
        return int(at.getsockname()[1])


def _run_together(face_task: Path, out: Path) -> None:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(PROCESSES)}
    words = [sys.executable, ranks_child.__file__, str(face_task), str(out), str(STEPS)]
    started = [
        subprocess.Popen(
            words, env=os.environ | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE
        )
        for rank in range(PROCESSES)
    ]
    for process in started:
        error = process.communicate()[1].decode()
        assert process.returncode == 0, error


def test_two_processes_take_the_steps_of_one_that_draws_the_pictures_of_both(face_task: Path, tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    _run_together(face_task, together)
    ranks_child.train_together(training_child.task_of(make(face_task)), alone, STEPS)
    expected = load_tensors(alone / "rank0of1.safetensors")[0]
    first, second = (load_tensors(together / f"rank{rank}of2.safetensors")[0] for rank in range(PROCESSES))
    for name, tensor in first.items():
        if name != "figures":
            assert torch.equal(tensor, second[name]), f"{name} differs between the processes"
            # a hundredth of Adam's largest step: where a gradient is nearly 0, rounding says which way it goes
            assert torch.allclose(tensor.float(), expected[name].float(), rtol=1e-3, atol=1e-4), name
    assert torch.allclose(first["losses"], expected["losses"], rtol=1e-5)
    assert torch.equal(first["figures"], expected["figures"])
    assert not second["figures"].any(), "only the first process should judge"
    assert len(list((together / "events").iterdir())) == 1
    about = [load_tensors(out / "checkpoint.safetensors")[1] for out in (together, alone)]
    assert [entry["step"] for entry in about] == [STEPS, STEPS]


def test_a_process_alone_is_the_first_of_one_and_speaks_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with ranks.joined():
        assert (ranks.rank(), ranks.count(), ranks.of_first(2.5)) == (0, 1, 2.5)
        rows = torch.arange(3.0)
        ranks.mean_([rows])
        assert ranks.gathered(rows) is rows
    assert rows.tolist() == [0, 1, 2]
