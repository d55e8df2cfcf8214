# SPDX-License-Identifier: Apache-2.0
"""Whom to believe: members that know the recording's own sound, or members that have heard it spoiled.

What betrays the lips in a clean recording (breath, the floor of a band, the ring of a room) is lost in noise or on
a telephone, and misleads whoever relies on it. So a voice has two schools of members. The first learned from the
recording nearly as it is; the second from versions with noise, echo, other microphones and lines. How far the mean
of the features is from the recording's own tells which of them a sound is for; other people's voices come out far too.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

FINE, ROUGH = 0, 1  # the schools

_MEMORY_ROWS = 100  # 4 s: the mean over fewer rows is that of a few words
_NEAR, _FAR = 0.25, 0.5  # in spreads of a feature: within the recording itself 95 % lie below the first
_MOST_FINE = 0.6  # near sound is said best by both together


def strangeness(rows: np.ndarray) -> np.ndarray:
    """How far the recent mean of normalised rows [T,D] is from 0, [T]: root mean square over the features.

    The mean forgets within four seconds, and begins as the mean of the first four.
    """
    if not len(rows):
        return np.zeros(0, np.float32)
    keep = np.exp(-1 / _MEMORY_ROWS)
    begun = keep * rows[:_MEMORY_ROWS].mean(0, keepdims=True)
    mean, _ = lfilter([1 - keep], [1, -keep], rows, axis=0, zi=begun)
    return np.sqrt(np.square(mean).mean(1)).astype(np.float32)


def voted(said: np.ndarray, rows: np.ndarray, schools: int) -> np.ndarray:
    """What the members [T,M,K] say together [T,K], having heard normalised rows [T,D]."""
    by_school = np.stack([school.mean(1) for school in np.split(said, schools, axis=1)], axis=1)
    if schools == 1:
        return by_school[:, 0]
    fine = (_MOST_FINE * ((_FAR - strangeness(rows)) / (_FAR - _NEAR)).clip(0, 1))[:, None]
    return (fine * by_school[:, FINE] + (1 - fine) * by_school[:, ROUGH]).astype(np.float32)
