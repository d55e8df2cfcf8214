# SPDX-License-Identifier: Apache-2.0
"""The handles of the made-up face: what motion writes and the face reads, as columns of one [T,C] array."""

from __future__ import annotations

# 0 at rest .. 1 in full, except gaze: -1..1 of GAZE_RAD, x to the image's right, y up
FIELDS = ("pucker", "funnel", "smile", "stretch", "press", "upper_lip", "lower_lip", "brow", "frown")
CONTROLS = ("jaw", "seal", *FIELDS, "tongue", "blink_right", "blink_left", "gaze_x", "gaze_y")
GAZE_RAD = 0.45
COLUMN = {name: index for index, name in enumerate(CONTROLS)}
