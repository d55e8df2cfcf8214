# SPDX-License-Identifier: Apache-2.0
"""The checkpoint of a training: when it is written, and when one that lies there is gone on from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from avatar3d.errors import InputError
from avatar3d.store import load_tensors, sweep, write_tensors

_VERSION = 2
_log = logging.getLogger(__name__)


class Diverged(InputError):
    """Training met a number that is not finite; the last good checkpoint is kept."""


class Kept(Protocol):
    """What a checkpoint holds: everything that changes while training."""

    step: int
    spent_s: float

    def state(self) -> dict[str, Tensor]: ...
    def load(self, tensors: Mapping[str, Tensor]) -> None: ...


class Keeper:
    """Writes the checkpoint of a run, and resumes it.

    A checkpoint is put in place whole, so one that is there can be read however the process that wrote it ended. One
    that is damaged nevertheless, or belongs to another training, is named in the log and replaced at the next save.
    Of several processes only one `writes`.
    """

    def __init__(
        self, path: Path | None, identity: str, seed: int, every_s: float, run: Kept, writes: bool = True
    ) -> None:
        self.path, self.every_s, self.run, self.writes = path, every_s, run, writes
        self.identity = {"version": _VERSION, "identity": identity, "seed": seed}
        self.saved_step, self.saved_s = 0, 0.0

    def resume(self) -> None:
        """Takes the run to where its checkpoint stands, if there is one."""
        if self.path is None:
            return
        if self.writes:
            sweep(self.path.parent)
        if not self.path.exists():
            return
        try:
            tensors, about = load_tensors(self.path)
        except InputError as error:
            _log.warning("%s; training begins anew", error.what)
            return
        if {key: about.get(key) for key in self.identity} != self.identity:
            _log.warning("%s: step %s of a training with other data or settings; this one begins anew and replaces it",
                         self.path, about.get("step", "?"))  # fmt: skip
            return
        self.run.load(tensors)
        self.run.step, self.run.spent_s = int(about["step"]), float(about["spent_s"])
        self.saved_step, self.saved_s = self.run.step, self.run.spent_s

    def save_if_due(self, done: bool) -> None:
        """Saves when the last save is long ago, and when the training is `done`."""
        if done or self.run.spent_s - self.saved_s >= self.every_s:
            self.save()

    def save(self) -> None:
        """Saves now.

        Raises:
            Diverged: something is not finite; the file stays as it was.
        """
        if self.run.step == self.saved_step:
            return
        tensors = self.run.state()
        # a gradient can be finite although what was made of it is not
        if bad := [n for n, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]:
            raise self.diverged(f"step {self.run.step}", f"not finite: {', '.join(bad)}")
        if self.path is not None and self.writes:
            about = self.identity | {"step": self.run.step, "spent_s": self.run.spent_s}
            write_tensors(self.path, tensors, about)
        self.saved_step, self.saved_s = self.run.step, self.run.spent_s

    def diverged(self, where: str, what: str) -> Diverged:
        """The error that says where and what, what is kept, and what may help.

        The same steps would lead there again, so going on from the checkpoint is no remedy.
        """
        kept = f" (step {self.saved_step} is kept in {self.path})" if self.path is not None and self.saved_step else ""
        return Diverged(f"training stopped at {where}: {what}{kept}", "train again with another --seed or --preset")
