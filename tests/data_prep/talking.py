# SPDX-License-Identifier: Apache-2.0
"""Speech made by program, and the track of a mouth that says it."""

from __future__ import annotations

import numpy as np
import torch

from avatar3d.data_prep.synthetic import Voice, say, timeline
from avatar3d.data_prep.synthetic.motion import COLUMN, perform
from avatar3d.face.groups import APERTURE_PAIRS
from avatar3d.records import FPS, Camera, Landmarks, Motion, Sound, Track

SECONDS = 30.0


def talking(seed: int) -> Track:
    """A mouth of two numbers, opening and width, that says what `speech(seed)` sounds like."""
    acted = perform(timeline(SECONDS, seed), SECONDS, FPS, seed, turns_s=0.0).controls
    frames = len(acted)
    neutral, basis = np.zeros((468, 3), np.float32), np.zeros((468, 3, 2), np.float32)
    neutral[[78, 308], 0] = -0.3, 0.3
    neutral[[33, 263], 0] = -0.5, 0.5  # the outer corners of the eyes, whose distance is a unit of length
    neutral[[61, 291], 0] = -0.4, 0.4  # of the lips
    basis[[low for _, low in APERTURE_PAIRS], 1, 0] = -0.3
    basis[78, 0, 1], basis[308, 0, 1] = 0.1, -0.1
    expression = acted[:, [COLUMN["jaw"], COLUMN["pucker"]]].astype(np.float32)
    still = np.tile(np.array([1, 0, 0, 0, 0, 0, 5], np.float32), (frames, 1))
    motion = Motion(expression, np.zeros((frames, 2), np.float32), np.zeros((frames, 4), np.float32), still, FPS)
    seen = Landmarks(np.zeros((frames, 478, 3), np.float32), np.zeros((frames, 52), np.float32), np.ones(frames, bool))
    camera = Camera(torch.eye(3), torch.eye(4), 64, 64)
    sure = np.ones(frames, np.float32)
    return Track(camera, neutral, basis, motion, seen, sure, frames, False, np.zeros((53, 2), np.float32))


def speech(seed: int) -> Sound:
    return say(timeline(SECONDS, seed), SECONDS, Voice(), seed)
