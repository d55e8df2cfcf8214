# SPDX-License-Identifier: Apache-2.0
"""What tests of motion models share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from made_up import make

from avatar3d.motion._mouth import Mouth
from avatar3d.records import Motion


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small convolutions gain nothing from a second thread, and lose much when another process holds the core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def clip(face_task: Path) -> Motion:
    return make(face_task).track.motion


@pytest.fixture(scope="module")
def mouth(face_task: Path) -> Mouth:
    made_up = make(face_task)
    return Mouth.of(made_up.truth, made_up.track.motion)
