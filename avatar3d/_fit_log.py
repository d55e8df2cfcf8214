# SPDX-License-Identifier: Apache-2.0
"""What a training tells TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

_SCALARS_EVERY_S = 0.5
_EVENTS = "events.out.tfevents.*"


class Log:
    """TensorBoard's events in a folder; silent without one.

    Args:
        step: where the run stands. At 0 the events of earlier runs are removed; later, what an interrupted run told
            beyond this step is hidden.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self._writer: Any = None
        self._next_s = 0.0
        if folder is None:
            return
        # a second's import, which a run without logs need not pay
        from torch.utils.tensorboard.writer import SummaryWriter

        if not step:
            for old in folder.glob(_EVENTS):
                old.unlink()
        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def scalars(self, named: Callable[[], Mapping[str, float]], step: int, spent_s: float, now: bool) -> None:
        """Writes figures, at most about twice a second unless it must be `now`."""
        if self._writer is None or (spent_s < self._next_s and not now):
            return
        self._next_s = spent_s + _SCALARS_EVERY_S
        for name, value in named().items():
            self._writer.add_scalar(name, value, step)

    def pictures(self, make: Callable[[], Mapping[str, Tensor]], step: int) -> None:
        """Writes pictures [3,H,W] 0..1 by name."""
        if self._writer is None:
            return
        for name, picture in make().items():
            self._writer.add_image(name, picture.detach().clamp(0, 1), step)

    def close(self) -> None:
        """Ends the file."""
        if self._writer is not None:
            self._writer.close()
