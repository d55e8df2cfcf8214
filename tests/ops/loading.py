# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from avatar3d.ops import _native


def forget() -> None:
    """Let the next call choose and load the kernels anew."""
    for cached in (_native._load, _native._load_cuda, _native._open, _native._lacking, _native._warn_once):
        cached.cache_clear()
