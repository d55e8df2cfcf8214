# SPDX-License-Identifier: Apache-2.0
"""Kernel tests run once per instruction set that this processor has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from loading import forget

from avatar3d.ops import _native


@pytest.fixture(params=_native.ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The kernels of one instruction set in use."""
    if request.param not in _native.available():
        pytest.skip(f"no {request.param} kernels here: {_native.why_not() or 'the processor lacks it'}")
    monkeypatch.setenv("AVATAR3D_ISA", request.param)
    forget()
    yield request.param
    monkeypatch.undo()
    forget()


@pytest.fixture(autouse=True)
def _same_numbers_in_every_run() -> None:
    """One number in a thousand draws is one that cancels out, and no tolerance is meant for it."""
    torch.manual_seed(0)


@pytest.fixture
def kernels() -> None:
    """Skips where there are no kernels at all."""
    if _native.why_not():
        pytest.skip(f"no kernels here: {_native.why_not()}")
