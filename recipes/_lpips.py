# SPDX-License-Identifier: Apache-2.0
"""LPIPS where its weights are on this machine; they are never fetched for it."""

from __future__ import annotations

from avatar3d import assets
from avatar3d.perceptual import Lpips


def lpips_at_hand() -> Lpips | None:
    """On the CPU; None where the weights are nowhere on this machine."""
    if assets.state(assets.LPIPS_ALEX)["where"] == "absent":
        return None
    return Lpips.load(assets.find(assets.LPIPS_ALEX))
