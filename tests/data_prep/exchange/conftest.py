# SPDX-License-Identifier: Apache-2.0
"""The scene that every format is tried on."""

from __future__ import annotations

from pathlib import Path

import pytest
from exchanged import Scene, make_scene


@pytest.fixture(scope="session")
def scene(face_task: Path) -> Scene:
    return make_scene(face_task)
