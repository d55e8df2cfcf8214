# SPDX-License-Identifier: Apache-2.0
"""Figures of made video against real video: per region, per frame, and for the motion of lips and head."""

from avatar3d.metrics.judge import Figures, Judge, Look, mean_looks
from avatar3d.metrics.motion import shots_of
from avatar3d.metrics.regions import Box, Regions, find_regions

__all__ = ["Box", "Figures", "Judge", "Look", "Regions", "find_regions", "mean_looks", "shots_of"]
