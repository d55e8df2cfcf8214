# SPDX-License-Identifier: Apache-2.0
"""The made-up person, filmed once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from made_up import MadeUp, make

from avatar3d.ops import _native


@pytest.fixture(scope="session")
def made_up(face_task: Path) -> MadeUp:
    return make(face_task)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order: two threads that share a picture's gradients may add them up either way."""
    before = _native.threads()
    _native.set_threads(1)
    yield
    _native.set_threads(before)
