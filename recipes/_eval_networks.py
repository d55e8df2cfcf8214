# SPDX-License-Identifier: Apache-2.0
"""`eval --weights`: figures by networks of the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from avatar3d.metrics.networks import NetworkFigures, Witness
from avatar3d.recipes._eval_film import heard
from avatar3d.recipes._judging import HeldOut, Spectator

NO_NETWORKS = "no LSE, FID, CSIM, AUE: they need networks that nobody may pass on (eval --help says which)"
_DIGITS = 4


@contextmanager
def witness_of(folder: Path | None, unseen: HeldOut) -> Iterator[Witness | None]:
    """Whoever looks at the held-out frames through the networks of a folder; None without a folder."""
    if folder is None:
        yield None
        return
    with Witness(folder, unseen.judge.points, heard(unseen)) as witness:
        yield witness


def both(first: Spectator, witness: Witness, unseen: HeldOut, wanted: Sequence[str]) -> Spectator:
    """Shows each moment to `first`, then the productions `wanted` of it to the witness."""

    def shown(index: int, moment: Mapping[str, np.ndarray]) -> None:
        first(index, moment)
        witness.look(index, unseen.real(index), {name: moment[name] for name in wanted})

    return shown


def as_json(figures: Mapping[str, NetworkFigures]) -> dict[str, dict[str, float | None]]:
    """Plain values, rounded."""
    rows = {name: asdict(found) for name, found in figures.items()}
    return {name: {k: None if v is None else round(v, _DIGITS) for k, v in row.items()} for name, row in rows.items()}
